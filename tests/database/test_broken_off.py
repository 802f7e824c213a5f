"""What was broken off in the middle costs its connection, and never its place in the pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import text

from orgtenancy import Organization, Tenancy
from orgtenancy.database.driver import AsyncOrganizationConnection
from tests.support.notes import NoteRepository

COPY = "COPY notes (id, body) FROM STDIN"
COUNT = text("SELECT count(*) FROM notes")


class BrokenOff(Exception):
    """What ended the work."""


@pytest.fixture
def single(make_tenancy: Callable[..., Tenancy]) -> Tenancy:
    """A tenancy with one connection, so that a lost place is a time-out."""
    return make_tenancy(pool_size=1, max_overflow=0, pool_timeout=2, listen=False)


def assert_broken_off(driver: Any) -> None:
    assert driver.pgconn.transaction_status == TransactionStatus.ACTIVE
    raise BrokenOff


def test_a_copy_gives_its_connection_back(single: Tenancy, organization: Organization) -> None:
    def break_off() -> None:
        with single.session(organization) as session:
            NoteRepository(session).write(1, "lost")
            session.flush()
            driver: Any = session.connection().connection.driver_connection
            with driver.cursor() as cursor:
                # What a client that is cancelled at this moment leaves behind.
                driver.wait(cursor._start_copy_gen(COPY))
                assert_broken_off(driver)

    for _ in range(2):
        with pytest.raises(BrokenOff):
            break_off()
        assert single.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    with single.session(organization) as session:
        assert session.scalar(COUNT) == 0


def test_a_copy_gives_its_connection_back_async(
    single: Tenancy, organization: Organization
) -> None:
    async def break_off() -> None:
        async with single.session(organization) as session:
            await session.execute(text("INSERT INTO notes VALUES (1, 'lost')"))
            connection = await session.connection()
            raw: Any = await connection.get_raw_connection()
            driver: AsyncOrganizationConnection = raw.driver_connection
            async with driver.cursor() as cursor:
                await driver.wait(cursor._start_copy_gen(COPY))
                assert_broken_off(driver)

    async def body() -> None:
        for _ in range(2):
            with pytest.raises(BrokenOff):
                await break_off()
            assert single.async_engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        async with single.session(organization) as session:
            assert await session.scalar(COUNT) == 0
        await single.aclose()

    asyncio.run(body())


def test_a_task_cancelled_as_its_executemany_begins_is_told_so(
    single: Tenancy, organization: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"id": 1}, {"id": 2}]

    async def break_off() -> None:
        async with single.session(organization) as session:
            connection = await session.connection()
            await connection.execute(COUNT)
            # psycopg gives others a turn there if it has not for a while: a cancellation comes.
            monkeypatch.setattr(psycopg.waiting, "_last_yield", 0.0)
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await connection.execute(text("INSERT INTO notes VALUES (:id, 'lost')"), rows)

    async def body() -> None:
        for _ in range(2):
            task = asyncio.create_task(break_off())
            await asyncio.wait([task])
            assert task.cancelled()
            assert single.async_engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        async with single.session(organization) as session:
            assert await session.scalar(COUNT) == 0
        await single.aclose()

    asyncio.run(body())
