"""The gate of a request: a resolver says who asks, the membership policy who may enter."""

from __future__ import annotations

from orgtenancy.errors import Unauthenticated
from orgtenancy.identity.membership import DenyUnproven, MembershipPolicy, denied
from orgtenancy.identity.requests import RequestInfo
from orgtenancy.identity.resolvers import Identity, Resolver


class Gate:
    """Identifies requests for an adapter; sync and async ask the same questions.

    Args:
        resolver: Turns a request into an identity.
        membership: Decides what no signature proves, and may ask whether what one proves
            still holds. If not given, a signature is what lets in, and nothing else.
    """

    def __init__(self, resolver: Resolver, membership: MembershipPolicy | None = None) -> None:
        self.resolver = resolver
        self.membership = membership if membership is not None else DenyUnproven()

    def identify(self, request: RequestInfo) -> Identity:
        """Return who asks, and for which organization.

        Raises:
            Unauthenticated: If nothing in the request says so, or proves nothing.
            AccessDenied: If the actor may not enter.
            IdentityProviderUnavailable: If the issuer's keys cannot be had.
        """
        identity = _present(self.resolver.resolve(request))
        if not self._lets_in(identity):
            raise denied(identity.organization_id)
        return identity

    async def identify_async(self, request: RequestInfo) -> Identity:
        """Return what `identify` returns, without blocking the event loop."""
        identity = _present(await self.resolver.resolve_async(request))
        if not await self._lets_in_async(identity):
            raise denied(identity.organization_id)
        return identity

    def _lets_in(self, identity: Identity) -> bool:
        if not identity.proven:
            return self.membership.is_member(identity.actor, identity.organization_id)
        return not self.membership.checks_proven or self.membership.still_member(
            identity.actor, identity.organization_id
        )

    async def _lets_in_async(self, identity: Identity) -> bool:
        if not identity.proven:
            return await self.membership.is_member_async(identity.actor, identity.organization_id)
        return not self.membership.checks_proven or await self.membership.still_member_async(
            identity.actor, identity.organization_id
        )


def _present(identity: Identity | None) -> Identity:
    if identity is None:
        raise Unauthenticated("the request has no credentials for an organization")
    return identity
