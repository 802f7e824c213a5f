"""Mending what differs: statements derived from the reference, reviewed, and run."""
