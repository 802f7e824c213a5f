"""Who asks, and for which organization: tokens, resolvers and membership.

The names load when they are first used: verifying tokens needs the extra `jwt`, a host
with a resolver of its own does not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orgtenancy.identity.claim_paths import ClaimPath, Claims
    from orgtenancy.identity.claimed_membership import ClaimedMembership
    from orgtenancy.identity.discovery import discovered_keys
    from orgtenancy.identity.gate import Gate
    from orgtenancy.identity.jwks import RemoteKeys
    from orgtenancy.identity.keys import KeySource, StaticKeys, VerificationKey
    from orgtenancy.identity.membership import AllowEveryone, DenyUnproven, MembershipPolicy
    from orgtenancy.identity.organization_claims import OrganizationClaims
    from orgtenancy.identity.providers import (
        IdentityProvider,
        auth0,
        clerk,
        entra,
        keycloak,
        logto,
        oidc,
        workos,
        zitadel,
    )
    from orgtenancy.identity.registered_members import RegisteredMembers
    from orgtenancy.identity.requests import RequestInfo
    from orgtenancy.identity.resolvers import (
        ActorSource,
        ChainResolver,
        HeaderResolver,
        Identity,
        NamedOrganizationResolver,
        PathResolver,
        Resolver,
        SubdomainResolver,
        TokenActor,
        TokenResolver,
        bearer_token,
    )
    from orgtenancy.identity.scopes import require_scopes
    from orgtenancy.identity.token_rules import IssuerTemplate, TokenRules
    from orgtenancy.identity.tokens import TokenVerifier

_MODULES = {
    "claim_paths": ("ClaimPath", "Claims"),
    "claimed_membership": ("ClaimedMembership",),
    "discovery": ("discovered_keys",),
    "gate": ("Gate",),
    "jwks": ("RemoteKeys",),
    "keys": ("KeySource", "StaticKeys", "VerificationKey"),
    "membership": ("AllowEveryone", "DenyUnproven", "MembershipPolicy"),
    "organization_claims": ("OrganizationClaims",),
    "providers": (
        "IdentityProvider",
        "auth0",
        "clerk",
        "entra",
        "keycloak",
        "logto",
        "oidc",
        "workos",
        "zitadel",
    ),
    "registered_members": ("RegisteredMembers",),
    "requests": ("RequestInfo",),
    "resolvers": (
        "ActorSource",
        "ChainResolver",
        "HeaderResolver",
        "Identity",
        "NamedOrganizationResolver",
        "PathResolver",
        "Resolver",
        "SubdomainResolver",
        "TokenActor",
        "TokenResolver",
        "bearer_token",
    ),
    "scopes": ("require_scopes",),
    "token_rules": ("IssuerTemplate", "TokenRules"),
    "tokens": ("TokenVerifier",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ActorSource",
    "AllowEveryone",
    "ChainResolver",
    "ClaimPath",
    "ClaimedMembership",
    "Claims",
    "DenyUnproven",
    "Gate",
    "HeaderResolver",
    "Identity",
    "IdentityProvider",
    "IssuerTemplate",
    "KeySource",
    "MembershipPolicy",
    "NamedOrganizationResolver",
    "OrganizationClaims",
    "PathResolver",
    "RegisteredMembers",
    "RemoteKeys",
    "RequestInfo",
    "Resolver",
    "StaticKeys",
    "SubdomainResolver",
    "TokenActor",
    "TokenResolver",
    "TokenRules",
    "TokenVerifier",
    "VerificationKey",
    "auth0",
    "bearer_token",
    "clerk",
    "discovered_keys",
    "entra",
    "keycloak",
    "logto",
    "oidc",
    "require_scopes",
    "workos",
    "zitadel",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value
