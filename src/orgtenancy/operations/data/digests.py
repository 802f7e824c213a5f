"""What the rows of tables add up to: equal digests are equal rows, whatever their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from psycopg import sql
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection

from orgtenancy.operations.data.tables import Table, fetch


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

# Of the type that a hash of records has; any other gives other checksums.
_SEED = sql.SQL("0")


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

    Args:
        table: The table.
        alias: What the row is called, where there are others.
    """
    row = () if alias is None else (alias,)
    values = [
        sql.Identifier(*row, column.name) + sql.SQL("" if column.is_hashed else "::text")
        for column in table.copied
    ]
    return sql.SQL("hash_record_extended(ROW({}), {})").format(sql.SQL(", ").join(values), _SEED)


def _digest(table: Table, rows: sql.Composable) -> sql.Composable:
    return sql.SQL("SELECT {}, count(*), coalesce(sum({}), 0) FROM {}").format(
        sql.Literal(table.name), row_hash(table), rows
    )
