"""Raw SQL of one organization reaches for the other one's rows."""

from __future__ import annotations

from collections.abc import Callable

from psycopg import sql
from sqlalchemy import text
from sqlalchemy.orm import Session

from orgtenancy.testing.isolation.catalogue import Group, World
from orgtenancy.testing.isolation.driving import ask
from orgtenancy.testing.isolation.marks import NotApplicable
from orgtenancy.testing.isolation.scripts import Steps, Work
from orgtenancy.testing.isolation.subject import Access, AsyncAccess

statements = Group("raw SQL")

# `{0}` is the other one's table with its schema, `{1}` the table without one, `{2}` the
# other one's schema, `{3}` that as a path, `{4}` a query on the table, `{5}` one's own mark.
_FOREIGN = {
    "a qualified name": "SELECT mark FROM {0}",
    "a qualified name in a common table expression": (
        "WITH found AS MATERIALIZED (SELECT * FROM {0}) SELECT mark FROM found"
    ),
    "SET search_path": "SET search_path TO {2}; SELECT mark FROM {1}",
    "SET LOCAL search_path": "SET LOCAL search_path TO {2}; SELECT mark FROM {1}",
    "set_config of the search_path": (
        "SELECT set_config('search_path', {3}, true); SELECT mark FROM {1}"
    ),
    "RESET ROLE": "RESET ROLE; SELECT mark FROM {0}",
    "SET ROLE NONE": "SET ROLE NONE; SELECT mark FROM {0}",
    "RESET SESSION AUTHORIZATION": "RESET SESSION AUTHORIZATION; SELECT mark FROM {0}",
    "COMMIT in the text": "COMMIT; SELECT mark FROM {0}",
    "ROLLBACK in the text": "ROLLBACK; SELECT mark FROM {0}",
    "PREPARE and EXECUTE": "PREPARE peek AS SELECT mark FROM {0}; EXECUTE peek",
    "DECLARE and FETCH": "DECLARE peek CURSOR FOR SELECT mark FROM {0}; FETCH ALL FROM peek",
    "a function that runs a query": "SELECT word FROM ts_stat({4})",
    "a temporary view": "CREATE TEMP VIEW peek AS SELECT * FROM {0}; SELECT mark FROM peek",
}

_OWN = {
    "a query without a condition": "SELECT mark FROM {0}",
    "a query after COMMIT in the text": "SELECT 1; COMMIT; SELECT mark FROM {0}",
    "a query after ROLLBACK in the text": "SELECT 1; ROLLBACK; SELECT mark FROM {0}",
    "a query after RESET ROLE": "RESET ROLE; SELECT mark FROM {0}",
    "a query after RESET ALL": "RESET ALL; SELECT mark FROM {0}",
}

_WRITES = {
    "INSERT": "INSERT INTO {0} (id, mark) VALUES (7, {5})",
    "UPDATE": "UPDATE {0} SET mark = {5}",
    "DELETE": "DELETE FROM {0}",
    "TRUNCATE": "TRUNCATE {0}",
    "ALTER TABLE": "ALTER TABLE {0} ALTER mark TYPE text USING {5}",
    "DROP TABLE": "DROP TABLE {0}",
}


def _names(world: World) -> list[sql.Composable]:
    schema = str(world.subject.schema_of(world.b))
    table = world.table_of(world.b)
    query = sql.SQL("SELECT array_to_tsvector(ARRAY[mark]) FROM {}").format(table).as_string(None)
    quoted = sql.Identifier(schema)
    return [
        table,
        world.table,
        quoted,
        sql.Literal(quoted.as_string(None)),
        sql.Literal(query),
        sql.Literal(world.marks[world.a]),
    ]


def _foreign(query: str) -> Callable[[World], Steps]:
    def script(world: World) -> Steps:
        names = _names(world)
        return (
            yield Work(world.a, lambda session: world.check(ask(session, query, *names), world.a))
        )

    return script


def _own(query: str) -> Callable[[World], Steps]:
    def script(world: World) -> Steps:
        yield world.reading(world.b)
        return (
            yield Work(
                world.a, lambda session: world.check(ask(session, query, world.table), world.a)
            )
        )

    return script


def _writes(query: str) -> Callable[[World], Steps]:
    def script(world: World) -> Steps:
        names = _names(world)
        yield Work(world.a, lambda session: ask(session, query, *names))

    return script


for _name, _query in _OWN.items():
    statements.script(_name)(_own(_query))
for _name, _query in _FOREIGN.items():
    statements.script(f"{_name}, for the other one's rows")(_foreign(_query))
