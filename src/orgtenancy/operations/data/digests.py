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
    statement = sql.SQL(" UNION ALL ").join(map(_digest, tables))
    found = fetch(connection, statement)
    return {name: Digest(rows=rows, checksum=int(checksum)) for name, rows, checksum in found}


def row_hash(table: Table) -> sql.Composable:
    """Return the expression of one row's hash."""
    values = [
        sql.Identifier(column.name) + sql.SQL("" if column.is_hashed else "::text")
        for column in table.copied
    ]
    return sql.SQL("hash_record_extended(ROW({}), {})").format(sql.SQL(", ").join(values), _SEED)


def _digest(table: Table) -> sql.Composable:
    return sql.SQL("SELECT {}, count(*), coalesce(sum({}), 0) FROM {}").format(
        sql.Literal(table.name), row_hash(table), table.rows
    )
