"""Where people stand in a group: what every change of it is decided by.

Changes of one group stand in a line. Each locks the group's row first, and then reads the
memberships in a statement of its own: a statement that waited for a lock sees the locked
row as it is now, but all other rows as they were before it waited. What is decided and
counted by them is exact until the transaction ends. Nothing of a group is locked before
its row, so the changes of one group cannot deadlock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeGuard, get_args
from uuid import UUID

from sqlalchemy import ScalarSelect, Select, and_, select
from sqlalchemy.orm import Session, aliased

from orgtenancy.community import inputs
from orgtenancy.community.models import Group, GroupMember, MembershipStatus, Role
from orgtenancy.community.rows import FRESH
from orgtenancy.community.visibility import ACTIVE, OWNER
from orgtenancy.errors import Conflict, Forbidden, NotFound

_RANKS: Final[Mapping[Role, int]] = {
    role: rank for rank, role in enumerate(reversed(get_args(Role)))
}


def reaches(role: Role, least: Role) -> bool:
    """Return whether a role ranks at least as high as another."""
    return _RANKS[role] >= _RANKS[least]


def commands(role: Role, other: Role) -> bool:
    """Return whether a role can act on members of another one, and grant it.

    Only a lower one; owners do both to everybody.
    """
    return role == "owner" or _RANKS[other] < _RANKS[role]


def is_active(membership: GroupMember | None) -> TypeGuard[GroupMember]:
    """Return whether somebody is a member, and not only on the way in or banned."""
    return membership is not None and membership.status == "active"


@dataclass(frozen=True, slots=True)
class Standing:
    """A group, and where the people of one piece of work stand in it.

    Attributes:
        session: The session that holds them all.
        group: The group, as the database has it now.
        actor: The membership of the person who acts; None for a stranger.
        user_id: The person it is about, who can be the same.
        target: Their membership; None for a stranger.
        heir: The longest-standing owner besides that person, if there is one.
    """

    session: Session
    group: Group
    actor: GroupMember | None
    user_id: str
    target: GroupMember | None
    heir: str | None = None

    def require_rank(self, least: Role) -> GroupMember:
        """Return the membership of the actor, who must be an active member.

        Raises:
            Forbidden: If they are none, or rank below `least`.
        """
        if not is_active(self.actor) or not reaches(self.actor.role, least):
            raise Forbidden(f"this needs the role {least} or a higher one in the group")
        return self.actor

    def require_open(self) -> None:
        """Make sure that people can come in and be given roles.

        Raises:
            Conflict: If the group is archived.
        """
        if self.group.archived_at is not None:
            raise Conflict("the group is archived")

    def require_entry(self) -> None:
        """Make sure that the actor can come in, one way or the other.

        Raises:
            Forbidden: If they are banned.
            Conflict: If the group is archived.
        """
        if self.actor is not None and self.actor.status == "banned":
            raise Forbidden("this person is banned from the group")
        self.require_open()

    def require_command(self) -> None:
        """Make sure that the actor can act on the target.

        Raises:
            Forbidden: If they are no active member, or the target's role is not lower.
        """
        own = self.require_rank("member").role
        if self.target is not None and not commands(own, self.target.role):
            raise Forbidden(f"the role {own} cannot act on the role {self.target.role}")

    def require_grant(self, role: Role) -> None:
        """Make sure that the actor can give the target a role; everybody can step down.

        Raises:
            Forbidden: If they cannot act on the target, or the role is not below their own.
        """
        own = self.require_rank("member").role
        if self.target is self.actor and reaches(own, role):
            return
        self.require_command()
        if not commands(own, role):
            raise Forbidden(f"the role {own} cannot give the role {role}")

    def require(self, what: str, *statuses: MembershipStatus) -> GroupMember:
        """Return the target's membership, which must have one of some statuses.

        Raises:
            NotFound: If it has not; `what` says what was looked for.
        """
        if self.target is None or self.target.status not in statuses:
            raise NotFound(f"no such {what}")
        return self.target


def read_standing(session: Session, group_id: UUID, viewer: str) -> Standing:
    """Return where the viewer of a group stands in it, in one query and without a lock.

    Raises:
        NotFound: If there is no such group, or the viewer may not know of it.
    """
    viewer = inputs.reader(viewer)
    own = and_(GroupMember.group_id == Group.id, GroupMember.user_id == viewer)
    statement = select(Group, GroupMember).outerjoin(GroupMember, own).where(Group.id == group_id)
    row = session.execute(statement, execution_options=FRESH).one_or_none()
    group, membership = row if row is not None else (None, None)
    return Standing(session, _visible(group, membership), membership, viewer, membership)


def lock_standing(
    session: Session, group_id: UUID, actor_id: str, user_id: str | None = None
) -> Standing:
    """Lock a group until the transaction ends, and return where people stand in it.

    Args:
        session: The organization's session.
        group_id: Which group.
        actor_id: Who changes it.
        user_id: Whom it is about; the actor themselves if None.

    Raises:
        NotFound: If there is no such group, or the actor may not know of it.
        Invalid: If a user id breaks a rule.
    """
    actor_id = inputs.user_id(actor_id)
    user_id = actor_id if user_id is None else inputs.user_id(user_id)
    group = session.scalar(locked_group(group_id))
    rows = session.execute(memberships_and_heir(group_id, actor_id, user_id)).all()
    found = {membership.user_id: membership for membership, _ in rows}
    actor, target = found.get(actor_id), found.get(user_id)
    heir = rows[0][1] if rows else None
    return Standing(session, _visible(group, actor), actor, user_id, target, heir)


def locked_group(group_id: UUID) -> Select[Group]:
    """Select a group, locked as an UPDATE locks it.

    Foreign keys do not wait for this lock: who posts in a group stands in no line, and a
    transaction that has posted takes the lock without a deadlock.
    """
    return (
        select(Group)
        .where(Group.id == group_id)
        .with_for_update(key_share=True)
        .execution_options(**FRESH)
    )


def memberships_and_heir(
    group_id: UUID, actor_id: str, user_id: str
) -> Select[GroupMember, str | None]:
    """Select the memberships of two people, and the longest-standing owner but the second."""
    return (
        select(GroupMember, _heir_of(group_id, user_id))
        .where(GroupMember.group_id == group_id, GroupMember.user_id.in_({actor_id, user_id}))
        .execution_options(**FRESH)
    )


def _heir_of(group_id: UUID, user_id: str) -> ScalarSelect[str]:
    owner = aliased(GroupMember)
    return (
        select(owner.user_id)
        .where(
            owner.group_id == group_id,
            owner.role == OWNER,
            owner.status == ACTIVE,
            owner.user_id != user_id,
        )
        .order_by(owner.joined_at, owner.user_id)
        .limit(1)
        .scalar_subquery()
    )


def _visible(group: Group | None, membership: GroupMember | None) -> Group:
    inside = membership is not None and membership.status in ("active", "invited")
    if group is None or (group.privacy == "secret" and not inside):
        raise NotFound("no such group")
    return group
