"""Members: who belongs to a group, how they came in, and what their rank lets them do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import get_args
from uuid import UUID

from sqlalchemy import select

from orgtenancy.community import inputs
from orgtenancy.community.models import GroupMember, MembershipStatus, Role
from orgtenancy.community.rows import FRESH
from orgtenancy.community.standing import Standing, is_active, lock_standing, read_standing
from orgtenancy.community.transitions import add, admit, end, hand_over, rank, shut_out
from orgtenancy.community.visibility import INVITED, require_people
from orgtenancy.errors import Conflict, Forbidden, Invalid
from orgtenancy.pagination import Page, PageRequest
from orgtenancy.repository import (
    FIRST_PAGE,
    AsyncOrganizationAwareRepository,
    OrganizationAwareRepository,
    awaitable,
)


class GroupMemberRepository(OrganizationAwareRepository[GroupMember]):
    """The members of the current organization's groups.

    Every method that is given a group raises `NotFound` where there is no such group, or
    the person who acts may not know of it. Changes of one group stand in a line until
    their transactions end.
    """

    def find_members(
        self, group_id: UUID, viewer: str, page: PageRequest = FIRST_PAGE
    ) -> Page[GroupMember]:
        """Return a page of a group's active members, by user id.

        Raises:
            Forbidden: If it is not public, and the viewer no active member.
            InvalidCursor: If the cursor is not one of this list.
        """
        standing = read_standing(self.session, group_id, viewer)
        if standing.group.privacy != "public":
            standing.require_rank("member")
        return self._list(group_id, "active", page)

    def find_requests(
        self, group_id: UUID, actor_id: str, page: PageRequest = FIRST_PAGE
    ) -> Page[GroupMember]:
        """Return a page of the open requests to join a group, by user id.

        Raises:
            Forbidden: If the actor is no moderator.
            InvalidCursor: If the cursor is not one of this list.
        """
        read_standing(self.session, group_id, actor_id).require_rank("moderator")
        return self._list(group_id, "requested", page)

    def find_invited(
        self, group_id: UUID, actor_id: str, page: PageRequest = FIRST_PAGE
    ) -> Page[GroupMember]:
        """Return a page of a group's open invitations, by user id.

        Raises:
            Forbidden: If the actor is no moderator.
            InvalidCursor: If the cursor is not one of this list.
        """
        read_standing(self.session, group_id, actor_id).require_rank("moderator")
        return self._list(group_id, "invited", page)

    def find_banned(
        self, group_id: UUID, actor_id: str, page: PageRequest = FIRST_PAGE
    ) -> Page[GroupMember]:
        """Return a page of those who are banned from a group, by user id.

        Raises:
            Forbidden: If the actor is no moderator.
            InvalidCursor: If the cursor is not one of this list.
        """
        read_standing(self.session, group_id, actor_id).require_rank("moderator")
        return self._list(group_id, "banned", page)

    def find_invitations(self, user_id: str, page: PageRequest = FIRST_PAGE) -> Page[GroupMember]:
        """Return a page of a person's own open invitations, by group id.

        Raises:
            InvalidCursor: If the cursor is not one of this list.
        """
        statement = (
            select(GroupMember)
            .where(GroupMember.user_id == inputs.reader(user_id), GroupMember.status == INVITED)
            .execution_options(**FRESH)
        )
        return self.select_page(statement, (GroupMember.group_id,), page, order="invitations")

    def memberships(self, user_id: str, group_ids: Iterable[UUID]) -> Mapping[UUID, GroupMember]:
        """Return where a person stands in some groups, by group, in one query."""
        wanted = tuple(dict.fromkeys(group_ids))
        if not wanted:
            return {}
        statement = select(GroupMember).where(
            GroupMember.user_id == inputs.reader(user_id), GroupMember.group_id.in_(wanted)
        )
        found = self.session.scalars(statement, execution_options=FRESH)
        return {membership.group_id: membership for membership in found}

    def join(self, group_id: UUID, user_id: str) -> GroupMember:
        """Become a member of a public group, or of any by invitation; members stay as they are.

        Raises:
            Forbidden: If the person is banned, or the group is joined by request.
            Conflict: If the group is archived.
        """
        standing = lock_standing(self.session, group_id, user_id)
        standing.require_entry()
        if is_active(standing.target):
            return standing.target
        invited = standing.target is not None and standing.target.status == "invited"
        if standing.group.privacy != "public" and not invited:
            raise Forbidden("the group is joined by request")
        return admit(standing)

    def request(self, group_id: UUID, user_id: str) -> GroupMember:
        """Ask to join a private group; whoever is invited to it becomes a member.

        Raises:
            Forbidden: If the person is banned.
            Conflict: If the group is archived or open to join, or the person is a member.
        """
        standing = lock_standing(self.session, group_id, user_id)
        standing.require_entry()
        if standing.group.privacy == "public":
            raise Conflict("the group is open to join")
        if standing.target is None:
            return add(standing, "requested")
        if standing.target.status == "active":
            raise Conflict("this person is a member already")
        return admit(standing) if standing.target.status == "invited" else standing.target

    def accept(self, group_id: UUID, user_id: str) -> GroupMember:
        """Become a member by invitation.

        Raises:
            NotFound: If there is no invitation.
            Conflict: If the group is archived.
        """
        standing = lock_standing(self.session, group_id, user_id)
        standing.require_open()
        standing.require("invitation", "invited")
        return admit(standing)

    def leave(self, group_id: UUID, user_id: str) -> None:
        """End one's membership, request or invitation.

        Raises:
            NotFound: If there is none of them.
            Conflict: If the person is the last owner.
        """
        standing = lock_standing(self.session, group_id, user_id)
        end(standing, standing.require("membership", "active", "requested", "invited"))

    def approve(self, group_id: UUID, actor_id: str, user_id: str) -> GroupMember:
        """Make somebody a member who asked to join.

        Raises:
            NotFound: If there is no open request of theirs.
            Forbidden: If the actor is no moderator.
            Conflict: If the group is archived.
        """
        standing = self._moderating(group_id, actor_id, user_id)
        standing.require_open()
        standing.require("request", "requested")
        return admit(standing)

    def reject(self, group_id: UUID, actor_id: str, user_id: str) -> None:
        """Turn down a request to join; the person can ask again.

        Raises:
            NotFound: If there is no open request of theirs.
            Forbidden: If the actor is no moderator.
        """
        standing = self._moderating(group_id, actor_id, user_id)
        end(standing, standing.require("request", "requested"))

    def invite(self, group_id: UUID, actor_id: str, user_id: str) -> GroupMember:
        """Invite somebody; whoever asked to join becomes a member.

        Raises:
            NotFound: If there is no such person.
            Forbidden: If the actor is no moderator.
            Conflict: If the group is archived, or the person is a member or banned.
        """
        standing = self._moderating(group_id, actor_id, user_id)
        standing.require_open()
        membership = standing.target
        if membership is not None and membership.status in ("active", "banned"):
            raise Conflict(f"this person is {membership.status} in the group")
        if membership is not None and membership.status == "invited":
            return membership
        require_people(self.session, [user_id])
        if membership is not None:
            return admit(standing, invited_by=actor_id)
        return add(standing, "invited", invited_by=actor_id)

    def remove(self, group_id: UUID, actor_id: str, user_id: str) -> None:
        """End somebody else's membership or invitation; the person can come back.

        Raises:
            NotFound: If there is neither of them.
            Forbidden: If the actor's rank does not suffice.
            Conflict: If the person is the last owner.
            Invalid: If it is the actor's own.
        """
        if user_id == actor_id:
            raise Invalid("nobody removes themselves: leave instead")
        standing = self._moderating(group_id, actor_id, user_id)
        membership = standing.require("member", "active", "invited")
        standing.require_command()
        end(standing, membership)

    def ban(self, group_id: UUID, actor_id: str, user_id: str) -> GroupMember:
        """Shut somebody else out of a group, whether they belong to it or not.

        Raises:
            Forbidden: If the actor's rank does not suffice.
            Conflict: If the person is the last owner.
            Invalid: If it is the actor.
        """
        if user_id == actor_id:
            raise Invalid("nobody bans themselves: leave instead")
        standing = self._moderating(group_id, actor_id, user_id)
        if standing.target is None:
            return add(standing, "banned")
        standing.require_command()
        banned = standing.target.status == "banned"
        return standing.target if banned else shut_out(standing, standing.target)

    def unban(self, group_id: UUID, actor_id: str, user_id: str) -> None:
        """Lift a ban: the person is a stranger again.

        Raises:
            NotFound: If the person is not banned.
            Forbidden: If the actor is no moderator.
        """
        standing = self._moderating(group_id, actor_id, user_id)
        end(standing, standing.require("ban", "banned"))

    def set_role(self, group_id: UUID, actor_id: str, user_id: str, role: Role) -> GroupMember:
        """Give a member another role.

        Owners give any role to anybody; admins give those below their own, to members
        below them. Both can step down.

        Raises:
            NotFound: If there is no such member.
            Forbidden: If the actor's rank does not suffice.
            Conflict: If the group is archived, or the member its last owner.
            Invalid: If there is no such role.
        """
        role = inputs.word("role", role, get_args(Role))
        standing = lock_standing(self.session, group_id, actor_id, user_id)
        standing.require_rank("admin")
        standing.require_open()
        member = standing.require("member", "active")
        standing.require_grant(role)
        return member if member.role == role else rank(standing, member, role)

    def transfer_ownership(self, group_id: UUID, actor_id: str, user_id: str) -> GroupMember:
        """Make a member the owner in one's own place, which is then an admin's.

        Raises:
            NotFound: If there is no such member.
            Forbidden: If the actor is no owner.
            Conflict: If the group is archived.
            Invalid: If the member is the actor.
        """
        if user_id == actor_id:
            raise Invalid("nobody hands over to themselves")
        standing = lock_standing(self.session, group_id, actor_id, user_id)
        giver = standing.require_rank("owner")
        standing.require_open()
        standing.require("member", "active")
        return hand_over(standing, giver)

    def _list(
        self, group_id: UUID, status: MembershipStatus, page: PageRequest
    ) -> Page[GroupMember]:
        statement = (
            select(GroupMember)
            .where(GroupMember.group_id == group_id, GroupMember.status == status)
            .execution_options(**FRESH)
        )
        return self.select_page(statement, (GroupMember.user_id,), page, order=f"{status} members")

    def _moderating(self, group_id: UUID, actor_id: str, user_id: str) -> Standing:
        standing = lock_standing(self.session, group_id, actor_id, user_id)
        standing.require_rank("moderator")
        return standing


class AsyncGroupMemberRepository(
    AsyncOrganizationAwareRepository[GroupMember], sync=GroupMemberRepository
):
    """The async twin of `GroupMemberRepository`."""

    find_members = awaitable(GroupMemberRepository.find_members)
    find_requests = awaitable(GroupMemberRepository.find_requests)
    find_invited = awaitable(GroupMemberRepository.find_invited)
    find_banned = awaitable(GroupMemberRepository.find_banned)
    find_invitations = awaitable(GroupMemberRepository.find_invitations)
    memberships = awaitable(GroupMemberRepository.memberships)
    join = awaitable(GroupMemberRepository.join)
    request = awaitable(GroupMemberRepository.request)
    accept = awaitable(GroupMemberRepository.accept)
    leave = awaitable(GroupMemberRepository.leave)
    approve = awaitable(GroupMemberRepository.approve)
    reject = awaitable(GroupMemberRepository.reject)
    invite = awaitable(GroupMemberRepository.invite)
    remove = awaitable(GroupMemberRepository.remove)
    ban = awaitable(GroupMemberRepository.ban)
    unban = awaitable(GroupMemberRepository.unban)
    set_role = awaitable(GroupMemberRepository.set_role)
    transfer_ownership = awaitable(GroupMemberRepository.transfer_ownership)
