"""Filling tables fast: what checks and sorts each row by itself waits until all of them are there.

Building an index, or checking a foreign key, once for all rows takes half the time of doing it
row by row. All of it is in the caller's transaction, so that nobody sees a table without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from psycopg import sql
from sqlalchemy import Connection

from orgtenancy.operations.data.tables import Table, query_relations
from orgtenancy.schemas import grants

# Of fewer bytes, an index is filled faster than it is dropped and made again.
_LARGE = 1024 * 1024

# Foreign keys go first and come back last: they rest on unique constraints of other tables.
_CONSTRAINTS = query_relations("""
    SELECT t.relname, k.conname, k.contype::text, pg_get_constraintdef(k.oid)
    FROM relations t JOIN pg_constraint k ON k.conrelid = t.oid
    WHERE k.conparentid = 0
        AND (k.contype = 'f' OR k.contype IN ('u', 'x') AND t.relname = ANY(:large))
    ORDER BY k.contype <> 'f', k.oid
""")

_INDEXES = query_relations("""
    SELECT c.relname, pg_get_indexdef(i.indexrelid)
    FROM relations t JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class c ON c.oid = i.indexrelid
    WHERE t.relname = ANY(:large)
        AND NOT i.indisprimary
        AND NOT EXISTS (
            SELECT FROM pg_constraint k
            WHERE k.conrelid = i.indrelid AND k.conindid = i.indexrelid
        )
    ORDER BY i.indexrelid
""")

_TRIGGERS = query_relations("""
    SELECT t.relname, g.tgname, g.tgenabled::text
    FROM relations t JOIN pg_trigger g ON g.tgrelid = t.oid
    WHERE NOT g.tgisinternal
        AND g.tgenabled <> 'D' AND g.tgparentid = 0
""")
_ENABLE = {"O": sql.SQL("ENABLE"), "R": sql.SQL("ENABLE REPLICA"), "A": sql.SQL("ENABLE ALWAYS")}


@contextmanager
def filling(
    connection: Connection,
    schema: str,
    sizes: Sequence[tuple[Table, int]],
    *,
    one_by_one: bool = False,
) -> Iterator[None]:
    """Return a block in which tables of a schema are filled, with rows that fit together.

    Foreign keys and the host's own triggers are away in it, and so are the secondary indexes of
    tables that get many rows. Behind it they are there again, and foreign keys are checked.

    Args:
        connection: A connection of the owner, in a transaction that has entered the schema.
        schema: Its name.
        sizes: The tables, and about how many bytes each of them gets.
        one_by_one: Whether the server takes one statement per message, as Citus does.

    Raises:
        sqlalchemy.exc.IntegrityError: If rows do not fit together, at the end of the block.
    """
    # Indexes of partitioned tables belong to their partitions, and stay.
    large = [t.name for t, size in sizes if size >= _LARGE and not t.is_partitioned]
    given = {"schema": sql.Identifier(schema).as_string(None), "large": large}
    away, back = _triggers(connection, schema)
    last: list[sql.Composable] = []
    for table, name, kind, definition in connection.execute(_CONSTRAINTS, given):
        constraint = _alter(schema, table), sql.Identifier(name)
        away.append(sql.SQL("{} DROP CONSTRAINT {}").format(*constraint))
        # The server wrote and quoted this definition.
        add = sql.SQL("{} ADD CONSTRAINT {} {}").format(*constraint, sql.SQL(definition))
        (last if kind == "f" else back).append(add)
    for name, definition in connection.execute(_INDEXES, given):
        away.append(sql.SQL("DROP INDEX {}").format(sql.Identifier(schema, name)))
        back.append(sql.SQL(definition))
    grants.execute(connection, away, one_by_one=one_by_one)
    yield
    # What is deferred is checked now: PostgreSQL alters no table that waits for such a check.
    checks = sql.SQL("SET CONSTRAINTS ALL IMMEDIATE")
    grants.execute(connection, [checks, *back, *last], one_by_one=one_by_one)


@contextmanager
def without_triggers(connection: Connection, schema: str) -> Iterator[None]:
    """Return a block in which the host's own triggers of a schema are away.

    Args:
        connection: A connection of the owner, in a transaction.
        schema: The schema.
    """
    away, back = _triggers(connection, schema)
    grants.execute(connection, away)
    yield
    # As in `filling`.
    grants.execute(connection, [sql.SQL("SET CONSTRAINTS ALL IMMEDIATE"), *back])


def _triggers(
    connection: Connection, schema: str
) -> tuple[list[sql.Composable], list[sql.Composable]]:
    """Return the statements that put the host's own triggers away, and back."""
    away: list[sql.Composable] = []
    back: list[sql.Composable] = []
    given = {"schema": sql.Identifier(schema).as_string(None)}
    for table, name, enabled in connection.execute(_TRIGGERS, given):
        trigger = _alter(schema, table), sql.Identifier(name)
        away.append(sql.SQL("{} DISABLE TRIGGER {}").format(*trigger))
        back.append(sql.SQL("{} {} TRIGGER {}").format(trigger[0], _ENABLE[enabled], trigger[1]))
    return away, back


def _alter(schema: str, table: str) -> sql.Composable:
    return sql.SQL("ALTER TABLE {}").format(sql.Identifier(schema, table))
