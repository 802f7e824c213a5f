"""Who was let into an organization, or put out of it, at the identity provider."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

from sqlalchemy import Connection, and_, case, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.orm import Session

from orgtenancy.registry.tables import actors, members

#: Hears of changes to members: the organization's id, or `EVERY_ORGANIZATION`.
MEMBERS_CHANNEL = "orgtenancy_members"
EVERY_ORGANIZATION = ""

MemberStatus: TypeAlias = Literal["active", "removed"]
ActorStatus: TypeAlias = Literal["active", "suspended", "deleted"]


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of an actor in an organization.

    Attributes:
        member: Whether it is a member, or None if nothing was heard of it.
        changed_at: Since when.
        removed_at: When it was put out last, though it may be a member again: what a token
            from before says has ended then.
        actor: Whether the actor as such is let in, or None if nothing was heard of it.
        actor_changed_at: Since when.
    """

    member: MemberStatus | None = None
    changed_at: datetime | None = None
    removed_at: datetime | None = None
    actor: ActorStatus | None = None
    actor_changed_at: datetime | None = None


def set_member(
    connection: Connection,
    organization_id: str,
    actor_id: str,
    status: MemberStatus,
    at: datetime,
    *,
    removed_at: datetime | None = None,
) -> bool:
    """Write that an actor is a member, or is none any more; nothing that is older counts.

    A removal is remembered although the actor came back, even if it is heard of only then.

    Args:
        connection: A connection of the owner, in a transaction.
        organization_id: Of which organization.
        actor_id: Who.
        status: What it is.
        at: Since when, as far as the order of what is heard goes.
        removed_at: When a removed one was none for sure, if `at` says only that it was none
            later: what a token from before says has ended then.

    Returns:
        Whether it was news.
    """
    given = insert(members).values(
        organization_id=organization_id,
        actor_id=actor_id,
        status=status,
        changed_at=at,
        removed_at=(removed_at or at) if status == "removed" else None,
    )
    new, old = given.excluded, members.c
    is_newer = old.changed_at < new.changed_at
    last_removed_at = func.greatest(old.removed_at, new.removed_at)  # which skips nulls
    upsert = given.on_conflict_do_update(
        index_elements=["organization_id", "actor_id"],
        set_={
            "status": case((is_newer, new.status), else_=old.status),
            "changed_at": func.greatest(old.changed_at, new.changed_at),
            "removed_at": last_removed_at,
        },
        where=or_(is_newer, old.removed_at.is_distinct_from(last_removed_at)),
    )
    return _write(connection, upsert, organization_id)


def set_actor(connection: Connection, actor_id: str, status: ActorStatus, at: datetime) -> bool:
    """Write what became of an actor, whatever the organization; nothing that is older counts.

    Returns:
        Whether it was news.
    """
    given = insert(actors).values(id=actor_id, status=status, changed_at=at)
    upsert = given.on_conflict_do_update(
        index_elements=["id"],
        set_={"status": given.excluded.status, "changed_at": given.excluded.changed_at},
        where=actors.c.changed_at < given.excluded.changed_at,
    )
    return _write(connection, upsert, EVERY_ORGANIZATION)


def find_standing(session: Session | Connection, organization_id: str, actor_id: str) -> Standing:
    """Return what is known of an actor in an organization, in one query."""
    one = select(func.now().label("now")).subquery()
    row = session.execute(
        select(
            members.c.status,
            members.c.changed_at,
            members.c.removed_at,
            actors.c.status,
            actors.c.changed_at,
        )
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


def _write(connection: Connection, upsert: Insert, announced: str) -> bool:
    # Without the option the count of an INSERT is not kept.
    written = connection.execute(upsert, execution_options={"preserve_rowcount": True})
    news = written.rowcount == 1
    if news:
        announce(connection, [announced])
    return news
