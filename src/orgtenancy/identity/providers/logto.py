"""Logto: recorded from a running server, 1.37."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urljoin

from orgtenancy.identity.organization_claims import OrganizationClaims
from orgtenancy.identity.providers.base import IdentityProvider, several


def logto(endpoint: str, *, audiences: str | Iterable[str] = ()) -> IdentityProvider:
    """Return the settings for a Logto tenant.

    Logto names the organization in the audience of an organization token, and in
    `organization_id` of a token for an API resource. It signs with ES384, or RS256 after
    a key rotation.

    Args:
        endpoint: The tenant's base URL, for instance `https://auth.example.com/`.
        audiences: The API resources that this app is.
    """
    base = endpoint if endpoint.endswith("/") else f"{endpoint}/"
    prefix = "urn:logto:organization:"
    return IdentityProvider(
        issuer=urljoin(base, "oidc"),
        jwks_url=urljoin(base, "oidc/jwks"),
        organization=OrganizationClaims(paths=(("organization_id",),), audience_prefixes=(prefix,)),
        audiences=several(audiences),
        audience_prefixes=(prefix,),
        algorithms=("ES384", "RS256"),
        token_types=("at+jwt",),
    )
