"""Names without a schema, which must not be looked up anywhere but in one's own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql
from sqlalchemy.orm import Session

from orgtenancy.testing.isolation.catalogue import Group, World
from orgtenancy.testing.isolation.driving import ask
from orgtenancy.testing.isolation.scripts import Steps, Work

names = Group("names")


@names.script("a table that exists only in public")
def only_in_public(world: World) -> Steps:
    """Read by its name a table that anybody may read, with another's row in it."""
    table = f"proof_{secrets.token_hex(4)}"
    with _in_public(world, table):
        name = sql.Identifier(table)
        return (
            yield Work(
                world.a,
                lambda session: world.check(ask(session, "SELECT mark FROM {}", name), world.a),
            )
        )


@names.script("one's own table is gone, and one of its name is in public")
def fallback(world: World) -> Steps:
    """Read one's own table when it is not there."""
    own = world.table_of(world.a)
    away = f"{world.subject.table}_away"
    moved = sql.Identifier(str(world.subject.schema_of(world.a)), away)
    with world.subject.owner.begin() as owner:
        ask(owner, "ALTER TABLE {} RENAME TO {}", own, sql.Identifier(away))
    try:
        with _in_public(world, world.subject.table):
            return (yield world.reading(world.a))
    finally:
        with world.subject.owner.begin() as owner:
            ask(owner, "ALTER TABLE {} RENAME TO {}", moved, world.table)


@names.script("a table made in public, for the other one to find")
def made_in_public(world: World) -> Steps:
    """Make a table in public that anybody may read."""
    name = sql.Identifier("public", f"proof_{secrets.token_hex(4)}")
    mark = sql.Literal(world.marks[world.a])

    def make(session: Session) -> None:
        ask(session, "CREATE TABLE {} AS SELECT {}::text AS mark", name, mark)
        ask(session, "GRANT SELECT ON {} TO PUBLIC", name)

    try:
        yield Work(world.a, make)
        return (
            yield Work(
                world.b,
                lambda session: world.check(ask(session, "SELECT mark FROM {}", name), world.b),
            )
        )
    finally:
        with world.subject.owner.begin() as owner:
            ask(owner, "DROP TABLE IF EXISTS {}", name)


@contextmanager
def _in_public(world: World, table: str) -> Iterator[None]:
    """Have a table in public that anybody may read, with a row of B's."""
    name, mark = sql.Identifier("public", table), sql.Literal(world.marks[world.b])
    with world.subject.owner.begin() as owner:
        ask(owner, "CREATE TABLE {} AS SELECT 1::bigint AS id, {}::text AS mark", name, mark)
        ask(owner, "GRANT SELECT ON {} TO PUBLIC", name)
    try:
        yield
    finally:
        with world.subject.owner.begin() as owner:
            ask(owner, "DROP TABLE {}", name)
