"""Groups with people of every kind, written past the repositories, and what must hold of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, event, select
from sqlalchemy.orm import Session

from orgtenancy.community import Group, GroupMember, UserProfile
from orgtenancy.community.models import Privacy

ROLES = ("owner", "admin", "moderator", "member")
#: How somebody can stand in a group; members are called by their role.
KINDS = (*ROLES, "requested", "invited", "banned", "stranger")

_groups: Any = Group.__table__
_members: Any = GroupMember.__table__


def circle(
    session: Session,
    people: dict[str, str],
    *,
    privacy: Privacy = "public",
    archived: bool = False,
    owner_id: str | None = None,
) -> UUID:
    """Write a group of people by kind, who came in the order given, a day between them."""
    now = datetime.now(UTC)
    if owner_id is None:
        owner_id = next(user_id for user_id, kind in people.items() if kind == "owner")
    group = Group(
        name="Circle",
        slug=uuid4().hex,
        privacy=privacy,
        owner_id=owner_id,
        member_count=sum(kind in ROLES for kind in people.values()),
        archived_at=now if archived else None,
    )
    session.add(group)
    session.flush()
    rows = [
        {
            "group_id": group.id,
            "user_id": user_id,
            "role": kind if kind in ROLES else "member",
            "status": "active" if kind in ROLES else kind,
            "joined_at": now - timedelta(days=100 - number) if kind in ROLES else None,
        }
        for number, (user_id, kind) in enumerate(people.items())
        if kind != "stranger"
    ]
    session.execute(_members.insert(), rows)
    return group.id


def add_people(session: Session, *user_ids: str) -> None:
    session.add_all(UserProfile(user_id=user_id, username=user_id) for user_id in user_ids)
    session.flush()


def kinds(session: Session, group_id: UUID) -> dict[str, str]:
    """Return everybody's kind as the database has it, after checking what must always hold."""
    own = _members.c.group_id == group_id
    rows = session.execute(
        select(_members.c.user_id, _members.c.role, _members.c.status).where(own)
    ).all()
    found = {row.user_id: row.role if row.status == "active" else row.status for row in rows}
    assert all(row.status == "active" or row.role == "member" for row in rows)
    group = session.execute(_groups.select().where(_groups.c.id == group_id)).one()
    assert group.member_count == sum(kind in ROLES for kind in found.values())
    assert found.get(group.owner_id) == "owner"
    return found


def owner_of(session: Session, group_id: UUID) -> str:
    owner_id: str = session.execute(
        select(_groups.c.owner_id).where(_groups.c.id == group_id)
    ).scalar_one()
    return owner_id


@contextmanager
def counted(session: Session) -> Iterator[list[str]]:
    """Collect the statements that a session sends."""
    statements: list[str] = []

    def sent(connection: Connection, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    connection = session.connection()
    event.listen(connection, "before_cursor_execute", sent)
    try:
        yield statements
    finally:
        event.remove(connection, "before_cursor_execute", sent)
