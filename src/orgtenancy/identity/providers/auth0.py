"""Auth0: after its pages on organizations, and on the profiles of access tokens."""

from __future__ import annotations

from collections.abc import Iterable

from orgtenancy.identity.organization_claims import OrganizationClaims
from orgtenancy.identity.providers.base import IdentityProvider, base_url, several


def auth0(domain: str, audiences: str | Iterable[str]) -> IdentityProvider:
    """Return the settings for an Auth0 tenant.

    Auth0 names the organization in `org_id` of a token that was requested with
    `organization`. With role-based access control its permissions count as scopes.

    Args:
        domain: The tenant's domain, or its custom one, for instance
            `example.eu.auth0.com`.
        audiences: The identifiers of the APIs that this app is.
    """
    base = base_url(domain)
    return IdentityProvider(
        issuer=f"{base}/",
        jwks_url=f"{base}/.well-known/jwks.json",
        organization=OrganizationClaims(paths=(("org_id",),)),
        audiences=several(audiences),
        algorithms=("RS256",),
        scope_claims=("scope", "permissions"),
    )
