"""Every way to work in an organization, through PgBouncer in transaction mode."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from orgtenancy import Organization, Tenancy
from orgtenancy.errors import OrganizationUnavailable
from tests.database.test_transactions import assert_inside, where
from tests.operations.bouncing import Kind
from tests.pgbouncer.conftest import MakeTenancy
from tests.schemas.databases import eventually
from tests.support.notes import Note
from tests.support.runner import AsyncRunner, Runner, SyncRunner

pytestmark = pytest.mark.slow

ids: Iterator[int] = count(1)
Pair = tuple[Organization, Organization]
BODIES = text("SELECT DISTINCT body FROM notes")
LOST = text("SELECT count(*) FROM notes WHERE body = 'lost'")


@pytest.fixture(params=["sync", "async"])
def run(
    request: pytest.FixtureRequest, tenancy: Tenancy, event_loop_runner: asyncio.Runner
) -> Runner:
    if request.param == "sync":
        return SyncRunner(tenancy)
    return AsyncRunner(tenancy, event_loop_runner)


def driver_of(session: Session) -> Any:
    return session.connection().connection.driver_connection


def write(session: Session, organization: Organization) -> None:
    session.add(Note(id=next(ids), body=organization.id))


def look(session: Session, organization: Organization) -> None:
    """See that it is the organization's own transaction, with its own rows."""
    assert_inside(where(session), organization)
    assert session.scalars(BODIES).all() == [organization.id]


def test_clients_that_share_two_sessions_see_their_own_rows_only(run: Runner, pair: Pair) -> None:
    def work(session: Session) -> None:
        # The session says whose it is; PostgreSQL says where it is.
        organization = session.organization  # type: ignore[attr-defined]
        write(session, organization)
        session.flush()
        look(session, organization)
        session.commit()
        look(session, organization)

    with ThreadPoolExecutor(2) as threads:
        if isinstance(run, SyncRunner):
            list(threads.map(lambda o: run.concurrently(o, [work] * 8), pair * 4))
        else:
            for organization in pair * 4:
                run.concurrently(organization, [work] * 8)


def test_a_statement_that_is_prepared_serves_every_organization(
    run: Runner, pair: Pair, kind: Kind
) -> None:
    for organization in pair:
        run(organization, write, organization)
    query = select(Note.body).where(Note.body != "nothing").distinct()
    names = text("SELECT name FROM pg_prepared_statements")
    found = set()
    for _ in range(30):
        for organization in pair:
            assert run(organization, lambda s: s.scalars(query).all()) == [organization.id]
        found.update(run(pair[0], lambda s: s.scalars(names).all()))
    # A current one gives them names of its own.
    assert any(name.startswith("PGBOUNCER_") for name in found) == (kind.name == "current")


def test_copy_in_and_out(tenancy: Tenancy, pair: Pair) -> None:
    for organization in pair:
        query = "COPY notes (id, body) FROM STDIN"
        with (
            tenancy.session(organization) as session,
            driver_of(session).cursor().copy(query) as copy,
        ):
            copy.write_row((next(ids), organization.id))
        with tenancy.session(organization) as session:
            query = "COPY (SELECT body FROM notes) TO STDOUT"
            with driver_of(session).cursor().copy(query) as copy:
                assert {row[0] for row in copy.rows()} == {organization.id}


def test_a_server_side_cursor_is_read_in_its_transaction(run: Runner, pair: Pair) -> None:
    def fill(session: Session, organization: Organization) -> None:
        session.add_all(Note(id=next(ids), body=organization.id) for _ in range(50))

    def read(session: Session) -> set[str]:
        rows = session.scalars(select(Note.body).execution_options(yield_per=5))
        return set(rows)

    for organization in pair:
        run(organization, fill, organization)
    for organization in pair:
        assert run(organization, read) == {organization.id}


def test_a_savepoint_that_is_rolled_back_leaves_the_scope(run: Runner, pair: Pair) -> None:
    def work(session: Session, organization: Organization) -> None:
        write(session, organization)
        session.flush()
        savepoint = session.begin_nested()
        session.execute(text("SET LOCAL search_path TO pg_catalog"))
        savepoint.rollback()
        look(session, organization)

    for organization in pair:
        run(organization, work, organization)


