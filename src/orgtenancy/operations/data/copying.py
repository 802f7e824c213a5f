"""Rows on their way: COPY out of one table and into another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection

from orgtenancy.operations.data.tables import Table


def copy_out(
    connection: Connection, table: Table, *, binary: bool, where: sql.Composable | None = None
) -> Iterator[bytes]:
    """Return the rows of a table as PostgreSQL writes them, piece by piece.

    The iterator is to be consumed, or closed, before the connection does anything else.

    Args:
        connection: A connection of the owner, in a transaction.
        table: Which table.
        binary: Whether in the binary form, which is for tables that are `is_portable`.
        where: Which rows; all if not given.
    """
    statement = sql.SQL("COPY (SELECT {} FROM {}{}) TO STDOUT (FORMAT {})").format(
        _columns(table),
        table.rows,
        sql.SQL("") if where is None else sql.SQL(" WHERE ") + where,
        _format(binary),
    )
    with _driver(connection).cursor() as cursor, cursor.copy(statement) as copy:
        for piece in copy:
            yield bytes(piece)


def copy_in(connection: Connection, table: Table, pieces: Iterable[bytes], *, binary: bool) -> int:
    """Write rows into a table, and return how many they were.

    Args:
        connection: A connection of the owner, in a transaction.
        table: Which table.
        pieces: What `copy_out` gave for a table with the same columns.
        binary: In which form they are.
    """
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {})").format(
        table.identifier, _columns(table), _format(binary)
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


def _columns(table: Table) -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier(column.name) for column in table.copied)


def _format(binary: bool) -> sql.SQL:
    return sql.SQL("binary") if binary else sql.SQL("text")


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    driver: Any = connection.connection.driver_connection
    checked: psycopg.Connection[Any] = driver
    return checked
