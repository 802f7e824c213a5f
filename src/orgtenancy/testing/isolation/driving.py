"""What leaks do on the driver's own connection, in sync and in async sessions alike."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Connection
from sqlalchemy.orm import Session
from sqlalchemy.util import await_only

Rows = list[tuple[Any, ...]]


def driver_of(session: Session | Connection) -> Any:
    """Return the driver's connection."""
    connection = session if isinstance(session, Connection) else session.connection()
    return connection.connection.driver_connection


def ask(session: Session | Connection, query: str, *names: sql.Composable) -> Rows:
    """Send statements as they are, and return the rows of all of them.

    Args:
        session: Where.
        query: The statements, with `{}` for names and values.
        *names: What they stand for.
    """
    composed = sql.SQL(query).format(*names)
    driver = driver_of(session)
    if isinstance(driver, psycopg.AsyncConnection):
        return await_only(_ask_async(driver, composed))
    cursor = driver.execute(composed)
    rows: Rows = cursor.fetchall() if cursor.description else []
    while cursor.nextset():
        rows += cursor.fetchall() if cursor.description else []
    return rows


async def _ask_async(driver: psycopg.AsyncConnection[Any], query: sql.Composed) -> Rows:
    cursor = await driver.execute(query)
    rows: Rows = await cursor.fetchall() if cursor.description else []
    while cursor.nextset():
        rows += await cursor.fetchall() if cursor.description else []
    return rows


def copy_out(session: Session, query: str, *names: sql.Composable, limit: int = -1) -> bytes:
    """Return what COPY sends; it is left after so many pieces, if a limit is given."""
    composed = sql.SQL(query).format(*names)
    driver = driver_of(session)
    if isinstance(driver, psycopg.AsyncConnection):
        return await_only(_copy_out_async(driver, composed, limit))
    seen = b""
    with driver.cursor().copy(composed) as copy:
        while limit and (piece := copy.read()):
            seen, limit = seen + bytes(piece), limit - 1
    return seen


async def _copy_out_async(
    driver: psycopg.AsyncConnection[Any], query: sql.Composed, limit: int
) -> bytes:
    seen = b""
    async with driver.cursor().copy(query) as copy:
        while limit and (piece := await copy.read()):
            seen, limit = seen + bytes(piece), limit - 1
    return seen


def copy_in(session: Session, query: str, *names: sql.Composable, data: str) -> None:
    """Send data by COPY."""
    composed = sql.SQL(query).format(*names)
    driver = driver_of(session)
    if isinstance(driver, psycopg.AsyncConnection):
        await_only(_copy_in_async(driver, composed, data))
        return
    with driver.cursor().copy(composed) as copy:
        copy.write(data)


async def _copy_in_async(
    driver: psycopg.AsyncConnection[Any], query: sql.Composed, data: str
) -> None:
    async with driver.cursor().copy(query) as copy:
        await copy.write(data)
