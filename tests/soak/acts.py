"""What the clients do in a transaction, and what they look at.

Each act returns the keys of the rows that it wrote; they are acknowledged once the block around
it has committed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import psycopg
from psycopg import sql
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.util import await_only

from orgtenancy import Organization, Tenancy
from orgtenancy.database.sessions import OrganizationSession
from orgtenancy.errors import OrganizationMismatch
from tests.soak.ledger import DOOMED, Ledger
from tests.support.notes import Note

_WHERE = text(
    "SELECT current_user::text, nullif(current_setting('app.person', true), ''), "
    "(SELECT count(*) FROM pg_cursors WHERE name <> '')"
)
_NEWEST = text("SELECT DISTINCT body FROM (SELECT body FROM notes ORDER BY id DESC LIMIT 100) n")
_ALL = text("SELECT DISTINCT body FROM notes")
_INSERT = "INSERT INTO notes (id, body) VALUES (%s, %s)"
# insufficient_privilege, and undefined_table where a schema of the path may not be used.
_REFUSED = ("42501", "42P01")


class Planned(Exception):
    """An error that an act raises on purpose."""


@dataclass(frozen=True, slots=True)
class Work:
    """What an act has at hand.

    Attributes:
        tenancy: The process's.
        ledger: Where evidence is kept.
        dice: This client's.
        other: Some other organization.
    """

    tenancy: Tenancy
    ledger: Ledger
    dice: random.Random
    other: Organization | None

    def ids(self, most: int = 3) -> list[int]:
        return [self.ledger.new_id() for _ in range(self.dice.randint(1, most))]


Act: TypeAlias = Callable[[OrganizationSession, Work], list[int]]


def check(session: OrganizationSession, work: Work, bodies: Iterable[str]) -> None:
    """See that rows carry the mark of the session's organization."""
    strange = set(bodies) - {session.organization.id}
    if strange:
        work.ledger.violate(f"{session.organization.id} saw {sorted(strange)}")


def look(session: OrganizationSession, work: Work) -> None:
    """See that the transaction is the organization's, and that its newest rows are."""
    role, left, cursors = session.execute(_WHERE).one()
    if role != session.organization.role_name:
        work.ledger.violate(f"{session.organization.id} worked as {role}")
    if left is not None or cursors:
        work.ledger.violate(f"{session.organization.id} met {left!r}, {cursors} cursors")
    check(session, work, session.scalars(_NEWEST))


def insert(session: OrganizationSession, ids: Iterable[int], body: str | None = None) -> None:
    mark = session.organization.id if body is None else body
    session.connection().exec_driver_sql(_INSERT, [(i, mark) for i in ids])


def read(session: OrganizationSession, work: Work) -> list[int]:
    look(session, work)
    check(session, work, session.scalars(_ALL))
    return []


def read_objects(session: OrganizationSession, work: Work) -> list[int]:
    notes = session.scalars(select(Note).order_by(Note.id.desc()).limit(20)).all()
    check(session, work, [note.body for note in notes])
    for note in notes[:2]:
        session.refresh(note)
        check(session, work, [note.body])
    return []


def write(session: OrganizationSession, work: Work) -> list[int]:
    ids = work.ids()
    session.add_all(Note(id=i, body=session.organization.id) for i in ids)
    session.flush()
    look(session, work)
    return ids


def write_first(session: OrganizationSession, work: Work) -> list[int]:
    """Write with the first statement, and look at nothing."""
    ids = work.ids()
    insert(session, ids)
    return ids


def write_twice(session: OrganizationSession, work: Work) -> list[int]:
    """Commit inside the block: the next transaction begins by itself."""
    first = write(session, work)
    session.commit()
    work.ledger.acknowledge(session.organization.id, first)
    look(session, work)
    return write_first(session, work)


def write_after_rollback(session: OrganizationSession, work: Work) -> list[int]:
    insert(session, work.ids(), DOOMED)
    session.rollback()
    return write(session, work)


def savepoint(session: OrganizationSession, work: Work) -> list[int]:
    ids = write_first(session, work)
    nested = session.begin_nested()
    insert(session, work.ids(), DOOMED)
    session.execute(text("SET LOCAL search_path TO pg_catalog"))
    nested.rollback()
    look(session, work)
    return ids


def stream(session: OrganizationSession, work: Work) -> list[int]:
    enough = work.dice.choice((7, 100_000))
    query = select(Note.body).order_by(Note.id).execution_options(yield_per=25)
    for position, body in enumerate(session.scalars(query)):
        check(session, work, [body])
        if position == enough:
            break
    return []


