"""What changed in the source since an organization was copied is brought along.

Rows that changed are deleted here and written anew. Foreign keys are away meanwhile: nothing
cascades, and no order of rows is wrong. Then both sides are compared as after a copy, so that
a time of change that nobody kept, or that was kept late, is no more than a detour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from orgtenancy.operations.adoption.filling import (
    by_index,
    check_same,
    complete,
    different_tables,
    insert,
    mapped_digests,
    source_digests,
    target_digests,
)
from orgtenancy.operations.adoption.journal import Entry, Moment
from orgtenancy.operations.adoption.mapping import XMIN
from orgtenancy.operations.adoption.tables import HASH, ROW, AdoptedTable
from orgtenancy.operations.data.digests import Digest, Digests, row_hash
from orgtenancy.operations.data.filling import filling
from orgtenancy.operations.data.tables import fetch

# A transaction writes the time at which it began, and commits later.
_OVERLAP = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Seen:
    """What both sides add up to, by tables here.

    Attributes:
        source: The rows there, as they are there.
        digests: The rows here, which are the same.
        changed: How many rows were written or deleted for it.
    """

    source: Digests
    digests: Digests
    changed: int


def catch_up(
    connection: Connection, tables: Sequence[AdoptedTable], key: str, schema: str, entry: Entry
) -> Seen:
    """Bring the changes of an organization along, and compare both sides.

    A table that is on both sides as it was when they were the same is the same. Others are
    brought along, and their rows mapped and compared anew.

    Args:
        connection: A connection of the owner, in a transaction that has entered the schema.
        tables: The tables, in the schema.
        key: How the source knows the organization.
        schema: The schema.
        entry: What was seen when both sides were last the same.

    Raises:
        AdoptionMismatch: If the sides differ all the same.
        sqlalchemy.exc.IntegrityError: If the rows do not fit together, or break a rule.
    """
    source = source_digests(connection, tables, key)
    here = target_digests(connection, tables)
    moved = {
        *different_tables(source, entry.source_digests),
        *different_tables(here, entry.digests),
    }
    if not moved:
        return Seen(source, here, 0)
    others = [table for table in tables if table.into.name in moved]
    # One block for all tables: only together do they fit together.
    with filling(connection, schema, []):
        there, written = _bring(connection, others, key, entry.moment)
    complete(connection, tables, schema)
    check_same(there, target_digests(connection, others), key, schema)
    return Seen(source, {**here, **there}, written)


def _bring(
    connection: Connection, tables: Sequence[AdoptedTable], key: str, since: Moment
) -> tuple[Digests, int]:
    """Bring tables along, and return what the rows of the source add up to, mapped."""
    noted = [table for table in tables if table.changed_by is not None]
    written = sum(_bring_noted(connection, table, key, since) for table in noted)
    there = mapped_digests(connection, noted, key)
    missed = different_tables(there, target_digests(connection, noted))
    for table in tables:
        if table not in noted or table.into.name in missed:
            there[table.into.name], number = _bring_compared(connection, table, key)
            written += number
    return there, written


def _bring_noted(connection: Connection, table: AdoptedTable, key: str, since: Moment) -> int:
    """Bring along what is noted to be new, or to have changed.

    Nothing, where that breaks a rule: a new row may have what a row had here that is gone there.
    """
    changed = table.changed_rows_of(key, _is_changed(table, since))
    stale = sql.SQL("DELETE FROM {} AS h USING ({}) AS r WHERE {}").format(
        table.into.rows, changed, _same_key(table)
    )
    try:
        with connection.begin_nested(), by_index(connection, table):
            return _run(connection, stale) + _run(connection, insert(table, changed))
    except IntegrityError:
        return 0


def _bring_compared(connection: Connection, table: AdoptedTable, key: str) -> tuple[Digest, int]:
    """Bring along what is new, what is gone, and what differs."""
    theirs = sql.SQL("SELECT r.*, {} AS {} FROM ({}) AS r").format(
        row_hash(table.into, "r"), HASH, table.rows_of(key)
    )
    stale = sql.SQL(
        "WITH r AS MATERIALIZED ({0}), gone AS (DELETE FROM {1} AS h WHERE NOT EXISTS "
        "(SELECT FROM r WHERE {2} AND r.{3} = {4}) RETURNING 1) "
        "SELECT count(*), coalesce(sum({3}::numeric), 0), (SELECT count(*) FROM gone) FROM r"
    ).format(theirs, table.into.rows, _same_key(table), HASH, row_hash(table.into, "h"))
    with by_index(connection, table):
        ((rows, checksum, gone),) = fetch(connection, stale)
        written = gone + _run(connection, _missing(table, key))
    return Digest(rows=rows, checksum=int(checksum)), written


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


def _run(connection: Connection, statement: sql.Composable) -> int:
    """Run a statement, and return how many rows it wrote or deleted."""
    options = {"no_parameters": True}
    return connection.exec_driver_sql(statement.as_string(None), execution_options=options).rowcount
