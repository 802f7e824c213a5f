"""Zitadel: after its pages on claims and scopes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orgtenancy.identity.claim_paths import Claims
from orgtenancy.identity.organization_claims import OrganizationClaims
from orgtenancy.identity.providers.base import IdentityProvider, base_url, several
from orgtenancy.identity.scope_claims import ScopeReader
from orgtenancy.identity.token_rules import TokenRules

_ORGANIZATION = "urn:zitadel:iam:user:resourceowner:id"
# An ID token has the same audience; these are in no access token.
_ID_TOKEN_CLAIMS = ("at_hash", "c_hash", "nonce", "auth_time", "amr")


def zitadel(
    domain: str, project_id: str, *, authorized_parties: str | Iterable[str] = ()
) -> IdentityProvider:
    """Return the settings for a project of a Zitadel instance.

    The organization is the one that the user belongs to, and is in the token if the client
    asks for the scope `urn:zitadel:iam:user:resourceowner`; the project is in the audience
    with `urn:zitadel:iam:org:project:id:<project>:aud`. The application's access tokens
    must be JWTs. Roles that the user has in this organization are the scopes.

    Args:
        domain: The instance's domain, for instance `example.zitadel.cloud`.
        project_id: The project that this app belongs to.
        authorized_parties: The client ids whose tokens are accepted; those of all the
            project's applications if not given.
    """
    base = base_url(domain)
    return IdentityProvider(
        issuer=base,
        jwks_url=f"{base}/oauth/v2/keys",
        organization=OrganizationClaims(paths=((_ORGANIZATION,),)),
        audiences=(project_id,),
        algorithms=("RS256",),
        rules=TokenRules(
            forbidden=_ID_TOKEN_CLAIMS,
            authorized_parties=frozenset(several(authorized_parties)),
        ),
        scope_claims=(),
        scopes=_roles_in(f"urn:zitadel:iam:org:project:{project_id}:roles"),
    )


def _roles_in(claim: str) -> ScopeReader:
    """Return what reads the roles of the organization that the token is for.

    Zitadel writes them as `{"editor": {"<organization>": "<its domain>"}}`, or as a list
    of such: a role may have been granted in another organization only.
    """

    def roles(claims: Claims) -> frozenset[str]:
        organization = claims.get(_ORGANIZATION)
        found: set[str] = set()
        for granted in _mappings(claims.get(claim)):
            for role, organizations in granted.items():
                if isinstance(organizations, Mapping) and organization in organizations:
                    found.add(role)
        return frozenset(found)

    return roles


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, Mapping)]
