"""Prepared statements and plans that are kept, while schemas change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql
from sqlalchemy import text
from sqlalchemy.orm import Session

from orgtenancy.testing.isolation.catalogue import Group, World
from orgtenancy.testing.isolation.driving import ask
from orgtenancy.testing.isolation.marks import NotApplicable
from orgtenancy.testing.isolation.scripts import Steps, Work

plans = Group("prepared statements")

# psycopg prepares a statement at its sixth execution; PostgreSQL keeps a plan after five more.
_TIMES = 13


@plans.script("a statement that both execute until its plan is kept")
def repeated(world: World) -> Steps:
    """Execute the same statement in turn, in the same session for a while."""

    def read(organization: str) -> Work:
        def work(session: Session) -> str:
            evidence = ""
            for _ in range(_TIMES):
                evidence = world.see(session, organization)
                session.commit()
            return evidence

        return Work(organization, work)

    evidence = ""
    for organization in (world.a, world.b, world.a, world.b):
        evidence = yield read(organization)
    return evidence


@plans.script("a statement that both execute in turn, prepared at once")
def in_turn(world: World) -> Steps:
    """Execute a statement as prepared, in one organization and the other."""
    evidence = ""
    for _ in range(_TIMES):
        for organization in (world.a, world.b):
            evidence = yield world.reading(organization)
    return evidence


@plans.script("a prepared `SELECT *` after a column was added in one organization")
def column_added(world: World) -> Steps:
    """Change one organization's table when both have prepared a statement on it."""
    query = text(sql.SQL("SELECT * FROM {}").format(world.table).as_string(None))

    def read(organization: str) -> Work:
        return Work(
            organization,
            lambda session: world.check(session.execute(query).all(), organization),
        )

    for _ in range(_TIMES):
        for organization in (world.a, world.b):
            yield read(organization)
    with _another_column(world):
        for organization in (world.a, world.b, world.a):
            evidence = yield read(organization)
    return evidence


@plans.script("a prepared statement when one organization's table is gone")
def table_gone(world: World) -> Steps:
    """Take one organization's table away when both have prepared a statement on it."""
    name = world.table_of(world.b)
    for _ in range(_TIMES):
        for organization in (world.a, world.b):
            yield world.reading(organization)
    away = sql.Identifier(f"{world.subject.table}_away")
    with world.subject.owner.begin() as owner:
        ask(owner, "ALTER TABLE {} RENAME TO {}", name, away)
    try:
        return (yield world.reading(world.b))
    finally:
        moved = sql.Identifier(str(world.subject.schema_of(world.b)), away.as_string(None)[1:-1])
        with world.subject.owner.begin() as owner:
            ask(owner, "ALTER TABLE {} RENAME TO {}", moved, world.table)


@contextmanager
def _another_column(world: World) -> Iterator[None]:
    if world.subject.schema_of(world.a) is None:
        raise NotApplicable("all organizations share one table")
    name = world.table_of(world.a)
    with world.subject.owner.begin() as owner:
        ask(owner, "ALTER TABLE {} ADD another text", name)
    try:
        yield
    finally:
        with world.subject.owner.begin() as owner:
            ask(owner, "ALTER TABLE {} DROP another", name)
