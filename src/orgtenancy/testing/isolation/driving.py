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


def copy_out(session: Session, query: str, *names: sql.Composable) -> bytes:
    """Return what COPY sends."""
    composed = sql.SQL(query).format(*names)
    driver = driver_of(session)
    if isinstance(driver, psycopg.AsyncConnection):
        return await_only(_copy_out_async(driver, composed))
    with driver.cursor().copy(composed) as copy:
        return b"".join(copy)


async def _copy_out_async(driver: psycopg.AsyncConnection[Any], query: sql.Composed) -> bytes:
    async with driver.cursor().copy(query) as copy:
        return b"".join([bytes(piece) async for piece in copy])


def break_off_copy(session: Session, query: str, *names: sql.Composable) -> None:
    """Leave a COPY by an error, when its first piece has come."""
    composed = sql.SQL(query).format(*names)
    driver = driver_of(session)
    if isinstance(driver, psycopg.AsyncConnection):
        await_only(_break_off_copy_async(driver, composed))
        return
    with driver.cursor().copy(composed) as copy:
        copy.read()
        raise RuntimeError("broken off")


async def _break_off_copy_async(driver: psycopg.AsyncConnection[Any], query: sql.Composed) -> None:
    async with driver.cursor().copy(query) as copy:
        await copy.read()
        raise RuntimeError("broken off")


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
