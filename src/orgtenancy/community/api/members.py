"""Who belongs to a group, over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Self
from uuid import UUID

from sqlalchemy.orm import Session

from orgtenancy.community.api.common import Body, People, PersonView, UserId, View, record
from orgtenancy.community.members import GroupMemberRepository
from orgtenancy.community.models import GroupMember, MembershipStatus, Role
from orgtenancy.endpoints import Caller
from orgtenancy.pagination import Page, PageRequest


class MemberView(View):
    """A person in a group, or on the way in, or banned."""

    group_id: UUID
    person: PersonView
    status: MembershipStatus
    role: Role
    invited_by: str | None
    joined_at: datetime | None

    @classmethod
    def of(cls, member: GroupMember, person: PersonView) -> Self:
        """Return the view of a membership."""
        return cls(
            group_id=member.group_id,
            person=person,
            status=member.status,
            role=member.role,
            invited_by=member.invited_by,
            joined_at=member.joined_at,
        )


class RoleEdit(Body):
    """Which role a member shall have."""

    role: Role


class NewInvitation(Body):
    """Whom to invite."""

    user_id: UserId


def list_members(
    session: Session, caller: Caller, *, group_id: UUID, query: PageRequest
) -> Page[MemberView]:
    """List the active members; those of a private or secret group only its members see."""
    found = GroupMemberRepository(session).find_members(group_id, caller.id, query)
    return _views(session, found)


def list_requests(
    session: Session, caller: Caller, *, group_id: UUID, query: PageRequest
) -> Page[MemberView]:
    """List who asks to join; for moderators of the group."""
    return _views(session, GroupMemberRepository(session).find_requests(group_id, caller.id, query))


def list_invited(
    session: Session, caller: Caller, *, group_id: UUID, query: PageRequest
) -> Page[MemberView]:
    """List who was invited and has not answered; for moderators of the group."""
    return _views(session, GroupMemberRepository(session).find_invited(group_id, caller.id, query))


def list_banned(
    session: Session, caller: Caller, *, group_id: UUID, query: PageRequest
) -> Page[MemberView]:
    """List who is banned; for moderators of the group."""
    return _views(session, GroupMemberRepository(session).find_banned(group_id, caller.id, query))


def list_own_invitations(
    session: Session, caller: Caller, *, query: PageRequest
) -> Page[MemberView]:
    """List the groups that invite the caller."""
    return _views(session, GroupMemberRepository(session).find_invitations(caller.id, query))


def join_group(session: Session, caller: Caller, *, group_id: UUID) -> MemberView:
    """Join a public group; again is the same as once."""
    member = GroupMemberRepository(session).join(group_id, caller.id)
    record(session, caller, "group.join", group_id)
    return _view(session, member)


def leave_group(session: Session, caller: Caller, *, group_id: UUID) -> None:
    """Leave a group, take a request back, or decline an invitation."""
    GroupMemberRepository(session).leave(group_id, caller.id)
    record(session, caller, "group.leave", group_id)


def request_membership(session: Session, caller: Caller, *, group_id: UUID) -> MemberView:
    """Ask to join a private group."""
    member = GroupMemberRepository(session).request(group_id, caller.id)
    record(session, caller, "group.request", group_id)
    return _view(session, member)


def approve_request(
    session: Session, caller: Caller, *, group_id: UUID, user_id: UserId
) -> MemberView:
    """Let somebody in who asked; for moderators of the group."""
    member = GroupMemberRepository(session).approve(group_id, caller.id, user_id)
    record(session, caller, "group.approve", group_id, {"user_id": user_id})
    return _view(session, member)


def reject_request(session: Session, caller: Caller, *, group_id: UUID, user_id: UserId) -> None:
    """Refuse somebody who asked; for moderators of the group."""
    GroupMemberRepository(session).reject(group_id, caller.id, user_id)
    record(session, caller, "group.reject", group_id, {"user_id": user_id})


def invite_member(
    session: Session, caller: Caller, *, group_id: UUID, body: NewInvitation
) -> MemberView:
    """Invite somebody; for moderators of the group. Who asked to join is in at once."""
    member = GroupMemberRepository(session).invite(group_id, caller.id, body.user_id)
    record(session, caller, "group.invite", group_id, {"user_id": body.user_id})
    return _view(session, member)


def accept_invitation(session: Session, caller: Caller, *, group_id: UUID) -> MemberView:
    """Accept an invitation."""
    member = GroupMemberRepository(session).accept(group_id, caller.id)
    record(session, caller, "group.accept", group_id)
    return _view(session, member)


def update_member(
    session: Session, caller: Caller, *, group_id: UUID, user_id: UserId, body: RoleEdit
) -> MemberView:
    """Give a member a role below one's own; owners give any."""
    member = GroupMemberRepository(session).set_role(group_id, caller.id, user_id, body.role)
    record(session, caller, "group.set_role", group_id, {"user_id": user_id, "role": body.role})
    return _view(session, member)


def remove_member(session: Session, caller: Caller, *, group_id: UUID, user_id: UserId) -> None:
    """End somebody's membership or invitation; for moderators of the group."""
    GroupMemberRepository(session).remove(group_id, caller.id, user_id)
    record(session, caller, "group.remove", group_id, {"user_id": user_id})


def ban_member(session: Session, caller: Caller, *, group_id: UUID, user_id: UserId) -> MemberView:
    """Keep somebody out of a group; for its moderators."""
    member = GroupMemberRepository(session).ban(group_id, caller.id, user_id)
    record(session, caller, "group.ban", group_id, {"user_id": user_id})
    return _view(session, member)


def unban_member(session: Session, caller: Caller, *, group_id: UUID, user_id: UserId) -> None:
    """Take a ban back; for moderators of the group."""
    GroupMemberRepository(session).unban(group_id, caller.id, user_id)
    record(session, caller, "group.unban", group_id, {"user_id": user_id})


def _view(session: Session, member: GroupMember) -> MemberView:
    return MemberView.of(member, People(session, [member.user_id])[member.user_id])


def _views(session: Session, page: Page[GroupMember]) -> Page[MemberView]:
    people = People(session, [member.user_id for member in page.items])
    return page.map(lambda member: MemberView.of(member, people[member.user_id]))
