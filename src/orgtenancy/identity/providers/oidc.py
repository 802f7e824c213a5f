"""Any issuer that follows OpenID Connect."""

from __future__ import annotations

from collections.abc import Iterable

from orgtenancy.identity.claim_paths import ClaimPath
from orgtenancy.identity.organization_claims import OrganizationClaims
from orgtenancy.identity.providers.base import IdentityProvider, several
from orgtenancy.identity.token_rules import TokenRules
from orgtenancy.identity.tokens import DEFAULT_ALGORITHMS


def oidc(
    issuer: str,
    audiences: str | Iterable[str],
    organization: str | ClaimPath | OrganizationClaims,
    *,
    jwks_url: str | None = None,
    scope_claims: Iterable[str | ClaimPath] = ("scope",),
    algorithms: Iterable[str] = DEFAULT_ALGORITHMS,
    rules: TokenRules | None = None,
) -> IdentityProvider:
    """Return the settings for an issuer with a discovery document.

    Args:
        issuer: The exact `iss`, with a slash at its end where the issuer writes one.
        audiences: Audiences of this API.
        organization: The claim that names the organization, the path to it, or all places.
        jwks_url: Where the keys are, for an issuer without a discovery document.
        scope_claims: Claims that hold scopes: names, or paths.
        algorithms: Signature algorithms to accept.
        rules: What its access tokens must say besides.
    """
    if isinstance(organization, str):
        organization = (organization,)
    if isinstance(organization, tuple):
        organization = OrganizationClaims(paths=(organization,))
    return IdentityProvider(
        issuer=issuer,
        jwks_url=jwks_url,
        organization=organization,
        audiences=several(audiences),
        algorithms=tuple(algorithms),
        rules=rules if rules is not None else TokenRules(),
        scope_claims=tuple(scope_claims),
    )
