"""Keycloak: after its guide's chapter on mapping organization claims."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from orgtenancy.identity.claim_paths import ClaimPath
from orgtenancy.identity.organization_claims import OrganizationClaims
from orgtenancy.identity.providers.base import IdentityProvider, base_url, several
from orgtenancy.identity.token_rules import TokenRules


def keycloak(
    base: str,
    realm: str,
    audiences: str | Iterable[str],
    *,
    by: Literal["id", "alias"] = "id",
    realm_roles: bool = False,
    client_roles: str | None = None,
) -> IdentityProvider:
    """Return the settings for a Keycloak realm.

    The claim `organization` has one key for each organization of the user: the client asks
    with the scope `organization:<alias>` for the one it works in, and a token of several is
    refused. Keycloak writes the id only where the mapper's option *Add organization id* is
    on. It adds an audience only where a mapper does so.

    Args:
        base: The server's base URL, for instance `https://sso.example.com`.
        realm: The realm.
        audiences: Audiences of this API.
        by: Whether Keycloak's id or the alias is the organization's id here. An alias
            must not be given to another organization later.
        realm_roles: Whether roles of the realm count as scopes. They are the user's in
            every organization.
        client_roles: A client whose roles count as scopes; likewise.
    """
    issuer = f"{base_url(base)}/realms/{realm}"
    scope_claims: list[str | ClaimPath] = ["scope"]
    if realm_roles:
        scope_claims.append(("realm_access", "roles"))
    if client_roles is not None:
        scope_claims.append(("resource_access", client_roles, "roles"))
    return IdentityProvider(
        issuer=issuer,
        jwks_url=f"{issuer}/protocol/openid-connect/certs",
        organization=OrganizationClaims(
            mappings=(("organization",),), mapping_id="id" if by == "id" else None
        ),
        audiences=several(audiences),
        algorithms=("RS256", "ES256", "EdDSA"),
        # ID tokens and refresh tokens are signed as well: `typ` in the payload tells them.
        rules=TokenRules(required={("typ",): frozenset({"Bearer"})}),
        token_types=("jwt", "at+jwt"),
        scope_claims=tuple(scope_claims),
    )
