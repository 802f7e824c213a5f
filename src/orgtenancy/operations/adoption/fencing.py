"""What refuses late writes to the source: triggers on its tables, until the adoption ends.

A trigger finds the organization of the row that was written, takes the organization's lock
together with other writers, and raises `OT005` if it was switched. The switch takes the lock
alone: it waits for those who have written, and who comes meanwhile waits for its end. So does
who gives a row to another organization, as rows that belong to it go with it. Triggers run with
their owner's rights, also where replication writes, and after all others, so that what they see
is what is stored.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable, Sequence

from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from orgtenancy.database.engines import Database
from orgtenancy.errors import AdoptionRefused
from orgtenancy.naming import REGISTRY_SCHEMA
from orgtenancy.operations.adoption import journal
from orgtenancy.operations.adoption.tables import SourceTable
from orgtenancy.schemas import grants
from orgtenancy.schemas.waiting import limit_lock_wait

_ROWS, _TRUNCATE = "orgtenancy_adoption", "orgtenancy_adoption_truncate"
_ATTEMPTS = 30
_PAUSE = 0.1  # seconds between attempts, more or less
_LOCK_TIMEOUT = 1.0  # seconds: writers behind it wait as long

# deadlock_detected and lock_not_available
_HELD = frozenset({"40P01", "55P03"})

# Partitions get the triggers of rows from their table, and not those of statements.
_THERE = text("""
    SELECT c.relname FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
    WHERE c.relnamespace = to_regnamespace(:schema) AND g.tgname = :rows AND g.tgenabled = 'A'
        AND NOT g.tgisinternal AND g.tgparentid = 0
        AND NOT EXISTS (
            SELECT FROM pg_partition_tree(c.oid) p WHERE NOT EXISTS (
                SELECT FROM pg_trigger t
                WHERE t.tgrelid = p.relid AND t.tgname = :truncate AND t.tgenabled = 'A'
            )
        )
""")

_PARTITIONS = text("""
    SELECT n.nspname, c.relname FROM pg_partition_tree(CAST(:table AS regclass)) p
    JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE p.level > 0 ORDER BY n.nspname, c.relname
""")

# Of a table, of its partitions, and of those that were its partitions.
_TRIGGERS = text("""
    SELECT g.tgname, n.nspname, c.relname FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE g.tgfoid = to_regproc(:function) AND g.tgparentid = 0
    ORDER BY n.nspname, c.relname, g.tgname
""")


def install(database: Database, source: str, tables: Sequence[SourceTable]) -> None:
    """Make the triggers where they are not there yet.

    A table is locked for a moment: its writers under way end first, so whoever writes later
    meets the trigger.

    Args:
        database: Where the source is.
        source: The shared schema.
        tables: Those of its tables that are guarded.

    Raises:
        AdoptionRefused: If somebody holds a table for too long; those before it have theirs.
    """
    with database.admin_engine.begin() as connection:
        journal.begin(connection, source)
        grants.execute(connection, [_function(source, table) for table in tables])
        there = set(_with_triggers(connection, source))
        missing = {
            table.name: _triggers(connection, source, table)
            for table in tables
            if table.name not in there
        }
    for name, statements in missing.items():
        _insist(database, name, statements)


def remove(connection: Connection, source: str, tables: Iterable[SourceTable]) -> None:
    """Take the triggers away, in the caller's transaction, which has locked the tables."""
    for table in tables:
        function = _function_name(source, table)
        found = connection.execute(_TRIGGERS, {"function": function.as_string(None)})
        grants.execute(
            connection,
            [
                *(
                    sql.SQL("DROP TRIGGER {} ON {}").format(
                        sql.Identifier(trigger), sql.Identifier(schema, name)
                    )
                    for trigger, schema, name in found
                ),
                sql.SQL("DROP FUNCTION IF EXISTS {}()").format(function),
            ],
        )


def hold_shared(connection: Connection, tables: Iterable[SourceTable]) -> None:
    """Keep everybody from writing to the tables that all organizations get."""
    shared = [t.source.table.identifier for t in tables if t.route.column is None]
    if shared:
        lock = sql.SQL("LOCK TABLE {} IN SHARE MODE").format(sql.SQL(", ").join(shared))
        grants.execute(connection, [lock])


def is_held(error: OperationalError) -> bool:
    """Return whether others hold what a transaction needed, and it may be tried later."""
    return getattr(error.orig, "sqlstate", None) in _HELD


def _with_triggers(connection: Connection, source: str) -> Sequence[str]:
    names = {"rows": _ROWS, "truncate": _TRUNCATE}
    given = {"schema": sql.Identifier(source).as_string(None), **names}
    return connection.scalars(_THERE, given).all()


