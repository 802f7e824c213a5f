"""WorkOS AuthKit: after its page on session tokens."""

from __future__ import annotations

from collections.abc import Iterable

from orgtenancy.identity.organization_claims import OrganizationClaims
from orgtenancy.identity.providers.base import IdentityProvider, several
from orgtenancy.identity.token_rules import TokenRules


def workos(
    client_id: str, *, issuer: str | None = None, audiences: str | Iterable[str] = ()
) -> IdentityProvider:
    """Return the settings for the session tokens of a WorkOS application.

    They name the organization in `org_id`, and have no audience: WorkOS has a key set for
    each application instead. The tokens of WorkOS Connect are those of an issuer of their
    own, the AuthKit domain: `oidc(domain, audiences, "org_id")`.

    Args:
        client_id: The application.
        issuer: The `iss` of its tokens where it is another one: `https://api.workos.com/`,
            or the application's own authentication domain.
        audiences: What an `aud` may be beside the application, where a token has one.
    """
    return IdentityProvider(
        issuer=issuer or f"https://api.workos.com/user_management/{client_id}",
        jwks_url=f"https://api.workos.com/sso/jwks/{client_id}",
        organization=OrganizationClaims(paths=(("org_id",),)),
        audiences=(client_id, *several(audiences)),
        algorithms=("RS256",),
        token_types=("jwt",),
        rules=TokenRules(audience_by="issuer_keys"),
        scope_claims=("scope", "permissions"),
    )
