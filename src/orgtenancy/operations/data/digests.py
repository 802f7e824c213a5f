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

_AS_IT_IS = sql.SQL("{}")
# Whatever a collation says is equal. It is what any other type is hashed as: 1.0 and 1.00 are
# equal numbers, and the hash of an enum's value is a number that its database gave it.
_AS_TEXT = sql.SQL('{}::text COLLATE "C"')

_FORMS: Mapping[str, sql.SQL] = {
    **dict.fromkeys(("bool", "bytea", "date", "inet", "int2", "int4", "oid", "uuid"), _AS_IT_IS),
    **dict.fromkeys(("text", "varchar"), sql.SQL('{} COLLATE "C"')),
    # The hash of these is that of both halves mixed into 32 bits.
    "int8": sql.SQL("int8send({})"),
    "time": sql.SQL("time_send({})"),
    "timestamp": sql.SQL("timestamp_send({})"),
    "timestamptz": sql.SQL("timestamptz_send({})"),
    # As COPY writes it: a cast leaves what it says of its encoding.
    "xml": sql.SQL("CASE WHEN {0} IS NOT NULL THEN format('%s', {0}) END"),
}


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
    values = [_as_hashed(sql.Identifier(*row, column.name), column) for column in table.copied]
    return sql.SQL(
        'hashtextextended(hash_record_extended(ROW({}), 0)::text COLLATE "C", 0)'
    ).format(sql.SQL(", ").join(values))


def _as_hashed(name: sql.Identifier, column: Column) -> sql.Composable:
    """Return a column's values so that those with equal hashes are the same to the last bit."""
    form = _FORMS.get(column.base or "", _AS_TEXT)
    return form.format(name)


def _digest(table: Table, rows: sql.Composable) -> sql.Composable:
    return sql.SQL("SELECT {}, count(*), coalesce(sum({}), 0) FROM {}").format(
        sql.Literal(table.name), row_hash(table), rows
    )
