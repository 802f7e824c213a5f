"""Events of an identity provider: written before they are answered, worked on afterwards.

Events of one subject are worked on in the order in which they happened; those of different
subjects by any number of workers at once. A worker that dies lets go of what it had.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from orgtenancy.registry.tables import inbox

#: Hears that there is something to do.
INBOX_CHANNEL = "orgtenancy_inbox"

MAX_ATTEMPTS = 10

_MAX_DELAY = 60.0  # seconds

Outcome: TypeAlias = Literal["done", "superseded", "ignored", "failed"]


@dataclass(frozen=True, slots=True)
class InboxItem:
    """An event that is to be worked on.

    Attributes:
        id: Its number.
        event: The provider's name of what happened.
        subject: What it is about.
        occurred_at: When it happened, as the provider says.
        body: What was sent.
        attempts: How often it was tried before.
    """

    id: int
    event: str
    subject: str
    occurred_at: datetime
    body: Mapping[str, Any]
    attempts: int


def put(
    session: Session | Connection,
    *,
    source: str,
    digest: str,
    event: str,
    subject: str,
    occurred_at: datetime,
    body: Mapping[str, Any],
) -> bool:
    """Write an event, with the rights of the app, and return whether it is a new one."""
    values = {
        "source": source,
        "digest": digest,
        "event": event,
        "subject": subject,
        "occurred_at": occurred_at,
        "body": dict(body),
    }
    # Without a target, which takes no right to read.
    added = session.execute(insert(inbox).values(values).on_conflict_do_nothing())
    is_new = bool(getattr(added, "rowcount", 0) == 1)
    if is_new:
        session.execute(select(func.pg_notify(INBOX_CHANNEL, source)))
    return is_new


def claim_next(connection: Connection, source: str) -> InboxItem | None:
    """Lock the next event that may be worked on, until the transaction ends, or return None."""
    earlier = inbox.alias("earlier")
    waits = exists().where(
        earlier.c.source == inbox.c.source,
        earlier.c.subject == inbox.c.subject,
        earlier.c.status == "pending",
        tuple_(earlier.c.occurred_at, earlier.c.id) < tuple_(inbox.c.occurred_at, inbox.c.id),
    )
    statement = (
        select(
            inbox.c.id,
            inbox.c.event,
            inbox.c.subject,
            inbox.c.occurred_at,
            inbox.c.body,
            inbox.c.attempts,
        )
        .where(
            inbox.c.source == source,
            inbox.c.status == "pending",
            inbox.c.available_at <= func.now(),
            ~waits,
        )
        .order_by(inbox.c.occurred_at, inbox.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else InboxItem(*row)


def is_superseded(
    connection: Connection, source: str, item: InboxItem, *, by: Mapping[str, bool]
) -> bool:
    """Return whether an event says nothing any more, for what else is known of its subject.

    Args:
        connection: A connection of the owner.
        source: The provider.
        item: The event.
        by: The events that supersede it, by name: whether also those that happened before.
    """
    later = inbox.c.occurred_at > item.occurred_at
    always = [name for name, also_before in by.items() if also_before]
    statement = select(inbox.c.id).where(
        inbox.c.source == source,
        inbox.c.subject == item.subject,
        inbox.c.id != item.id,
        inbox.c.status != "failed",
        or_(inbox.c.event.in_(always), and_(inbox.c.event.in_(list(by)), later)),
    )
    return connection.execute(statement.limit(1)).first() is not None


def finish(
    connection: Connection, item: InboxItem, outcome: Outcome, error: str | None = None
) -> None:
    """Write what became of an event."""
    connection.execute(
        update(inbox)
        .where(inbox.c.id == bindparam("key"))
        .values(
            status=outcome,
            attempts=item.attempts + 1,
            error=error,
            finished_at=func.clock_timestamp(),
        ),
        {"key": item.id},
    )


def retry_later(connection: Connection, item: InboxItem, error: str) -> None:
    """Let an event be tried again after a while, or give it up after too many attempts."""
    if item.attempts + 1 >= MAX_ATTEMPTS:
        finish(connection, item, "failed", error)
        return
    delay = min(2.0**item.attempts, _MAX_DELAY) * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
    connection.execute(
        update(inbox)
        .where(inbox.c.id == bindparam("key"))
        .values(
            attempts=item.attempts + 1,
            error=error,
            available_at=func.clock_timestamp() + timedelta(seconds=delay),
        ),
        {"key": item.id},
    )


def prune(connection: Connection, retention: timedelta) -> int:
    """Delete events whose work was done so long ago, and return how many."""
    deleted = connection.execute(
        delete(inbox).where(
            inbox.c.status != "pending", inbox.c.finished_at < func.now() - retention
        )
    )
    return deleted.rowcount
