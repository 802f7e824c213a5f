"""A server that goes away and comes back costs an error, and never a transaction outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from orgtenancy import Organization, Tenancy
from tests.database.test_transactions import assert_inside, where


def where_and_pid(session: Session) -> tuple[tuple[Any, ...], int]:
    return where(session), session.scalars(text("SELECT pg_backend_pid()")).one()


def terminate(tenancy: Tenancy, pid: int) -> None:
    """End a backend, as a restart of the server does."""
    with tenancy._database.admin_engine.begin() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})


@pytest.fixture
def single(make_tenancy: Callable[..., Tenancy]) -> Tenancy:
    """A tenancy with one connection."""
    return make_tenancy(pool_size=1, max_overflow=0, listen=False)


def test_after_a_lost_connection(
    single: Tenancy, tenancy: Tenancy, organization: Organization
) -> None:
    with single.session(organization) as session:
        _, pid = where_and_pid(session)
    terminate(tenancy, pid)
    with pytest.raises(DBAPIError), single.session(organization) as session:
        where(session)
    for _ in range(10):
        with single.session(organization) as session:
            assert_inside(where(session), organization)


def test_after_a_lost_connection_async(
    single: Tenancy, tenancy: Tenancy, organization: Organization
) -> None:
    async def body() -> None:
        async with single.session(organization) as session:
            _, pid = await session.run_sync(where_and_pid)
        terminate(tenancy, pid)
        with pytest.raises(DBAPIError):
            async with single.session(organization) as session:
                await session.run_sync(where)
        for _ in range(10):
            async with single.session(organization) as session:
                assert_inside(await session.run_sync(where), organization)

        await single.aclose()

    asyncio.run(body())


def test_a_connection_lost_inside_a_transaction(
    single: Tenancy, tenancy: Tenancy, organization: Organization
) -> None:
    with single.session(organization) as session:
        session.execute(text("INSERT INTO notes VALUES (1, 'lost')"))
        terminate(tenancy, where_and_pid(session)[1])
        with pytest.raises(DBAPIError):
            session.execute(text("INSERT INTO notes VALUES (2, 'lost')"))
        session.rollback()
    with single.session(organization) as session:
        assert_inside(where(session), organization)
        assert session.scalar(text("SELECT count(*) FROM notes")) == 0
