"""Ready settings for identity providers: what their access tokens look like, as values.

A provider is data. Another one is another function that returns such a value, or a call
of `oidc`. Logto's tokens were recorded from a running server; the others are written after
their vendors' documentation.
"""

from __future__ import annotations

from orgtenancy.identity.providers.auth0 import auth0
from orgtenancy.identity.providers.base import IdentityProvider
from orgtenancy.identity.providers.clerk import clerk
from orgtenancy.identity.providers.entra import entra
from orgtenancy.identity.providers.keycloak import keycloak
from orgtenancy.identity.providers.logto import logto
from orgtenancy.identity.providers.oidc import oidc
from orgtenancy.identity.providers.workos import workos
from orgtenancy.identity.providers.zitadel import zitadel

__all__ = [
    "IdentityProvider",
    "auth0",
    "clerk",
    "entra",
    "keycloak",
    "logto",
    "oidc",
    "workos",
    "zitadel",
]
