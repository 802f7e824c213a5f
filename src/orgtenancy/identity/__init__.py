"""Who asks, and for which organization: tokens, resolvers and membership.

The names load when they are first used: verifying tokens needs the extra `jwt`, a host
with a resolver of its own does not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orgtenancy.identity.gate import Gate
    from orgtenancy.identity.jwks import RemoteKeys
    from orgtenancy.identity.keys import KeySource, StaticKeys, VerificationKey
    from orgtenancy.identity.membership import AllowEveryone, DenyUnproven, MembershipPolicy
    from orgtenancy.identity.organization_claims import OrganizationClaims
    from orgtenancy.identity.providers import IdentityProvider, logto
    from orgtenancy.identity.requests import RequestInfo
    from orgtenancy.identity.resolvers import (
        ActorSource,
        ChainResolver,
        HeaderResolver,
        Identity,
        NamedOrganizationResolver,
        Resolver,
        TokenActor,
        TokenResolver,
        bearer_token,
    )
    from orgtenancy.identity.scopes import require_scopes
    from orgtenancy.identity.tokens import Claims, TokenVerifier

_MODULES = {
    "gate": ("Gate",),
    "jwks": ("RemoteKeys",),
    "keys": ("KeySource", "StaticKeys", "VerificationKey"),
    "membership": ("AllowEveryone", "DenyUnproven", "MembershipPolicy"),
    "organization_claims": ("OrganizationClaims",),
    "providers": ("IdentityProvider", "logto"),
    "requests": ("RequestInfo",),
    "resolvers": (
        "ActorSource",
        "ChainResolver",
        "HeaderResolver",
        "Identity",
        "NamedOrganizationResolver",
        "Resolver",
        "TokenActor",
        "TokenResolver",
        "bearer_token",
    ),
    "scopes": ("require_scopes",),
    "tokens": ("Claims", "TokenVerifier"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ActorSource",
    "AllowEveryone",
    "ChainResolver",
    "Claims",
    "DenyUnproven",
    "Gate",
    "HeaderResolver",
    "Identity",
    "IdentityProvider",
    "KeySource",
    "MembershipPolicy",
    "NamedOrganizationResolver",
    "OrganizationClaims",
    "RemoteKeys",
    "RequestInfo",
    "Resolver",
    "StaticKeys",
    "TokenActor",
    "TokenResolver",
    "TokenVerifier",
    "VerificationKey",
    "bearer_token",
    "logto",
    "require_scopes",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value
