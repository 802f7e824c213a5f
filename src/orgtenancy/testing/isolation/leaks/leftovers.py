"""What one organization leaves on a connection, and the next one meets there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from secrets import token_hex
from typing import Any

from psycopg import sql
from sqlalchemy.orm import Session

from orgtenancy.testing.isolation.catalogue import Group, World
from orgtenancy.testing.isolation.driving import ask, driver_of
from orgtenancy.testing.isolation.marks import NotApplicable
from orgtenancy.testing.isolation.scripts import Steps, Work
from orgtenancy.testing.isolation.subject import Access, AsyncAccess

leftovers = Group("left on the connection")

# What A leaves, and by what B finds it. `{0}` is A's mark, `{1}` the table, `{2}` a new name.
_LEFT = {
    "a setting of the session": (
        "SET proof.mark = {0}",
        "SELECT current_setting('proof.mark', true)",
    ),
    "a setting made by set_config": (
        "SELECT set_config('proof.mark', {0}, false)",
        "SELECT current_setting('proof.mark', true)",
    ),
    "a temporary table": (
        "CREATE TEMP TABLE {2} AS SELECT {0}::text AS mark; GRANT SELECT ON {2} TO PUBLIC",
        "SELECT mark FROM pg_temp.{2}",
    ),
    "a temporary table of the same name": (
        "CREATE TEMP TABLE {1} AS SELECT 1 AS id, {0}::text AS mark; GRANT SELECT ON {1} TO PUBLIC",
        "SELECT mark FROM {1}",
    ),
    "a cursor WITH HOLD": (
        "DECLARE {2} CURSOR WITH HOLD FOR SELECT mark FROM {1}",
        "FETCH ALL FROM {2}",
    ),
    "a statement made by PREPARE": (
        "PREPARE {2} AS SELECT {0}::text",
        "EXECUTE {2}",
    ),
    "the text of a prepared statement": (
        "PREPARE {2} AS SELECT {0}::text",
        "SELECT statement FROM pg_prepared_statements",
    ),
}


def _left(leave: str, find: str) -> Callable[[World], Steps]:
    def script(world: World) -> Steps:
        names = (
            sql.Literal(world.marks[world.a]),
            world.table,
            sql.Identifier(f"left_{token_hex(4)}"),
        )
        yield Work(world.a, lambda session: ask(session, leave, *names))
        return (
            yield Work(world.b, lambda session: world.check(ask(session, find, *names), world.b))
        )

    return script


for _name, (_leave, _find) in _LEFT.items():
    leftovers.script(_name)(_left(_leave, _find))


@leftovers.script("a search_path of the session")
def search_path(world: World) -> Steps:
    """Set one's own schema for the session, and let the other one read."""
    schema = world.subject.schema_of(world.a)
    if schema is None:
        raise NotApplicable("all organizations share one schema")
    name = sql.Identifier(schema)
    yield Work(world.a, lambda session: ask(session, "SET search_path TO {}", name))
    return (yield world.writing(world.b))


@leftovers.script("a row factory, which sees every row")
def row_factory(world: World) -> Steps:
    """Leave a function with the driver's connection that is called for every row."""
    seen: list[object] = []

    def spy(cursor: object) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
        def make(values: Sequence[Any]) -> tuple[Any, ...]:
            seen.append(values)
            return tuple(values)

        return make

    def leave(session: Session) -> None:
        driver_of(session).row_factory = spy

    yield Work(world.a, leave)
    yield world.reading(world.b)
    return world.check(seen, world.a)


@leftovers.script("a notice handler, which hears what the server says")
def notice_handler(world: World) -> Steps:
    """Leave a function with the driver's connection that is called for every notice."""
    heard: list[str] = []

    def leave(session: Session) -> None:
        driver_of(session).add_notice_handler(lambda notice: heard.append(notice.message_primary))

    def tell(session: Session) -> None:
        words = sql.Literal(f"BEGIN RAISE WARNING '{world.marks[world.b]}'; END")
        ask(session, "DO {}", words)

    yield Work(world.a, leave)
    yield Work(world.b, tell)
    return world.check(heard, world.a)


@leftovers.script("the driver's connection in autocommit")
def driver_autocommit(world: World) -> Steps:
    """Leave the connection in autocommit, which SQLAlchemy does not know of."""

    def leave(session: Session) -> None:
        driver = driver_of(session)
        session.commit()
        driver._autocommit = True

    with suppress(Exception):
        yield Work(world.a, leave)
    return (yield world.writing(world.b))


@leftovers.leak("a handle on the driver's connection, used in its old context")
def handle(world: World, access: Access) -> str:
    """Keep the driver's connection, and read by it in the other one's transaction."""
    with access.session(world.a) as session:
        kept = driver_of(session)
    with access.session(world.b) as session:
        world.see(session, world.b)
        with access.bound(world.a):
            rows = kept.execute(sql.SQL("SELECT mark FROM {}").format(world.table)).fetchall()
        return world.check(rows, world.a)


@leftovers.leak("a handle on the driver's connection, used in its old context, async")
async def handle_async(world: World, access: AsyncAccess) -> str:
    """Do the same on the async engine."""
    async with access.session(world.a) as session:
        kept = await session.run_sync(driver_of)
    async with access.session(world.b) as session:
        await world.see_async(session, world.b)
        with access.bound(world.a):
            cursor = await kept.execute(sql.SQL("SELECT mark FROM {}").format(world.table))
            return world.check(await cursor.fetchall(), world.a)


@leftovers.leak("a handle on the driver's connection, used when its block is over")
def late_handle(world: World, access: Access) -> str:
    """Read by a kept connection that is back in the pool, after the other one's work."""
    with access.session(world.a) as session:
        kept = driver_of(session)
    with access.session(world.b) as session:
        world.see(session, world.b)
    rows = kept.execute(sql.SQL("SELECT mark FROM {}").format(world.table)).fetchall()
    kept.rollback()
    return world.check(rows, world.a)
