"""Members by what the registry heard from the identity provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from orgtenancy.identity.membership import MembershipPolicy
from orgtenancy.organizations import Actor

if TYPE_CHECKING:
    from orgtenancy.registry.member_directory import MemberDirectory
    from orgtenancy.registry.members import Standing


class HasMembers(Protocol):
    """A `Tenancy`, which identity is below and cannot import."""

    members: MemberDirectory


class RegisteredMembers(MembershipPolicy):
    """Asks the registry, where webhooks and reconciliations write who came and who went.

    What no token proves needs a member that the registry has. What one proves holds until
    the registry hears otherwise: a removed member is out although its token still lives, and
    comes back with a token that was made after the removal. An actor that was suspended or
    deleted is out everywhere.

    Look-ups are cached as `MemberDirectory` says. If the registry cannot be read, nobody is
    let in: the error is the database's.

    Args:
        tenancy: Whose registry.
    """

    checks_proven = True

    def __init__(self, tenancy: HasMembers) -> None:
        self._members = tenancy.members

    def is_member(self, actor: Actor, organization_id: str) -> bool:
        """Return whether the registry has the actor as a member."""
        return _is_in(self._members.find(organization_id, actor.id))

    async def is_member_async(self, actor: Actor, organization_id: str) -> bool:
        """Return what `is_member` returns, without blocking the event loop."""
        return _is_in(await self._members.find_async(organization_id, actor.id))

    def still_member(self, actor: Actor, organization_id: str) -> bool:
        """Return whether the actor was not put out since its token was made."""
        return _is_still_in(self._members.find(organization_id, actor.id), actor)

    async def still_member_async(self, actor: Actor, organization_id: str) -> bool:
        """Return what `still_member` returns, without blocking the event loop."""
        return _is_still_in(await self._members.find_async(organization_id, actor.id), actor)


def _is_in(standing: Standing) -> bool:
    return _may_act(standing) and standing.member == "active"


def _is_still_in(standing: Standing, actor: Actor) -> bool:
    if not _may_act(standing):
        return False
    if standing.removed_at is None:
        return True
    issued_at = actor.claims.get("iat")
    if not isinstance(issued_at, (int, float)):
        return standing.member == "active"  # the token does not say which came first
    # Issuers write whole seconds, rounded down: one of the same second may be from before.
    return issued_at > standing.removed_at.timestamp()


def _may_act(standing: Standing) -> bool:
    return standing.actor in (None, "active")
