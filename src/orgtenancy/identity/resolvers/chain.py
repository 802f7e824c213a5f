"""Several resolvers as one."""

from __future__ import annotations

from orgtenancy.errors import ConfigurationError
from orgtenancy.identity.requests import RequestInfo
from orgtenancy.identity.resolvers.base import Identity, Resolver, contradiction


class ChainResolver(Resolver):
    """Several resolvers: the first one that finds something decides.

    Credentials that prove nothing end the chain; the request does not get another try
    with less. Where a later resolver's place names another organization than the one
    found, the request is refused: the client means one and would work in the other.

    Args:
        *resolvers: In the order in which they are asked.

    Raises:
        ConfigurationError: If there is none.
    """

    def __init__(self, *resolvers: Resolver) -> None:
        if not resolvers:
            raise ConfigurationError("a chain needs at least one resolver")
        self._resolvers = resolvers

    def resolve(self, request: RequestInfo) -> Identity | None:
        """Return what the first resolver that finds something returns."""
        for resolver in self._resolvers:
            identity = resolver.resolve(request)
            if identity is not None:
                return self._consistent(request, identity)
        return None

    async def resolve_async(self, request: RequestInfo) -> Identity | None:
        """Return what `resolve` returns, without blocking the event loop."""
        for resolver in self._resolvers:
            identity = await resolver.resolve_async(request)
            if identity is not None:
                return self._consistent(request, identity)
        return None

    def named_organization(self, request: RequestInfo) -> str | None:
        """Return the first organization that the request names."""
        names = (resolver.named_organization(request) for resolver in self._resolvers)
        return next((name for name in names if name is not None), None)

    def _consistent(self, request: RequestInfo, identity: Identity) -> Identity:
        for resolver in self._resolvers:
            if resolver.named_organization(request) not in (None, identity.organization_id):
                raise contradiction()
        return identity
