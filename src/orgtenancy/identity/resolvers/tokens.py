"""Who a bearer token is of, and which organization it names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from orgtenancy.errors import Unauthenticated
from orgtenancy.identity.claim_paths import ClaimPath, Claims
from orgtenancy.identity.organization_claims import OrganizationClaims
from orgtenancy.identity.requests import RequestInfo
from orgtenancy.identity.resolvers.base import ActorFirstResolver, Identity
from orgtenancy.identity.scope_claims import ScopeReader, scopes_in
from orgtenancy.organizations import Actor

if TYPE_CHECKING:
    from orgtenancy.identity.tokens import TokenVerifier


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


class TokenResolver(ActorFirstResolver):
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