for _name, _query in _WRITES.items():
    statements.script(f"{_name} of the other one's rows")(_writes(_query))


@statements.script("every table of the name that the catalog knows")
def discovered(world: World) -> Steps:
    """Look for tables in the catalog, and read each as far as that goes."""

    def read(session: Session) -> str:
        found = ask(
            session,
            "SELECT relnamespace::regnamespace::text, relname FROM pg_class "
            "WHERE relname = {} AND relkind = 'r'",
            sql.Literal(world.subject.table),
        )
        seen = []
        for schema, table in found:
            query = sql.SQL("SELECT mark FROM {}.{}").format(sql.SQL(schema), sql.Identifier(table))
            with session.begin_nested() as savepoint:
                try:
                    seen += ask(session, "{}", query)
                except Exception:  # noqa: BLE001 - refused; the next table is tried
                    savepoint.rollback()
        return world.check(seen, world.a)

    return (yield Work(world.a, read))


@statements.script("what the planner knows of the other one's values")
def statistics(world: World) -> Steps:
    """Read the most common values of all columns that statistics are shown of."""

    def write(session: Session) -> None:
        for _ in range(20):
            world.write(session, world.b)

    yield Work(world.b, write)
    with world.subject.owner.begin() as owner:
        ask(owner, "ANALYZE")
    query = "SELECT most_common_vals::text, histogram_bounds::text FROM pg_stats"
    return (yield Work(world.a, lambda session: world.check(ask(session, query), world.a)))


@statements.script("a large object of the other one")
def large_object(world: World) -> Steps:
    """Read what the other one has put into a large object."""
    mark = sql.Literal(world.marks[world.b])
    make = "SELECT lo_from_bytea(0, {}::text::bytea)"
    (made,) = yield Work(world.b, lambda session: ask(session, make, mark))
    oid = sql.Literal(made[0])
    try:
        return (
            yield Work(
                world.a,
                lambda session: world.check(ask(session, "SELECT lo_get({})", oid), world.a),
            )
        )
    finally:
        with world.subject.owner.begin() as owner:
            ask(owner, "SELECT lo_unlink({})", oid)


_ACTIVITY = "SELECT query FROM pg_stat_activity WHERE pid <> pg_backend_pid()"


@statements.leak("the other one's statement, as the server shows it", pool_size=2)
def activity(world: World, access: Access) -> str:
    """Look at what other connections last did, while one of the other's is open."""
    with access.bound(world.b), access.engine.connect() as connection:
        ask(connection, "SELECT {}", sql.Literal(world.marks[world.b]))
        with access.bound(world.a), access.current() as session:
            return world.check(ask(session, _ACTIVITY), world.a)


@statements.leak("the other one's statement, as the server shows it, async", pool_size=2)
async def activity_async(world: World, access: AsyncAccess) -> str:
    """Do the same on the async engine."""
    with access.bound(world.b):
        async with access.engine.connect() as connection:
            await connection.run_sync(ask, "SELECT {}", sql.Literal(world.marks[world.b]))
            with access.bound(world.a):
                async with access.current() as session:
                    return world.check(await session.run_sync(ask, _ACTIVITY), world.a)


_HOSTILE = {
    "SET ROLE": "SET ROLE {1}; SELECT mark FROM {0}",
    "COMMIT, then SET ROLE": "COMMIT; SET ROLE {1}; SELECT mark FROM {0}",
    "RESET ROLE, then SET ROLE": "RESET ROLE; SET ROLE {1}; SELECT mark FROM {0}",
    "SET SESSION AUTHORIZATION": "SET SESSION AUTHORIZATION {1}; SELECT mark FROM {0}",
}


def _hostile(query: str) -> Callable[[World], Steps]:
    def script(world: World) -> Steps:
        role = world.subject.role_of(world.b)
        if role is None:
            raise NotApplicable("organizations have no roles")
        if not world.subject.stands_hostile_sql:
            raise NotApplicable(
                "statements of an attacker's own choice are not promised to be held"
            )
        names = (world.table_of(world.b), sql.Identifier(role))
        return (
            yield Work(world.a, lambda session: world.check(ask(session, query, *names), world.a))
        )

    return script


for _name, _query in _HOSTILE.items():
    statements.script(f"{_name} to the other one's role")(_hostile(_query))


@statements.script("a statement of the ORM that is only text")
def orm_text(world: World) -> Steps:
    """Read by `text()`, which no filter of the ORM sees."""
    query = text(sql.SQL("SELECT mark FROM {}").format(world.table).as_string(None))
    yield world.reading(world.b)
    return (yield Work(world.a, lambda session: world.check(session.scalars(query).all(), world.a)))
