"""Resolvers: from a request to who asks, and for which organization."""

from __future__ import annotations

from orgtenancy.identity.resolvers.base import ActorSource, Identity, Resolver
from orgtenancy.identity.resolvers.chain import ChainResolver
from orgtenancy.identity.resolvers.named import (
    HeaderResolver,
    NamedOrganizationResolver,
    PathResolver,
    SubdomainResolver,
)
from orgtenancy.identity.resolvers.tokens import TokenActor, TokenResolver, bearer_token

__all__ = [
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
]
