"""Organizations as they are in Logto: webhooks as they come, and the whole from time to time.

A package beside `providers/logto.py`, which is about Logto's tokens. Its name is not
`logto`, for that is the name of the settings that `orgtenancy.identity` exports.
"""
