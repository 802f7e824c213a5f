"""The rows of one organization: which tables have them, what they add up to, and how they travel.

What backs up, restores, adopts and moves an organization rests on this. All of it works in the
caller's transaction, as the owner.
"""
