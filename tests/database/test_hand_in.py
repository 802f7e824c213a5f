"""What work leaves on a connection does not reach the next organization, nor lose the place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextvars import copy_context
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.rows import dict_row
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from orgtenancy import Organization, Tenancy
from orgtenancy.database.session_state import leaves_session_state
from orgtenancy.errors import (
    OrganizationContextMissing,
    OrganizationMismatch,
    OrganizationUnavailable,
)
from tests.support.notes import AsyncNoteRepository, NoteRepository

Two = tuple[Organization, Organization]


@pytest.fixture
def single(make_tenancy: Callable[..., Tenancy]) -> Tenancy:
    """A tenancy with one connection, so that a lost place is a time-out."""
    return make_tenancy(pool_size=1, max_overflow=0, pool_timeout=2, listen=False)


def driver_of(session: Any) -> Any:
    return session.connection().connection.driver_connection


def pipeline(driver: Any) -> None:
    driver.pgconn.enter_pipeline_mode()


def autocommit(driver: Any) -> None:
    driver.rollback()
    driver.autocommit = True


def read_only(driver: Any) -> None:
    driver.rollback()
    driver.read_only = True


def deferrable(driver: Any) -> None:
    driver.rollback()
    driver.deferrable = True


def prepared(driver: Any) -> None:
    driver.rollback()
    driver.tpc_begin("left behind")
    driver.execute("SELECT 1")
    driver.tpc_prepare()
    driver.pgconn.exec_(b"ROLLBACK PREPARED 'left behind'")  # the driver does not know


blocks: list[Any] = []


def transaction_block(driver: Any) -> None:
    blocks.append(driver.transaction())  # which is never left
    blocks[-1].__enter__()
    driver.execute("COMMIT")


def serializable(driver: Any) -> None:
    driver.rollback()
    driver.isolation_level = psycopg.IsolationLevel.SERIALIZABLE


def rows_as_dicts(driver: Any) -> None:
    driver.row_factory = dict_row


def notice_handler(driver: Any) -> None:
    driver.add_notice_handler(print)


def another_cursor_class(driver: Any) -> None:
    driver.cursor_factory = psycopg.ClientCursor


def setting_by_another_cursor(driver: Any) -> None:
    psycopg.ClientCursor(driver).execute("SET app.person = 'left behind'")
    driver.commit()


def lock_by_another_cursor(driver: Any) -> None:
    psycopg.RawCursor(driver).execute("SELECT pg_advisory_lock($1)", (4712,))
    driver.commit()


@pytest.mark.parametrize(
    "leave",
    [
        pipeline,
        autocommit,
        read_only,
        deferrable,
        serializable,
        prepared,
        transaction_block,
        rows_as_dicts,
        notice_handler,
        another_cursor_class,
        setting_by_another_cursor,
        lock_by_another_cursor,
    ],
)
def test_a_changed_connection_is_not_reused(
    single: Tenancy, two_organizations: Two, leave: Callable[[Any], None]
) -> None:
    first, second = two_organizations
    pid = text("SELECT pg_backend_pid()")
    with single.organization(first), single.engine.connect() as connection:
        before = connection.scalar(pid)
        connection.commit()
        leave(connection.connection.driver_connection)
    for _ in range(2):
        with single.session(second) as session:
            assert session.scalar(pid) != before
            NoteRepository(session).count()
            assert session.execute(text("SELECT 1 AS one")).all() == [(1,)]


def test_an_isolation_level_costs_no_reconnect(single: Tenancy, organization: Organization) -> None:
    pids = set()
    for _ in range(3):
        with single.session(organization) as session:
            options = {"isolation_level": "SERIALIZABLE", "postgresql_readonly": True}
            session.connection(execution_options=options)
            pids.add(session.scalar(text("SELECT pg_backend_pid()")))
    assert len(pids) == 1


def test_an_open_transaction_with_an_isolation_level_does_not_lose_the_place(
    single: Tenancy, organization: Organization
) -> None:
    for _ in range(3):
        with single.organization(organization):
            connection = single.engine.connect()
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
            driver: Any = connection.connection.driver_connection
            with driver.cursor().copy("COPY notes TO STDOUT") as copy:
                list(copy)
            connection.close()
    with single.session(organization) as session:
        assert NoteRepository(session).count() == 0


def test_a_handle_that_was_kept_is_refused(single: Tenancy, two_organizations: Two) -> None:
    first, second = two_organizations
    with single.session(first) as session:
        kept = driver_of(session)
    with pytest.raises(OrganizationContextMissing):
        kept.execute("SELECT 1")
    with single.organization(first):
        outside = copy_context()
    with single.session(second) as session:
        session.execute(text("SELECT 1"))
        with pytest.raises(OrganizationMismatch):
            outside.run(kept.execute, "INSERT INTO notes VALUES (66, 'from the first')")


def test_a_core_connection_in_a_transaction_is_refused_in_another_context(
    single: Tenancy, two_organizations: Two
) -> None:
    first, second = two_organizations
    with single.session(first) as session:
        connection = session.connection()
        rows = connection.execute(
            text("SELECT generate_series(1, 9)"), execution_options={"yield_per": 2}
        )
        rows.fetchone()
        with single.organization(second):
            with pytest.raises(OrganizationMismatch):
                connection.execute(text("SELECT 1"))
            with pytest.raises(OrganizationMismatch):
                rows.fetchall()
        session.rollback()


def test_a_session_stays_closed(single: Tenancy, organization: Organization) -> None:
    with single.session(organization) as session:
        NoteRepository(session).write(1, "kept")
    with pytest.raises(InvalidRequestError), single.organization(organization):
        NoteRepository(session).write(2, "would be lost")
    with single.session(organization) as session:
        assert NoteRepository(session).count() == 1


def test_a_task_that_outlives_its_block_is_refused(
    make_tenancy: Callable[..., Tenancy], organization: Organization
) -> None:
    async def body() -> None:
        tenancy = make_tenancy(pool_size=1, max_overflow=0, listen=False)
        release = asyncio.Event()

        async def late() -> None:
            await release.wait()
            await AsyncNoteRepository().write(1, "would be lost")

        async with tenancy.session(organization):
            task = asyncio.create_task(late())
        release.set()
        with pytest.raises(InvalidRequestError):
            await task
        assert tenancy.async_engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        await tenancy.aclose()

    asyncio.run(body())


def test_a_generator_that_ends_in_another_context_gives_its_connection_back(
    single: Tenancy, organization: Organization
) -> None:
    def rows() -> Generator[int, None, None]:
        with single.session(organization) as session:
            yield NoteRepository(session).count()
            yield NoteRepository(session).count()

    for _ in range(3):
        stream = rows()
        contexts = [copy_context() for _ in range(3)]
        assert [context.run(next, stream, -1) for context in contexts] == [0, 0, -1]
        stream = rows()
        copy_context().run(next, stream)
        stream.close()
    assert single.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_an_abandoned_async_generator_gives_its_connection_back(
    make_tenancy: Callable[..., Tenancy], organization: Organization
) -> None:
    async def body() -> None:
        tenancy = make_tenancy(pool_size=1, max_overflow=0, pool_timeout=5, listen=False)

        async def rows() -> AsyncIterator[int]:
            async with tenancy.session(organization):
                yield await AsyncNoteRepository().count()
                yield await AsyncNoteRepository().count()

        async def abandon() -> None:
            async for _ in rows():
                break

        for _ in range(3):
            await asyncio.create_task(abandon())
            await asyncio.sleep(0.05)
        async with tenancy.session(organization):
            assert await AsyncNoteRepository().count() == 0
        await tenancy.aclose()

    asyncio.run(body())


def test_a_first_statement_that_cannot_be_sent_costs_no_connection(
    single: Tenancy, organization: Organization
) -> None:
    pid = text("SELECT pg_backend_pid()")
    too_many = "SELECT " + ", ".join(["%s::int"] * 70_000)
    with single.session(organization) as session:
        before = session.scalar(pid)
    with single.session(organization) as session:
        with pytest.raises(psycopg.OperationalError, match="number of parameters"):
            driver_of(session).execute(too_many, [1] * 70_000)
        session.rollback()
    with single.session(organization) as session:
        assert session.scalar(pid) == before


def test_a_connection_whose_answers_were_not_awaited_is_closed(
    make_tenancy: Callable[..., Tenancy], organization: Organization
) -> None:
    single = make_tenancy(pool_size=1, max_overflow=0, pool_timeout=2, listen=False, one_flush=True)
    with single.organization(organization):
        with single.engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            steps = driver.cursor()._execute_gen("SELECT pg_sleep(60)")
            next(steps)
            steps.close()  # as when a task is cancelled, and cancelled again
            assert driver.closed
        with single.engine.connect() as connection:
            assert connection.scalar(text("SELECT 1")) == 1


def test_an_organization_refused_in_a_pipeline_is_looked_up_again(
    tenancy: Tenancy, single: Tenancy, organization: Organization
) -> None:
    with single.session(organization.id) as session:
        NoteRepository(session).count()
    tenancy.schemas.drop(organization.id, confirm=organization.id, force=True)
    with (
        pytest.raises(Exception, match="no organization") as caught,
        single.session(organization.id) as session,
    ):
        session.connection().exec_driver_sql(
            "INSERT INTO notes VALUES (%s, %s)", [(1, "a"), (2, "b")]
        )
    assert not isinstance(caught.value, DBAPIError | OrganizationUnavailable)
    assert isinstance(caught.value.__context__, DBAPIError | errors.Error)


@pytest.mark.parametrize(
    "text", ["'declare " * 20_000, "/* " * 40_000, "set_config(" * 20_000, "' " * 50_000]
)
def test_a_long_text_is_read_in_linear_time(text: str) -> None:
    import time

    started = time.process_time()
    leaves_session_state(text)
    assert time.process_time() - started < 2
