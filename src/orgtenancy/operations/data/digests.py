"""What the rows of tables add up to: equal digests are equal rows, whatever their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from psycopg import sql
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection

from orgtenancy.operations.data.tables import Column, Table, fetch


class Digest(BaseModel):
    """What the rows of a table add up to.

    Attributes:
        rows: How many there are.
        checksum: The sum of a 64-bit hash of each row, all copied columns included. It does not
            depend on the order of the rows, on the schema, or on the server's version.
    """

    model_config = ConfigDict(frozen=True)

    rows: int
    checksum: int


#: The digest of each table, by its name.
Digests: TypeAlias = Mapping[str, Digest]


def digests(connection: Connection, tables: Sequence[Table]) -> dict[str, Digest]:
    """Return the digest of each table, in one statement and so in one snapshot.

    Args:
        connection: A connection of the owner, in a transaction.
        tables: Which tables.
    """
    if not tables:
        return {}
    statement = sql.SQL(" UNION ALL ").join(_digest(table, table.rows) for table in tables)
    found = fetch(connection, statement)
    return {name: Digest(rows=rows, checksum=int(checksum)) for name, rows, checksum in found}


def digest_of(connection: Connection, table: Table, rows: sql.Composable) -> Digest:
    """Return the digest of rows that would be those of a table.

    Args:
        connection: A connection of the owner, in a transaction.
        table: Which table.
        rows: The statement of the rows, with the columns of the table.
    """
    from_rows = sql.SQL("({}) AS {}").format(rows, sql.Identifier(table.name))
    ((_, number, checksum),) = fetch(connection, _digest(table, from_rows))
    return Digest(rows=number, checksum=int(checksum))


def row_hash(table: Table, alias: str | None = None) -> sql.Composable:
    """Return the expression of one row's hash.

    The hash of a record is a weighted sum of those of its values: added up over rows as it is, it
    would not tell in which of them a value is. So it is hashed once more, as a text: PostgreSQL
    hashes a number of 64 bits as one of 32.

    Args:
        table: The table.
        alias: What the row is called, where there are others.
    """
    row = () if alias is None else (alias,)
    values = [sql.Identifier(*row, column.name) + _as_hashed(column) for column in table.copied]
    return sql.SQL(
        'hashtextextended(hash_record_extended(ROW({}), 0)::text COLLATE "C", 0)'
    ).format(sql.SQL(", ").join(values))


def _as_hashed(column: Column) -> sql.SQL:
    """Return what makes equal values of a column those that are the same to the last bit."""
    if not column.is_hashed:
        return sql.SQL('::text COLLATE "C"')
    return sql.SQL(' COLLATE "C"' if column.is_collated else "")


def _digest(table: Table, rows: sql.Composable) -> sql.Composable:
    return sql.SQL("SELECT {}, count(*), coalesce(sum({}), 0) FROM {}").format(
        sql.Literal(table.name), row_hash(table), rows
    )
