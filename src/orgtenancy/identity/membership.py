"""Who may enter an organization that no signature proves."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from orgtenancy.errors import AccessDenied
from orgtenancy.organizations import Actor

logger = logging.getLogger(__name__)


class MembershipPolicy(Protocol):
    """Decides whether an actor may work in an organization.

    It is asked before the organization is looked up, so that a stranger cannot find out
    which organizations exist. Subclass it and write `is_member`; where the answer needs
    I/O, an async host also writes `is_member_async`.

    Attributes:
        checks_proven: Whether it is also asked about what a token proves, as `still_member`:
            a signed token keeps saying that its subject is a member for as long as it lives.
    """

    checks_proven: bool = False

    def is_member(self, actor: Actor, organization_id: str) -> bool:
        """Return whether the actor may work in the organization, which nothing proves."""
        ...

    async def is_member_async(self, actor: Actor, organization_id: str) -> bool:
        """Return the same, without blocking the event loop.

        As it is, it runs `is_member` in a thread.
        """
        return await asyncio.to_thread(self.is_member, actor, organization_id)

    def still_member(self, actor: Actor, organization_id: str) -> bool:
        """Return whether what the actor's token proves still holds.

        As it is, the token counts for nothing: it returns what `is_member` returns.
        """
        return self.is_member(actor, organization_id)

    async def still_member_async(self, actor: Actor, organization_id: str) -> bool:
        """Return the same, without blocking the event loop.

        As it is, it runs `still_member` in a thread where that was overridden, and is
        `is_member_async` where not.
        """
        if type(self).still_member is MembershipPolicy.still_member:
            return await self.is_member_async(actor, organization_id)
        return await asyncio.to_thread(self.still_member, actor, organization_id)


class DenyUnproven(MembershipPolicy):
    """Lets in only whom a signed token proves to be in the organization; the default."""

    def is_member(self, actor: Actor, organization_id: str) -> bool:
        """Return False: nothing but a signature counts."""
        return False

    async def is_member_async(self, actor: Actor, organization_id: str) -> bool:
        """Return False: nothing but a signature counts."""
        return False


class AllowEveryone(MembershipPolicy):
    """Lets every identified actor into every organization, and says so in the log.

    For development, and for hosts whose gateway has already checked the membership. Making
    one is the only way to go without a check, and logs a warning: once, when the app starts.
    """

    def __init__(self) -> None:
        logger.warning(
            "membership is not checked: every identified actor may enter every organization. "
            "Unless something in front of the app checks it, give a policy that does, such "
            "as RegisteredMembers or ClaimedMembership"
        )

    def is_member(self, actor: Actor, organization_id: str) -> bool:
        """Return True."""
        return True

    async def is_member_async(self, actor: Actor, organization_id: str) -> bool:
        """Return True."""
        return True


def denied(organization_id: str) -> AccessDenied:
    """Return the error for an actor whom the policy does not let in."""
    return AccessDenied(
        "the actor is not a member of the organization", organization_id=organization_id
    )
