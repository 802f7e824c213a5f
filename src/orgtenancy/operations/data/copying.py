"""Rows on their way: COPY out of one table and into another."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Any

import psycopg
from psycopg import sql
from psycopg.abc import PQGen
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn
from psycopg.waiting import Wait
from sqlalchemy import Connection

from orgtenancy.operations.data.tables import Table

#: Bytes of a block of rows, about.
BLOCK_SIZE = 256 * 1024


def copy_out(
    connection: Connection, table: Table, *, binary: bool, where: sql.Composable | None = None
) -> Iterator[bytes]:
    """Return the rows of a table as PostgreSQL writes them, block by block.

    The iterator is to be consumed, or closed, before the connection does anything else.

    Args:
        connection: A connection of the owner, in a transaction.
        table: Which table.
        binary: Whether in the binary form, which is for tables that are `is_portable`.
        where: Which rows; all if not given.
    """
    # Without a query it is faster, and reads no partition.
    if where is None and not table.is_partitioned:
        rows = sql.SQL("{} ({})").format(table.identifier, columns_of(table))
    else:
        condition = sql.SQL("") if where is None else sql.SQL(" WHERE ") + where
        rows = sql.SQL("(SELECT {} FROM {}{})").format(columns_of(table), table.rows, condition)
    statement = sql.SQL("COPY {} TO STDOUT (FORMAT {}, ENCODING 'UTF8')").format(
        rows, _format(binary)
    )
    return copy_blocks(connection, statement)


def copy_blocks(connection: Connection, statement: sql.Composed) -> Generator[bytes, None, int]:
    """Yield what a `COPY … TO STDOUT` gives, in blocks that end with a row.

    The generator is to be consumed, or closed, before the connection does anything else.

    Returns:
        How many rows there were.
    """
    driver = _driver(connection)
    with driver.cursor() as cursor, cursor.copy(statement):
        is_done = False
        while not is_done:
            block, is_done = driver.wait(_read_block(driver.pgconn))
            if block:
                yield block
        # As psycopg does at the end of its own loop, which waits for each row by itself and
        # takes half as long again.
        (result,) = list(iter(driver.pgconn.get_result, None))
        if result.status != ExecStatus.COMMAND_OK:
            raise error_from_result(result, driver.info.encoding)
        return result.command_tuples or 0


def _read_block(pgconn: PGconn) -> PQGen[tuple[bytes, bool]]:
    """Read rows until there are enough of them, and say whether these were the last."""
    block = bytearray()
    while len(block) < BLOCK_SIZE:
        length, row = pgconn.get_copy_data(1)
        if length > 0:
            block += row
        elif length < 0:
            return bytes(block), True
        else:
            while not (yield Wait.R):
                pass
            pgconn.consume_input()
    return bytes(block), False


def copy_in(connection: Connection, table: Table, pieces: Iterable[bytes], *, binary: bool) -> int:
    """Write rows into a table, and return how many they were.

    Args:
        connection: A connection of the owner, in a transaction.
        table: Which table.
        pieces: What `copy_out` gave for a table with the same columns.
        binary: In which form they are.
    """
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {}, ENCODING 'UTF8')").format(
        table.identifier, columns_of(table), _format(binary)
    )
    with _driver(connection).cursor() as cursor:
        with cursor.copy(statement) as copy:
            for piece in pieces:
                copy.write(piece)
        return cursor.rowcount


def copy_over(
    source: Connection,
    target: Connection,
    table: Table,
    into: Table,
    *,
    where: sql.Composable | None = None,
) -> int:
    """Copy the rows of a table into one of another database, and return how many they were.

    Args:
        source: A connection of the owner there, in a transaction.
        target: A connection of the owner here, in a transaction.
        table: The table there.
        into: The table here, with the same columns.
        where: Which rows; all if not given.
    """
    binary = table.is_portable and into.is_portable
    pieces = copy_out(source, table, binary=binary, where=where)
    return copy_in(target, into, pieces, binary=binary)


def columns_of(table: Table) -> sql.Composable:
    """Return the names of the columns that are copied."""
    return sql.SQL(", ").join(sql.Identifier(column.name) for column in table.copied)


def _format(binary: bool) -> sql.SQL:
    return sql.SQL("binary") if binary else sql.SQL("text")


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    driver: Any = connection.connection.driver_connection
    checked: psycopg.Connection[Any] = driver
    return checked
