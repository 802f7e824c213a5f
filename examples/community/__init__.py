"""A community app for two organizations, on the public surface of orgtenancy alone.

Read it in this order: `app.py` wires a FastAPI app to its organizations, `pages.py` and
`api.py` work in the one of the request, `identity.py` stands in for an identity provider,
`seed.py` writes what you see, and `demo.py` starts it all.
"""
