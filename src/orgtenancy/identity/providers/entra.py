"""Microsoft Entra: after its reference of access token claims."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from orgtenancy.identity.organization_claims import OrganizationClaims
from orgtenancy.identity.providers.base import IdentityProvider, several
from orgtenancy.identity.token_rules import IssuerTemplate, TokenRules

logger = logging.getLogger(__name__)

_LOGIN = "https://login.microsoftonline.com"


def entra(
    client_id: str, *, tenants: str | Iterable[str] | None, subject_claim: str = "sub"
) -> IdentityProvider:
    """Return the settings for an API that is registered with Microsoft Entra.

    Each customer is a tenant of Entra, and its GUID is the organization's id. Tokens are
    those of version 2.0: `requestedAccessTokenVersion` is 2 in the API's manifest.

    Args:
        client_id: The API's application (client) id, a GUID: the audience.
        tenants: The tenants whose tokens are accepted. None for every one that Microsoft
            has; the registry then decides alone, and that is logged.
        subject_claim: `sub`, which is another one in every application, or `oid`, which is
            the same one in all applications of a tenant.
    """
    if tenants is None:
        logger.warning("tokens of every Microsoft Entra tenant are accepted for %s", client_id)
    allowed = None if tenants is None else frozenset(several(tenants))
    return IdentityProvider(
        issuer=IssuerTemplate(template=f"{_LOGIN}/{{tid}}/v2.0", claim="tid", allowed=allowed),
        jwks_url=f"{_LOGIN}/common/discovery/v2.0/keys",
        organization=OrganizationClaims(paths=(("tid",),)),
        audiences=(client_id,),
        algorithms=("RS256",),
        token_types=("jwt",),
        rules=TokenRules(
            required={("ver",): frozenset({"2.0"})},
            # The ID tokens of an app that is its own client have its audience as well.
            require_any=("scp", "roles"),
            subject_claim=subject_claim,
        ),
        scope_claims=("scp", "roles"),
    )
