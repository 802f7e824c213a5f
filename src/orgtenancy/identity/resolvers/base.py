"""What every resolver is: from a request to who asks, and for which organization.

A resolver has two methods, `resolve` and `resolve_async`, and its rules once: the only
step that waits is finding out who the actor is, so everything else is in functions that
both call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from orgtenancy.errors import AccessDenied
from orgtenancy.identity.requests import RequestInfo
from orgtenancy.organizations import Actor


class Identity(BaseModel):
    """Who asks, and for which organization.

    Attributes:
        organization_id: As the request or the token says it; not validated yet.
        actor: Who asks.
        proven: Whether a signature says that the actor belongs to the organization. If
            not, the membership policy decides.
    """

    model_config = ConfigDict(frozen=True)

    organization_id: str
    actor: Actor
    proven: bool


class Resolver(ABC):
    """Turns a request into an identity. A host's own resolver overrides `resolve`."""

    @abstractmethod
    def resolve(self, request: RequestInfo) -> Identity | None:
        """Return the identity, or None if the request holds nothing that this one reads.

        Raises:
            Unauthenticated: If it holds credentials that prove nothing.
            AccessDenied: If it contradicts itself.
        """

    async def resolve_async(self, request: RequestInfo) -> Identity | None:
        """Return the same, without blocking the event loop.

        As it is, it calls `resolve`: override it where that waits for anything.
        """
        return self.resolve(request)

    def named_organization(self, request: RequestInfo) -> str | None:
        """Return the organization that the request names outside its credentials."""
        return None


class ActorSource(Protocol):
    """Finds out who sends a request."""

    def find(self, request: RequestInfo) -> Actor | None:
        """Return the actor, or None if the request has no credentials; may block.

        Raises:
            Unauthenticated: If it has some that prove nothing.
        """
        ...

    async def find_async(self, request: RequestInfo) -> Actor | None:
        """Return the same, without blocking the event loop."""
        ...


class ActorFirstResolver(Resolver):
    """A resolver that first finds the actor, and then knows the rest without waiting."""

    def __init__(self, actors: ActorSource) -> None:
        self._actors = actors

    def resolve(self, request: RequestInfo) -> Identity | None:
        """Return the identity; may block while an issuer's keys are fetched."""
        actor = self._actors.find(request)
        return None if actor is None else self._identify(request, actor)

    async def resolve_async(self, request: RequestInfo) -> Identity | None:
        """Return the identity, without blocking the event loop."""
        actor = await self._actors.find_async(request)
        return None if actor is None else self._identify(request, actor)

    @abstractmethod
    def _identify(self, request: RequestInfo, actor: Actor) -> Identity | None: ...


def contradiction() -> AccessDenied:
    """Return the error for a request that means two organizations."""
    return AccessDenied("the request names another organization than its token")
