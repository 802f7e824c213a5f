"""Resolvers: from a request to who asks, and for which organization.

A resolver has two methods, `resolve` and `resolve_async`, and its rules once: the only
step that waits is finding out who the actor is, so everything else is in functions that
both call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel, ConfigDict

from orgtenancy.errors import AccessDenied, ConfigurationError, Unauthenticated
from orgtenancy.identity.claim_paths import ClaimPath, Claims
from orgtenancy.identity.organization_claims import OrganizationClaims
from orgtenancy.identity.requests import RequestInfo
from orgtenancy.identity.scope_claims import ScopeReader, scopes_in
from orgtenancy.organizations import Actor

if TYPE_CHECKING:
    from orgtenancy.identity.tokens import TokenVerifier


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


def bearer_token(request: RequestInfo) -> str | None:
    """Return the token of the `Authorization: Bearer` header, or None.

    Raises:
        Unauthenticated: If the header is malformed or was sent twice.
    """
    header = request.header("authorization")
    if header is None:
        return None
    scheme, _, token = header.strip().partition(" ")
    if scheme.lower() != "bearer":
        return None
    token = token.strip()
    if not token or " " in token:
        raise Unauthenticated("the authorization header is malformed")
    return token


class TokenActor:
    """The subject of a verified token.

    Args:
        verifier: Checks the token.
        scope_claims: Claims that hold scopes, as one text with spaces or as a list: names,
            or paths.
        scopes: Reads scopes that are not written as themselves, in addition.
        token: Finds the token in a request.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        *,
        scope_claims: Iterable[str | ClaimPath] = ("scope",),
        scopes: ScopeReader | None = None,
        token: Callable[[RequestInfo], str | None] = bearer_token,
    ) -> None:
        self._verifier = verifier
        self._scope_claims = tuple(scope_claims)
        self._read_scopes = scopes
        self._token = token

    def find(self, request: RequestInfo) -> Actor | None:
        """Return the token's subject, or None if there is no token."""
        token = self._token(request)
        return None if token is None else self._actor(self._verifier.verify(token))

    async def find_async(self, request: RequestInfo) -> Actor | None:
        """Return what `find` returns, without blocking the event loop."""
        token = self._token(request)
        return None if token is None else self._actor(await self._verifier.verify_async(token))

    def _actor(self, claims: Claims) -> Actor:
        subject = claims[self._verifier.rules.subject_claim]
        return Actor(id=subject, scopes=self._scopes(claims), claims=claims)

    def _scopes(self, claims: Claims) -> frozenset[str]:
        scopes = scopes_in(claims, self._scope_claims)
        return scopes if self._read_scopes is None else scopes | self._read_scopes(claims)


class _ActorFirst(Resolver):
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


class TokenResolver(_ActorFirst):
    """The organization that a verified token names.

    A token without an organization yields None: alone that is a refusal, in a chain the
    next resolver may say which organization the subject asks for.

    Args:
        actors: Verifies the token.
        organization: Where the token names its organization.
    """

    def __init__(self, actors: TokenActor, organization: OrganizationClaims) -> None:
        super().__init__(actors)
        self._organization = organization

    def _identify(self, request: RequestInfo, actor: Actor) -> Identity | None:
        organization_id = self._organization.find(actor.claims)
        if organization_id is None:
            return None
        return Identity(organization_id=organization_id, actor=actor, proven=True)


class NamedOrganizationResolver(_ActorFirst):
    """An organization that the request names, and an actor from its credentials.

    The name proves nothing, so the membership policy decides. A subclass says in
    `named_organization` where the name is.

    Args:
        actors: Who asks.
        organization: Where the actor's token may name an organization itself. It must be
            the same one then, and proves the membership. Give it wherever the issuer
            makes such tokens: their scopes are of that organization and of no other.
    """

    def __init__(
        self, actors: ActorSource, *, organization: OrganizationClaims | None = None
    ) -> None:
        super().__init__(actors)
        self._organization = organization if organization is not None else OrganizationClaims()

    @abstractmethod
    def named_organization(self, request: RequestInfo) -> str | None:
        """Return the organization that the request names, or None."""

    def _identify(self, request: RequestInfo, actor: Actor) -> Identity | None:
        named = self.named_organization(request)
        if named is None:
            return None
        proven = self._organization.find(actor.claims)
        if proven not in (None, named):
            raise _contradiction()
        return Identity(organization_id=named, actor=actor, proven=proven is not None)


class HeaderResolver(NamedOrganizationResolver):
    """The organization that a header names.

    Args:
        actors: Who asks: `TokenActor`, or the host's own source.
        header: The header's name.
        organization: Where the actor's token may name an organization itself.
    """

    def __init__(
        self,
        actors: ActorSource,
        *,
        header: str = "X-Organization",
        organization: OrganizationClaims | None = None,
    ) -> None:
        super().__init__(actors, organization=organization)
        self._header = header.lower()

    def named_organization(self, request: RequestInfo) -> str | None:
        """Return the header's value, or None where it was not sent."""
        return request.header(self._header)


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
                raise _contradiction()
        return identity


def _contradiction() -> AccessDenied:
    return AccessDenied("the request names another organization than its token")
