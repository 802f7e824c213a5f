"""Requests with and without tokens, and the gates that they ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from orgtenancy.identity import Gate, Identity, RequestInfo, StaticKeys, logto
from tests.identity.signing import Signer, key_set, recorded

SIGNER = Signer("SNmIDfUfya628e3pix4X55jX_JL1ctsvD06orRb0vL4")
KEYS = StaticKeys(key_set(SIGNER))
LOGTO = logto("http://127.0.0.1:33001", audiences="https://api.example.com")
TOKENS = LOGTO.resolver(KEYS)
HEADER = LOGTO.header_resolver(keys=KEYS)
ORGANIZATION = "7zp7flxblujn"

#: Of one user: a token that names no organization, and one of `ORGANIZATION`.
USER = SIGNER.sign(recorded("user, API alone"))
MEMBER = SIGNER.sign(recorded("user, API of organization"))
USER_ID = "afb6zw2tnuqy"

#: Asks a gate who sends a request, in the sync or the async way.
Identify: TypeAlias = Callable[[Gate, RequestInfo], Identity]


def request(
    token: str | None = None,
    organization: str | None = None,
    *,
    host: str = "",
    path: str = "/feed",
) -> RequestInfo:
    """Return a request with a token, and with the header that names an organization."""
    headers: dict[str, list[str]] = {}
    if token is not None:
        headers["authorization"] = [f"Bearer {token}"]
    if organization is not None:
        headers["x-organization"] = [organization]
    return RequestInfo("GET", path, headers, host)