def _triggers(connection: Connection, source: str, table: SourceTable) -> list[sql.Composable]:
    name, function = table.source.table.identifier, _function_name(source, table)
    found = connection.execute(_PARTITIONS, {"table": name.as_string(None)})
    partitions = [sql.Identifier(*row) for row in found]
    rows = sql.SQL("INSERT OR UPDATE OR DELETE ON {} FOR EACH ROW")
    truncate = sql.SQL("TRUNCATE ON {} FOR EACH STATEMENT")
    statements = _trigger(_ROWS, rows, name, function)
    for one in (name, *partitions):
        statements += _trigger(_TRUNCATE, truncate, one, function)
    return statements


def _trigger(
    trigger: str, event: sql.SQL, name: sql.Identifier, function: sql.Identifier
) -> list[sql.Composable]:
    named = sql.Identifier(trigger)
    return [
        sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(named, name),
        sql.SQL("CREATE TRIGGER {} AFTER {} EXECUTE FUNCTION {}()").format(
            named, event.format(name), function
        ),
        sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(name, named),
    ]


def _function(source: str, table: SourceTable) -> sql.Composable:
    """Return the function of a table's triggers.

    While it waits for a lock, a row on the way may be given to another organization: it looks
    again when it has the lock, until that is the one of the organization.
    """
    where = sql.Literal(source), sql.Literal(table.name)
    if table.route.column is None:
        body: sql.Composable = sql.SQL("PERFORM orgtenancy.refuse_shared({}, {});").format(*where)
    else:
        body = sql.SQL("""
            IF TG_OP = 'TRUNCATE' THEN
                PERFORM orgtenancy.refuse_shared({0}, {1});
                RETURN NULL;
            END IF;
            LOOP
                before := {2};
                after := {3};
                is_move := TG_OP = 'UPDATE' AND before IS DISTINCT FROM after;
                IF is_move THEN
                    PERFORM orgtenancy.adoption_lock({0}, before, true);
                END IF;
                IF TG_OP <> 'INSERT' THEN
                    PERFORM orgtenancy.refuse_adopted({0}, {1}, before);
                END IF;
                IF TG_OP <> 'DELETE' THEN
                    PERFORM orgtenancy.refuse_adopted({0}, {1}, after);
                END IF;
                EXIT WHEN before IS NOT DISTINCT FROM {2} AND after IS NOT DISTINCT FROM {3};
            END LOOP;
            IF is_move THEN
                PERFORM orgtenancy.tell_move({0});
            END IF;
        """).format(
            *where,
            sql.SQL("CASE WHEN TG_OP <> 'INSERT' THEN {} END").format(
                _organization_of("old", table)
            ),
            sql.SQL("CASE WHEN TG_OP <> 'DELETE' THEN {} END").format(
                _organization_of("new", table)
            ),
        )
    whole = (
        sql.SQL("DECLARE before text; after text; is_move boolean; BEGIN {} RETURN NULL; END")
        .format(body)
        .as_string(None)
    )
    return sql.SQL(
        "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
        "SET search_path = pg_catalog, pg_temp SET row_security = off AS {}"
    ).format(_function_name(source, table), sql.Literal(whole))


def _organization_of(row: str, table: SourceTable) -> sql.Composable:
    """Return the expression of the organization of a trigger's row, as text."""
    hops, column = table.route.hops, sql.Identifier(str(table.route.column))
    if not hops:
        return sql.SQL("{}.{}::text").format(sql.Identifier(row), column)
    aliases = [sql.Identifier(row), *(sql.Identifier(f"p{n}") for n in range(len(hops)))]
    conditions = [
        sql.SQL("{}.{} = {}.{}").format(
            aliases[n + 1], sql.Identifier(theirs), aliases[n], sql.Identifier(mine)
        )
        for n, hop in enumerate(hops)
        for mine, theirs in zip(hop.columns, hop.references, strict=True)
    ]
    from_ = [
        sql.SQL("{} AS {}").format(parent.table.rows, alias)
        for parent, alias in zip(table.parents, aliases[1:], strict=True)
    ]
    return sql.SQL("(SELECT {}.{}::text FROM {} WHERE {})").format(
        aliases[-1], column, sql.SQL(", ").join(from_), sql.SQL(" AND ").join(conditions)
    )


def _function_name(source: str, table: SourceTable) -> sql.Identifier:
    # A name has 63 bytes, and so may each of these.
    digest = hashlib.blake2b(f"{source}\0{table.name}".encode(), digest_size=10).hexdigest()
    return sql.Identifier(REGISTRY_SCHEMA, f"adoption_{digest}")


def _insist(database: Database, table: str, statements: Sequence[sql.Composable]) -> None:
    """Change a table that others write to, again and again as long as they hold it."""
    for _ in range(_ATTEMPTS):
        try:
            with database.admin_engine.begin() as connection:
                limit_lock_wait(connection, _LOCK_TIMEOUT)
                grants.execute(connection, statements)
            return
        except OperationalError as error:
            if not is_held(error):
                raise
        time.sleep(random.uniform(0.5, 1.5) * _PAUSE)  # noqa: S311 - jitter, no secret
    raise AdoptionRefused(f"others hold the table {table} of the source: try it later")
