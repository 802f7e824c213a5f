"""Events of an identity provider: written before they are answered, worked on afterwards.

Events of one subject are worked on one at a time, in the order in which they happened as far
as they have arrived; those of different subjects by any number of workers at once. One that
waits for another attempt is overtaken, so that a deletion does not wait for a new name: what an
event does must not rest on the order alone. A worker that dies lets go of what it had.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
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

_FIRST_DELAY = 1.0  # seconds before the second attempt; doubled before each later one
_MAX_DELAY = 60.0
_MAX_ERROR = 2000  # characters

# Of the two numbers of an advisory lock this is the first: "orgi" as a big-endian integer.
_SPACE = int.from_bytes(b"orgi", "big")

Outcome: TypeAlias = Literal["done", "superseded", "ignored", "failed"]


@dataclass(frozen=True, slots=True)
class InboxItem:
    """An event that is to be worked on.

    Attributes:
        id: Its number.
        event: The provider's name of what happened.
        subject: What it is about.
        occurred_at: When it happened, as the provider says.
        received_at: When it was written down, by the database's clock.
        body: What was sent.
        attempts: How often it was tried before.
    """

    id: int
    event: str
    subject: str
    occurred_at: datetime
    received_at: datetime
    body: Mapping[str, Any]
    attempts: int


_ITEM = [inbox.c[field.name] for field in fields(InboxItem)]


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """An event, and what became of it.

    Attributes:
        id: Its number.
        event: The provider's name of what happened.
        subject: What it is about; an empty text if that does not matter.
        occurred_at: When it happened, as the provider says.
        received_at: When it was written down.
        status: `pending`, or what became of it.
        attempts: How often it was tried.
        available_at: Not to be tried before.
        finished_at: When its work ended, or None.
        error: What went wrong the last time, or why it was ignored.
        body: What was sent.
    """

    id: int
    event: str
    subject: str
    occurred_at: datetime
    received_at: datetime
    status: str
    attempts: int
    available_at: datetime
    finished_at: datetime | None
    error: str | None
    body: Mapping[str, Any]


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
    # Without a target and without the new row's number: either takes a right to read.
    statement = insert(inbox).inline().values(values).on_conflict_do_nothing()
    added = session.execute(statement, execution_options={"preserve_rowcount": True})
    is_new = bool(getattr(added, "rowcount", 0) == 1)
    if is_new:
        session.execute(select(func.pg_notify(INBOX_CHANNEL, source)))
    return is_new


def claim_next(connection: Connection, source: str) -> InboxItem | None:
    """Lock the next event that may be worked on, until the transaction ends, or return None.

    Nobody else gets an event of the same subject meanwhile: not one that happened later, as
    this one is pending, nor one that happened earlier and arrives only now, as that waits for
    a lock on the subject.
    """
    earlier = inbox.alias("earlier")
    waits = exists().where(
        earlier.c.source == inbox.c.source,
        earlier.c.subject == inbox.c.subject,
        earlier.c.status == "pending",
        earlier.c.available_at <= func.now(),
        tuple_(earlier.c.occurred_at, earlier.c.id) < tuple_(inbox.c.occurred_at, inbox.c.id),
    )
    statement = (
        select(*_ITEM)
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
    if row is None:
        return None
    item = InboxItem(*row)
    if item.subject:
        key = func.hashtext(f"{source}:{item.subject}")
        connection.execute(select(func.pg_advisory_xact_lock(_SPACE, key)))
    return item


def was_overtaken(
    connection: Connection,
    source: str,
    item: InboxItem,
    *,
    since: datetime,
    body: Mapping[str, Any],
) -> bool:
    """Return whether something of an event's kind that happened before it was done only lately.

    Args:
        connection: A connection of the owner.
        source: The provider.
        item: The event.
        since: From when on it counts as lately; what is not done yet does too.
        body: Only such whose body has all of this.
    """
    statement = select(inbox.c.id).where(
        inbox.c.source == source,
        inbox.c.subject == item.subject,
        inbox.c.event == item.event,
        tuple_(inbox.c.occurred_at, inbox.c.id) < tuple_(item.occurred_at, item.id),
        or_(inbox.c.finished_at.is_(None), inbox.c.finished_at > since),
        inbox.c.body.contains(body),
    )
    return connection.execute(statement.limit(1)).first() is not None


def is_superseded(
    connection: Connection, source: str, item: InboxItem, *, by: Mapping[str, bool]
) -> bool:
    """Return whether an event says nothing any more, for what else is known of its subject.

    Args:
        connection: A connection of the owner.
        source: The provider.
        item: The event.
        by: The events that supersede it, by name: whether also those that happened before,
            and those that could not be worked on.
    """
    later = and_(inbox.c.occurred_at > item.occurred_at, inbox.c.status != "failed")
    always = [name for name, also_before in by.items() if also_before]
    statement = select(inbox.c.id).where(
        inbox.c.source == source,
        inbox.c.subject == item.subject,
        inbox.c.id != item.id,
        or_(inbox.c.event.in_(always), and_(inbox.c.event.in_(list(by)), later)),
    )
    return connection.execute(statement.limit(1)).first() is not None


def has_event(
    connection: Connection, source: str, *, event: str, subject: str, since: datetime
) -> bool:
    """Return whether such an event was received since, whatever became of it."""
    statement = select(inbox.c.id).where(
        inbox.c.source == source,
        inbox.c.subject == subject,
        inbox.c.event == event,
        inbox.c.received_at >= since,
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
            error=_storable(error),
            finished_at=func.clock_timestamp(),
        ),
        {"key": item.id},
    )


def retry_later(connection: Connection, item: InboxItem, error: str) -> None:
    """Let an event be tried again after a while, or give it up after too many attempts."""
    if item.attempts + 1 >= MAX_ATTEMPTS:
        finish(connection, item, "failed", error)
        return
    longest = min(_FIRST_DELAY * 2.0**item.attempts, _MAX_DELAY)
    delay = longest * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
    connection.execute(
        update(inbox)
        .where(inbox.c.id == bindparam("key"))
        .values(
            attempts=item.attempts + 1,
            error=_storable(error),
            available_at=func.clock_timestamp() + timedelta(seconds=delay),
        ),
        {"key": item.id},
    )


def retry(connection: Connection, source: str, number: int) -> bool:
    """Let a failed event be tried again, from now on and as often as a new one.

    Returns:
        Whether there is such an event, and it had failed.
    """
    changed = connection.execute(
        update(inbox)
        .where(inbox.c.id == number, inbox.c.source == source, inbox.c.status == "failed")
        .values(status="pending", attempts=0, available_at=func.now(), finished_at=None)
    )
    connection.execute(select(func.pg_notify(INBOX_CHANNEL, source)))
    return changed.rowcount == 1


def newest(
    connection: Connection, source: str, *, limit: int, only_failed: bool = False
) -> Sequence[InboxEntry]:
    """Return events, the last ones received first.

    Args:
        connection: A connection of the owner.
        source: The provider.
        limit: How many at the most.
        only_failed: Only those that could not be worked on.
    """
    columns = [inbox.c[field.name] for field in fields(InboxEntry)]
    statement = select(*columns).where(inbox.c.source == source)
    if only_failed:
        statement = statement.where(inbox.c.status == "failed")
    rows = connection.execute(statement.order_by(inbox.c.id.desc()).limit(limit))
    return [InboxEntry(*row) for row in rows]


def prune(connection: Connection, retention: timedelta) -> int:
    """Delete events whose work was done so long ago, and return how many."""
    deleted = connection.execute(
        delete(inbox).where(
            inbox.c.status != "pending", inbox.c.finished_at < func.now() - retention
        )
    )
    return deleted.rowcount


def _storable(error: str | None) -> str | None:
    """Return a text as PostgreSQL takes it, whatever an exception had to say."""
    if error is None:
        return None
    return error[:_MAX_ERROR].replace("\0", "").encode(errors="replace").decode()