def fail_by_timeout(session: Session) -> None:
    session.execute(text("SET LOCAL statement_timeout = '20ms'"))
    session.execute(text("SELECT pg_sleep(30)"))


def fail_by_error(session: Session) -> None:
    session.execute(text("SELECT 1 / 0"))


@pytest.mark.parametrize("fail", [fail_by_timeout, fail_by_error])
def test_after_an_error_the_next_transaction_is_whole(
    run: Runner, pair: Pair, fail: Callable[[Session], None]
) -> None:
    def work(session: Session) -> None:
        session.execute(text("INSERT INTO notes VALUES (:id, 'lost')"), {"id": next(ids)})
        fail(session)

    for organization in pair * 3:
        with pytest.raises(DBAPIError):
            run(organization, work)
        run(organization, write, organization)
        run(organization, look, organization)
        assert run(organization, lambda s: s.scalar(LOST)) == 0


def test_a_task_that_is_cancelled_leaves_nothing_behind(
    tenancy: Tenancy, direct: Tenancy, pair: Pair, event_loop_runner: asyncio.Runner
) -> None:
    sleeping = text(
        "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' "
        "AND datname = current_database()"
    )

    def asleep() -> int:
        with direct._database.admin_engine.connect() as connection:
            return int(connection.scalar(sleeping) or 0)

    async def settled(wanted: int) -> None:
        await asyncio.to_thread(eventually, lambda: asleep() == wanted, 20)

    async def doomed(organization: Organization) -> None:
        async with tenancy.session(organization) as session:
            await session.execute(text("INSERT INTO notes VALUES (:id, 'lost')"), {"id": next(ids)})
            await session.execute(text("SELECT pg_sleep(60)"))

    async def body() -> None:
        for organization in pair * 2:
            task = asyncio.create_task(doomed(organization))
            await settled(1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await settled(0)  # the server has stopped it as well
            async with tenancy.session(organization) as session:
                await session.run_sync(write, organization)
            async with tenancy.session(organization) as session:
                await session.run_sync(look, organization)
                assert await session.scalar(LOST) == 0

    event_loop_runner.run(body())


def test_a_client_that_goes_away_in_its_transaction_takes_the_session_with_it(
    tenancy: Tenancy, direct: Tenancy, pair: Pair
) -> None:
    with tenancy.session(pair[0]) as session:
        process = session.scalar(text("SELECT pg_backend_pid()"))
        driver_of(session).pgconn.finish()
        with pytest.raises(DBAPIError):
            session.scalar(text("SELECT 1"))
        session.rollback()

    def is_there() -> object:
        with direct._database.admin_engine.connect() as connection:
            query = text("SELECT 1 FROM pg_stat_activity WHERE pid = :pid")
            return connection.scalar(query, {"pid": process})

    eventually(lambda: not is_there(), 60)


@pytest.mark.parametrize("shut", ["suspend", "fence"])
def test_an_organization_that_is_shut_is_shut_to_who_has_not_heard_of_it(
    make: MakeTenancy, direct: Tenancy, shut: str, event_loop_runner: asyncio.Runner
) -> None:
    organization = direct.schemas.provision(f"shut-{next(ids)}")
    stale = make(registry_max_age=3600)

    async def write_async() -> None:
        async with stale.session(organization.id) as session:
            await session.run_sync(write, organization)

    with stale.session(organization.id) as session:
        write(session, organization)
    event_loop_runner.run(write_async())
    getattr(direct.organizations, shut)(organization.id)
    for _ in range(3):
        with (
            pytest.raises(OrganizationUnavailable),
            stale.session(organization.id) as session,
        ):
            write(session, organization)
        with pytest.raises(OrganizationUnavailable):
            event_loop_runner.run(write_async())
    getattr(direct.organizations, {"suspend": "resume", "fence": "unfence"}[shut])(organization.id)
    stale._forget(organization.id)
    with stale.session(organization.id) as session:
        look(session, organization)
        assert session.scalar(text("SELECT count(*) FROM notes")) == 2
