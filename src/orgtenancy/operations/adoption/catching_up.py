"""What changed in the source since an organization was copied is brought along.

Rows that changed are deleted here and written anew. Foreign keys are away meanwhile: nothing
cascades, and no order of rows is wrong. Then both sides are compared as after a copy, so that
a time of change that nobody kept, or that was kept late, is no more than a detour.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from psycopg import sql
from sqlalchemy import Connection

from orgtenancy.operations.adoption.filling import (
    by_index,
    check_same,
    complete,
    different_tables,
    insert,
    source_digests,
    target_digests,
)
from orgtenancy.operations.adoption.journal import Moment
from orgtenancy.operations.adoption.mapping import XMIN
from orgtenancy.operations.adoption.tables import ROW, AdoptedTable
from orgtenancy.operations.data.digests import Digests, row_hash
from orgtenancy.operations.data.filling import filling

# A transaction writes the time at which it began, and commits later.
_OVERLAP = timedelta(minutes=5)

_HASH = sql.Identifier("$hash")


def catch_up(
    connection: Connection,
    tables: Sequence[AdoptedTable],
    key: str,
    schema: str,
    since: Moment,
) -> tuple[Digests, int]:
    """Bring the changes of an organization along, and return the digests of both sides.

    Args:
        connection: A connection of the owner, in a transaction that has entered the schema.
        tables: The tables, in the schema.
        key: How the source knows the organization.
        schema: The schema.
        since: When both sides were last the same.

    Returns:
        The digests, by tables here, and how many rows were written or deleted.

    Raises:
        AdoptionMismatch: If the sides differ all the same.
        sqlalchemy.exc.IntegrityError: If the rows do not fit together, or break a rule.
    """
    noted = [table for table in tables if table.changed_by is not None]
    there: Digests | None = None
    if not noted:
        there = source_digests(connection, tables, key)
        if not different_tables(there, target_digests(connection, tables)):
            return there, 0
    # One block for all tables: only together do they fit together.
    with filling(connection, schema, []):
        written = sum(_bring_noted(connection, table, key, since) for table in noted)
        there = there or source_digests(connection, tables, key)
        different = different_tables(there, target_digests(connection, tables))
        for table in tables:
            if table.into.name in different:
                written += _bring_compared(connection, table, key)
    complete(connection, tables, schema)
    check_same(there, target_digests(connection, tables), key, schema)
    return there, written


def _bring_noted(connection: Connection, table: AdoptedTable, key: str, since: Moment) -> int:
    """Bring along what is new, what is gone, and what is noted to have changed."""
    changed = table.changed_rows_of(key, _is_changed(table, since))
    gone = sql.SQL("DELETE FROM {} AS h WHERE NOT EXISTS (SELECT FROM ({}) AS r WHERE {})").format(
        table.into.rows, table.rows_of(key), _same_key(table)
    )
    stale = sql.SQL("DELETE FROM {} AS h USING ({}) AS r WHERE {}").format(
        table.into.rows, changed, _same_key(table)
    )
    return _run(connection, table, [gone, stale, _missing(table, key)])


def _bring_compared(connection: Connection, table: AdoptedTable, key: str) -> int:
    """Bring along what is new, what is gone, and what differs."""
    theirs = sql.SQL("SELECT r.*, {} AS {} FROM ({}) AS r").format(
        row_hash(table.into, "r"), _HASH, table.rows_of(key)
    )
    stale = sql.SQL(
        "DELETE FROM {} AS h WHERE NOT EXISTS (SELECT FROM ({}) AS r WHERE {} AND r.{} = {})"
    ).format(table.into.rows, theirs, _same_key(table), _HASH, row_hash(table.into, "h"))
    return _run(connection, table, [stale, _missing(table, key)])


def _missing(table: AdoptedTable, key: str) -> sql.Composable:
    rows = sql.SQL("SELECT r.* FROM ({}) AS r WHERE NOT EXISTS (SELECT FROM {} AS h WHERE {})")
    return insert(table, rows.format(table.rows_of(key), table.into.rows, _same_key(table)))


def _same_key(table: AdoptedTable) -> sql.Composable:
    return sql.SQL(" AND ").join(
        sql.SQL("r.{0} = h.{0}").format(sql.Identifier(name)) for name in table.target.table.key
    )


def _is_changed(table: AdoptedTable, since: Moment) -> sql.Composable:
    if table.changed_by == XMIN:
        # Numbers of transactions go round: later ones are those less than half a round ahead.
        return sql.SQL(
            "({}.xmin::text::bigint - {} + 8589934592) % 4294967296 < 2147483648"
        ).format(sql.Identifier(ROW), sql.Literal(since.horizon % 2**32))
    column = str(table.changed_by)
    at: sql.Composable = sql.Literal(since.seen_at - _OVERLAP)
    if table.source.columns[column].base == "timestamp without time zone":
        at = sql.SQL("{}::timestamptz AT TIME ZONE 'UTC'").format(at)
    return sql.SQL("{} >= {}").format(sql.Identifier(ROW, column), at)


def _run(connection: Connection, table: AdoptedTable, statements: Sequence[sql.Composable]) -> int:
    options = {"no_parameters": True}
    rows = 0
    with by_index(connection, table):
        for statement in statements:
            text = statement.as_string(None)
            rows += connection.exec_driver_sql(text, execution_options=options).rowcount
    return rows