def copy_out(session: OrganizationSession, work: Work) -> list[int]:
    query = "COPY (SELECT body FROM notes ORDER BY id DESC LIMIT 100) TO STDOUT"
    driver: Any = session.connection().connection.driver_connection
    if isinstance(driver, psycopg.AsyncConnection):
        check(session, work, await_only(_copy_out_async(driver, query)))
    else:
        with driver.cursor() as cursor, cursor.copy(query) as copy:
            check(session, work, [str(row[0]) for row in copy.rows()])
    return []


async def _copy_out_async(driver: psycopg.AsyncConnection[Any], query: str) -> list[str]:
    async with driver.cursor() as cursor, cursor.copy(query.encode()) as copy:
        return [str(row[0]) async for row in copy.rows()]


def copy_in(session: OrganizationSession, work: Work) -> list[int]:
    query, ids = "COPY notes (id, body) FROM STDIN", work.ids(10)
    driver: Any = session.connection().connection.driver_connection
    rows = [(i, session.organization.id) for i in ids]
    if isinstance(driver, psycopg.AsyncConnection):
        await_only(_copy_in_async(driver, query, rows))
    else:
        with driver.cursor() as cursor, cursor.copy(query) as copy:
            for row in rows:
                copy.write_row(row)
    return ids


async def _copy_in_async(
    driver: psycopg.AsyncConnection[Any], query: str, rows: list[tuple[int, str]]
) -> None:
    async with driver.cursor() as cursor, cursor.copy(query.encode()) as copy:
        for row in rows:
            await copy.write_row(row)


def linger(session: OrganizationSession, work: Work) -> list[int]:
    """Be in the way of whoever ends connections."""
    ids = write_first(session, work)
    session.execute(text("SELECT pg_sleep(:s)"), {"s": work.dice.random() / 10})
    look(session, work)
    return ids


def leave_a_setting(session: OrganizationSession, work: Work) -> list[int]:
    session.execute(text("SET app.person = 'left behind'"))
    return []


def cross(session: OrganizationSession, work: Work) -> list[int]:
    """Reach for another organization's rows, by name and by path."""
    if work.other is None or work.other.id == session.organization.id:
        return read(session, work)
    schema = sql.Identifier(work.other.schema_name)
    for statement in (
        sql.SQL("SELECT body FROM {}.notes LIMIT 1").format(schema),
        sql.SQL("SET LOCAL search_path TO {}; SELECT body FROM notes LIMIT 1").format(schema),
    ):
        nested = session.begin_nested()
        try:
            session.connection().exec_driver_sql(statement.as_string())
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _REFUSED:
                raise
            nested.rollback()
        else:
            work.ledger.violate(f"{session.organization.id} read {work.other.id}")
    look(session, work)
    return []


def mismatch(session: OrganizationSession, work: Work) -> list[int]:
    """Use a session inside the context of another organization."""
    if work.other is None or work.other.id == session.organization.id:
        return read(session, work)
    look(session, work)
    with work.tenancy.organization(work.other):
        try:
            session.scalars(_NEWEST).all()
        except OrganizationMismatch:
            pass
        else:
            work.ledger.violate(f"a session of {session.organization.id} served {work.other.id}")
    return []


def fail_on_purpose(session: OrganizationSession, work: Work) -> list[int]:
    insert(session, work.ids(), DOOMED)
    raise Planned


def fail_in_the_database(session: OrganizationSession, work: Work) -> list[int]:
    insert(session, work.ids(), DOOMED)
    session.execute(text("SELECT 1 / 0"))
    return []


def time_out(session: OrganizationSession, work: Work) -> list[int]:
    session.execute(text("SET LOCAL statement_timeout = '5ms'"))
    insert(session, work.ids(), DOOMED)
    session.execute(text("SELECT pg_sleep(5)"))
    return []


#: How often each act comes, of all.
ACTS: dict[Act, int] = {
    read: 20,
    read_objects: 12,
    write: 16,
    write_first: 8,
    write_twice: 5,
    write_after_rollback: 4,
    savepoint: 6,
    stream: 5,
    copy_out: 4,
    copy_in: 4,
    linger: 4,
    leave_a_setting: 1,
    cross: 3,
    mismatch: 3,
    fail_on_purpose: 3,
    fail_in_the_database: 3,
    time_out: 2,
}
