"""A community app for two organizations, on the public surface of orgtenancy alone.

Read it in this order: `app.py` wires a FastAPI app to its organizations, `api.py` mounts the
community's JSON API, `pages/` has a module for each chapter of what people see, `news.py` and
`live.py` tell browsers what is new, `identity.py` stands in for an identity provider, `seed/`
writes what you see, and `demo.py` starts it all.
"""
