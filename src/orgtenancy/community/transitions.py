"""Transitions: a membership goes from one state to the next, and its group goes along.

Each begins with a locked group, and leaves it with the right number of active members and
an active owner. Whether somebody is allowed to do it was decided before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import case, func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningUpdate

from orgtenancy.community.models import Group, GroupMember, MembershipStatus, Role
from orgtenancy.community.rows import WRITES
from orgtenancy.community.standing import Standing, is_active
from orgtenancy.errors import Conflict


def add(
    standing: Standing, status: MembershipStatus, *, invited_by: str | None = None
) -> GroupMember:
    """Write down where a stranger stands from now on, and return it."""
    # A statement, not a new object: the session may still hold the row of a membership
    # that another transaction has ended.
    statement = (
        insert(GroupMember)
        .values(
            group_id=standing.group.id,
            user_id=standing.user_id,
            status=status,
            invited_by=invited_by,
            joined_at=func.now() if status == "active" else None,
        )
        .returning(GroupMember)
    )
    return standing.session.scalars(statement, execution_options=WRITES).one()


def admit(standing: Standing, *, invited_by: str | None = None) -> GroupMember:
    """Make somebody an active member, and return the membership."""
    if standing.target is None:
        membership = add(standing, "active", invited_by=invited_by)
    else:
        invited_by = invited_by or standing.target.invited_by
        membership = _change(standing, status="active", joined_at=func.now(), invited_by=invited_by)
    _change_group(standing, member_count=Group.member_count + 1)
    return membership


def end(standing: Standing, membership: GroupMember) -> None:
    """Delete the target's membership: they are a stranger again.

    Raises:
        Conflict: If they are the last owner.
    """
    group = _without(standing, membership)
    standing.session.delete(membership)
    standing.session.flush()
    _change_group(standing, **group)


def shut_out(standing: Standing, membership: GroupMember) -> GroupMember:
    """Turn the target's membership into a ban, and return it.

    Raises:
        Conflict: If they are the last owner.
    """
    _change_group(standing, **_without(standing, membership))
    return _change(standing, status="banned", role="member", joined_at=None, invited_by=None)


def rank(standing: Standing, membership: GroupMember, role: Role) -> GroupMember:
    """Give the target another role, and return the membership.

    Raises:
        Conflict: If they are the last owner.
    """
    if membership.role == "owner":
        _change_group(standing, **_succession(standing))
    return _change(standing, role=role)


def hand_over(standing: Standing, giver: GroupMember) -> GroupMember:
    """Make the target the owner in the place of another member, who becomes an admin.

    Returns:
        The membership of the new owner.
    """
    role = case((GroupMember.user_id == standing.user_id, "owner"), else_="admin")
    people = (giver.user_id, standing.user_id)
    changed = standing.session.scalars(
        change_statement(standing.group.id, people, role=role), execution_options=WRITES
    ).all()
    _change_group(standing, owner_id=standing.user_id, updated_at=func.now())
    return next(membership for membership in changed if membership.user_id == standing.user_id)


def change_statement(
    group_id: UUID, user_ids: Iterable[str], **values: Any
) -> ReturningUpdate[GroupMember]:
    """Change the memberships of some people in a group."""
    return (
        update(GroupMember)
        .where(GroupMember.group_id == group_id, GroupMember.user_id.in_(user_ids))
        .values(values | {"updated_at": func.now()})
        .returning(GroupMember)
    )


def _change(standing: Standing, **values: Any) -> GroupMember:
    statement = change_statement(standing.group.id, (standing.user_id,), **values)
    return standing.session.scalars(statement, execution_options=WRITES).one()


def _change_group(standing: Standing, **values: Any) -> None:
    if values:
        statement = (
            update(Group).where(Group.id == standing.group.id).values(values).returning(Group)
        )
        # What is returned refreshes the group that the session holds.
        standing.session.scalars(statement, execution_options=WRITES).one()


def _without(standing: Standing, membership: GroupMember) -> dict[str, Any]:
    if not is_active(membership):
        return {}
    owner = _succession(standing) if membership.role == "owner" else {}
    return {"member_count": Group.member_count - 1, **owner}


def _succession(standing: Standing) -> dict[str, Any]:
    if standing.heir is None:
        raise Conflict("a group must keep an owner: transfer the ownership first")
    if standing.group.owner_id != standing.user_id:
        return {}
    return {"owner_id": standing.heir, "updated_at": func.now()}
