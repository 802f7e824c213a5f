"""Parts of what the middleware does, by themselves, and a policy of members."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from orgtenancy import Tenancy
from orgtenancy.adapters.starlette import request_info
from orgtenancy.identity import MembershipPolicy, Resolver
from orgtenancy.organizations import Actor


class Known(MembershipPolicy):
    """A policy that keeps its members in memory, and is asked about every request.

    Put any other one here to measure it.
    """

    checks_proven = True

    def __init__(self, members: Iterable[tuple[str, str]]) -> None:
        self._members = frozenset(members)

    def is_member(self, actor: Actor, organization_id: str) -> bool:
        """Return whether the actor is one of them."""
        return (actor.id, organization_id) in self._members

    async def is_member_async(self, actor: Actor, organization_id: str) -> bool:
        """Return the same."""
        return (actor.id, organization_id) in self._members


class Verified:
    """Checks the token, and does nothing with it."""

    def __init__(self, app: ASGIApp, resolver: Resolver) -> None:
        self._app = app
        self._resolver = resolver

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            assert await self._resolver.resolve_async(request_info(scope))
        await self._app(scope, receive, send)


class Found:
    """Checks the token, and looks its organization up."""

    def __init__(self, app: ASGIApp, resolver: Resolver, tenancy: Tenancy) -> None:
        self._app = app
        self._resolver = resolver
        self._tenancy = tenancy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        identity = await self._resolver.resolve_async(request_info(scope))
        assert identity is not None
        async with self._tenancy.organization(identity.organization_id):
            await self._app(scope, receive, send)
