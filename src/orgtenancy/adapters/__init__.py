"""Adapters: thin, one file for each framework.

What all web adapters say the same way is in `web`, which knows no framework. An error is a
problem (RFC 9457), with a stable `code`, and with nothing of the inside: no schema, no role,
no SQL, no address. The modules' endpoints are resources, which a framework only has to route
to. A host that answers something itself takes the names from here.
"""

from orgtenancy.adapters.web.problems import (
    PROBLEM_ERRORS,
    PROBLEM_MEDIA_TYPE,
    Problem,
    problem_headers,
    problem_of,
)
from orgtenancy.adapters.web.requests import Exempt, client_address
from orgtenancy.adapters.web.webhooks import WEBHOOK_PATH

__all__ = [
    "PROBLEM_ERRORS",
    "PROBLEM_MEDIA_TYPE",
    "WEBHOOK_PATH",
    "Exempt",
    "Problem",
    "client_address",
    "problem_headers",
    "problem_of",
]
