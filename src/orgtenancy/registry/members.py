"""Who was let into an organization, or put out of it, at the identity provider."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection, and_, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from orgtenancy.registry.tables import actors, members

#: Hears of changes to members: the organization's id, or an empty text for all of them.
MEMBERS_CHANNEL = "orgtenancy_members"

MemberStatus: TypeAlias = Literal["active", "removed"]
ActorStatus: TypeAlias = Literal["active", "suspended", "deleted"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of an actor in an organization.

    Attributes:
        member: Whether it is a member, or None if nothing was heard of it.
        changed_at: Since when.
        actor: Whether the actor as such is let in, or None if nothing was heard of it.
        actor_changed_at: Since when.
    """

    member: MemberStatus | None = None
    changed_at: datetime | None = None
    actor: ActorStatus | None = None
    actor_changed_at: datetime | None = None


def set_member(
    connection: Connection,
    organization_id: str,
    actor_id: str,
    status: MemberStatus,
    at: datetime,
) -> bool:
    """Write that an actor is a member, or is none any more; nothing that is older counts.

    Returns:
        Whether it was news.
    """
    return _set(
        connection,
        members,
        {"organization_id": organization_id, "actor_id": actor_id},
        status,
        at,
        organization_id,
    )


def set_actor(connection: Connection, actor_id: str, status: ActorStatus, at: datetime) -> bool:
    """Write what became of an actor, whatever the organization; nothing that is older counts.

    Returns:
        Whether it was news.
    """
    return _set(connection, actors, {"id": actor_id}, status, at, "")


def find_standing(session: Session | Connection, organization_id: str, actor_id: str) -> Standing:
    """Return what is known of an actor in an organization, in one query."""
    one = select(func.now().label("now")).subquery()
    row = session.execute(
        select(members.c.status, members.c.changed_at, actors.c.status, actors.c.changed_at)
        .select_from(one)
        .outerjoin(
            members,
            and_(members.c.organization_id == organization_id, members.c.actor_id == actor_id),
        )
        .outerjoin(actors, actors.c.id == actor_id)
    ).one()
    return Standing(*row)


def active_members(connection: Connection, organization_id: str) -> set[str]:
    """Return the ids of an organization's members."""
    statement = select(members.c.actor_id).where(
        members.c.organization_id == organization_id, members.c.status == "active"
    )
    return set(connection.scalars(statement))


def remove_all(connection: Connection, organization_id: str) -> None:
    """Forget all members of an organization that is no more."""
    connection.execute(delete(members).where(members.c.organization_id == organization_id))
    announce(connection, [organization_id])


def move_all(connection: Connection, organization_id: str, new_id: str) -> None:
    """Keep the members of an organization whose id changes.

    What was heard of a member under the new id already is newer, and stays.
    """
    heard = select(members.c.actor_id).where(members.c.organization_id == new_id)
    connection.execute(
        update(members)
        .where(members.c.organization_id == organization_id, members.c.actor_id.not_in(heard))
        .values(organization_id=new_id)
    )
    remove_all(connection, organization_id)
    announce(connection, [new_id])


def announce(connection: Connection, organization_ids: Iterable[str]) -> None:
    """Tell all processes, at commit, that the members of organizations changed."""
    for organization_id in organization_ids:
        connection.execute(select(func.pg_notify(MEMBERS_CHANNEL, organization_id)))


def _set(
    connection: Connection,
    table: Any,
    key: dict[str, str],
    status: str,
    at: datetime,
    announced: str,
) -> bool:
    given = insert(table).values(**key, status=status, changed_at=at)
    changed = connection.execute(
        given.on_conflict_do_update(
            index_elements=list(key),
            set_={"status": given.excluded.status, "changed_at": given.excluded.changed_at},
            where=table.c.changed_at < given.excluded.changed_at,
        ),
        # SQLAlchemy keeps the count of an INSERT only when it is asked to.
        execution_options={"preserve_rowcount": True},
    )
    news = changed.rowcount == 1
    if news:
        announce(connection, [announced])
    return news
