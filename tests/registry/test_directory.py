"""Look-ups: remembered for a while, dropped when something changed, never older than that."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine, event, make_url

from orgtenancy import OrganizationStatus, Tenancy
from orgtenancy.errors import OrganizationNotFound, OrganizationUnavailable
from orgtenancy.organizations import TRANSITIONS
from orgtenancy.registry import directory, store
from orgtenancy.registry.listener import CHANNEL, ChangeListener
from tests.registry.worker import Dialogue, dialogue, status_of, worker
from tests.schemas.databases import FreshDatabase, dsn, eventually
from tests.support.reservations import reserve

LISTEN = 'LISTEN "orgtenancy_organizations"'
WITHIN = 20.0  # seconds until a change is known where a process listens; a look-up is kept for 60


def new_id() -> str:
    return f"t{uuid4().hex[:12]}"


def change(tenancy: Tenancy, organization_id: str, *statuses: OrganizationStatus) -> None:
    """Change a status as another program would: in the registry, past the tenancy's cache."""
    with tenancy._database.admin_engine.begin() as connection:
        for status in statuses:
            assert store.change_status(connection, organization_id, status)


@contextmanager
def counted(engine: Engine) -> Iterator[list[str]]:
    """Collect the statements that are sent in the block."""
    statements: list[str] = []

    def note(
        connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def tenancy(database: FreshDatabase) -> Iterator[Tenancy]:
    """A tenancy that does not listen."""
    with database.tenancy() as tenancy:
        yield tenancy


@pytest.fixture
def listening(database: FreshDatabase) -> Iterator[Tenancy]:
    """A tenancy that listens, and would otherwise see a change in a minute."""
    with database.tenancy(listen=True, registry_max_age=60) as tenancy:
        tenancy.schemas.provision("here-before")
        assert status_of(tenancy, "here-before") == "active"
        eventually(lambda: database.backends(LISTEN))
        time.sleep(0.05)  # and its first gap is over
        yield tenancy


def test_a_second_look_up_sends_no_statement(tenancy: Tenancy) -> None:
    organization_id = new_id()
    made = tenancy.schemas.provision(organization_id)
    with counted(tenancy.engine) as statements:
        with tenancy.organization(organization_id) as found:
            assert found == made
        assert len(statements) == 1
        for _ in range(3):
            with tenancy.organization(organization_id) as again:
                assert again is found
        assert len(statements) == 1


def test_the_async_look_up_shares_what_the_sync_one_remembers(tenancy: Tenancy) -> None:
    organization_id = new_id()
    tenancy.schemas.provision(organization_id)

    async def look_up() -> object:
        async with tenancy.organization(organization_id) as found:
            pass
        with tenancy.organization(organization_id) as again:
            assert again is found
        await tenancy.aclose()
        return found

    with counted(tenancy.engine) as statements:
        assert asyncio.run(look_up())
    assert statements == []


def test_an_entry_expires_with_its_age(database: FreshDatabase) -> None:
    with database.tenancy(registry_max_age=0.3) as tenancy:
        organization_id = new_id()
        tenancy.schemas.provision(organization_id)
        with counted(tenancy.engine) as statements:
            assert status_of(tenancy, organization_id) == "active"
            assert status_of(tenancy, organization_id) == "active"
            assert len(statements) == 1
            time.sleep(0.35)
            assert status_of(tenancy, organization_id) == "active"
            assert len(statements) == 2


def test_what_does_not_exist_is_asked_for_every_time(tenancy: Tenancy) -> None:
    organization_id = new_id()
    for _ in range(2):
        with counted(tenancy.engine) as statements:
            with pytest.raises(OrganizationNotFound) as caught:
                tenancy.organization(organization_id).__enter__()
            assert caught.value.organization_id == organization_id
        assert len(statements) == 1
    with database_of(tenancy) as other:  # made elsewhere: nothing tells this process
        other.schemas.provision(organization_id)
    assert status_of(tenancy, organization_id) == "active"


@contextmanager
def database_of(tenancy: Tenancy) -> Iterator[Tenancy]:
    """Another tenancy on the same database."""
    database = tenancy._database
    assert database.admin_url
    with FreshDatabase(database.url, database.admin_url).tenancy() as other:
        yield other


def test_what_is_remembered_is_bounded(tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "_MAX_ENTRIES", 3)
    ids = [new_id() for _ in range(8)]
    for organization_id in ids:
        tenancy.schemas.provision(organization_id)
    for organization_id in ids * 2:
        assert status_of(tenancy, organization_id) == "active"
        assert 1 <= len(tenancy._directory._entries) <= 3


def test_a_process_forgets_what_it_changed_itself(tenancy: Tenancy) -> None:
    organization_id = new_id()
    tenancy.schemas.provision(organization_id)
    assert status_of(tenancy, organization_id) == "active"
    tenancy.schemas.drop(organization_id, confirm=organization_id, force=True)
    assert status_of(tenancy, organization_id) == "OrganizationNotFound"


@pytest.mark.parametrize(
    "way",
    [
        [OrganizationStatus.SUSPENDED],
        [OrganizationStatus.FENCED],
        [OrganizationStatus.ARCHIVED],
        [OrganizationStatus.ARCHIVED, OrganizationStatus.PURGED],
    ],
    ids=lambda way: str(way[-1]),
)
def test_a_status_that_is_not_active_shuts_every_door(
    tenancy: Tenancy, way: list[OrganizationStatus]
) -> None:
    organization = tenancy.schemas.provision(new_id())
    change(tenancy, organization.id, *way)
    for block in (tenancy.organization(organization.id), tenancy.session(organization.id)):
        with pytest.raises(OrganizationUnavailable) as caught:
            block.__enter__()
        error = caught.value
        # A fence is soon gone.
        soon = 1 if way[-1] is OrganizationStatus.FENCED else None
        assert (error.status, error.retry_after) == (way[-1], soon)
        assert error.organization_id == organization.id
        assert (error.schema, error.placement) == (organization.schema_name, "default")
    # An object that is known to be closed is refused without a look-up, too.
    closed = organization.model_copy(update={"status": way[-1]})
    with pytest.raises(OrganizationUnavailable):
        tenancy.session(closed).__enter__()


def test_one_that_is_being_provisioned_says_to_try_again_soon(tenancy: Tenancy) -> None:
    organization_id = new_id()
    with tenancy._database.admin_engine.begin() as connection:
        reserve(connection, organization_id)
    with pytest.raises(OrganizationUnavailable) as caught:
        tenancy.organization(organization_id).__enter__()
    assert caught.value.status == "provisioning"
    assert caught.value.retry_after == 1
    tenancy.schemas.provision(organization_id)
    tenancy._directory.forget(organization_id)
    assert status_of(tenancy, organization_id) == "active"


@pytest.mark.parametrize("source", OrganizationStatus)
@pytest.mark.parametrize("target", OrganizationStatus)
def test_the_registry_makes_a_transition_exactly_where_the_table_allows_it(
    tenancy: Tenancy, source: OrganizationStatus, target: OrganizationStatus
) -> None:
    organization_id = new_id()
    with tenancy._database.admin_engine.connect() as connection:
        reserve(connection, organization_id)
        connection.exec_driver_sql(
            "UPDATE orgtenancy.organizations SET status = %s WHERE id = %s",
            (source.value, organization_id),
        )
        changed = store.change_status(connection, organization_id, target)
        found = store.find(connection, organization_id)
        assert found
        if target in TRANSITIONS[source]:
            assert changed == found
            assert found.status is target
        else:
            assert changed is None
            assert found.status is source
        connection.rollback()


def test_a_change_reaches_another_tenancy_within_a_second(
    listening: Tenancy, tenancy: Tenancy
) -> None:
    organization_id = new_id()
    tenancy.schemas.provision(organization_id)
    assert status_of(listening, organization_id) == "active"
    change(tenancy, organization_id, OrganizationStatus.SUSPENDED)
    eventually(lambda: status_of(listening, organization_id) == "suspended", WITHIN)
    change(tenancy, organization_id, OrganizationStatus.ACTIVE)
    eventually(lambda: status_of(listening, organization_id) == "active", WITHIN)
    tenancy.schemas.drop(organization_id, confirm=organization_id, force=True)
    eventually(lambda: status_of(listening, organization_id) == "OrganizationNotFound", WITHIN)


def test_a_change_reaches_another_process_within_a_second(
    database: FreshDatabase, tenancy: Tenancy
) -> None:
    organization_id = new_id()
    tenancy.schemas.provision(organization_id)
    before = set(database.backends(LISTEN))
    with worker(database.url, listen=True, registry_max_age=60) as other:
        assert other.status_of(organization_id) == "active"
        eventually(lambda: set(database.backends(LISTEN)) - before)
        time.sleep(0.05)
        assert other.status_of(organization_id) == "active"
        change(tenancy, organization_id, OrganizationStatus.SUSPENDED)
        eventually(lambda: other.status_of(organization_id) == "suspended", WITHIN)


@pytest.mark.slow
def test_a_process_that_does_not_listen_sees_a_change_when_its_entry_is_too_old(
    database: FreshDatabase, tenancy: Tenancy
) -> None:
    organization_id = new_id()
    tenancy.schemas.provision(organization_id)
    with worker(database.url, listen=False, registry_max_age=0.7) as other:
        assert other.status_of(organization_id) == "active"
        change(tenancy, organization_id, OrganizationStatus.SUSPENDED)
        start = time.monotonic()
        assert other.status_of(organization_id) == "active"  # as bounded, not as silent
        eventually(lambda: other.status_of(organization_id) == "suspended", 1.5)
        assert time.monotonic() - start < 1.2


def test_a_look_up_that_races_a_change_does_not_keep_the_older_value(
    listening: Tenancy, tenancy: Tenancy
) -> None:
    organization_id = new_id()
    tenancy.schemas.provision(organization_id)
    eventually(lambda: organization_id not in listening._directory._entries)
    time.sleep(0.1)  # the announcement of the provisioning itself
    raced: list[bool] = []

    def change_between_read_and_store(*_: object) -> None:
        if not raced:
            raced.append(True)
            before = listening._directory._generation
            change(tenancy, organization_id, OrganizationStatus.SUSPENDED)
            eventually(lambda: listening._directory._generation > before)

    event.listen(listening.engine, "after_cursor_execute", change_between_read_and_store)
    assert status_of(listening, organization_id) == "active"  # it was, when it was read
    assert raced
    assert status_of(listening, organization_id) == "suspended"


@pytest.mark.slow
def test_under_a_storm_of_changes_no_value_older_than_the_last_change_stays(
    listening: Tenancy, tenancy: Tenancy
) -> None:
    organization_id = new_id()
    tenancy.schemas.provision(organization_id)
    end = time.monotonic() + 6
    barrier = Barrier(5)

    def look_up() -> None:
        barrier.wait()
        while time.monotonic() < end:
            listening._directory._entries.pop(organization_id, None)
            status_of(listening, organization_id)

    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(look_up) for _ in range(4)]
        barrier.wait()
        statuses = [OrganizationStatus.SUSPENDED, OrganizationStatus.ACTIVE]
        rounds = 0
        while time.monotonic() < end:
            change(tenancy, organization_id, statuses[rounds % 2])
            rounds += 1
            time.sleep(0.002)
        for future in running:
            future.result()
    time.sleep(0.2)
    assert rounds > 50
    assert status_of(listening, organization_id) == statuses[(rounds - 1) % 2]


def test_a_broken_listener_comes_back_and_drops_what_it_may_have_missed(
    database: FreshDatabase, listening: Tenancy, tenancy: Tenancy, caplog: pytest.LogCaptureFixture
) -> None:
    organization_id = new_id()
    tenancy.schemas.provision(organization_id)
    eventually(lambda: status_of(listening, organization_id) == "active")
    time.sleep(0.1)
    assert status_of(listening, organization_id) == "active"
    (pid,) = database.backends(LISTEN)
    # A change in the gap, whose announcement nobody hears.
    with psycopg.connect(dsn(database.admin_url), autocommit=True) as connection:
        login = sql.Identifier(str(database.url.username))
        connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(login))
        try:
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            change(tenancy, organization_id, OrganizationStatus.SUSPENDED)
            eventually(lambda: "not listening" in caplog.text)
            assert status_of(listening, organization_id) == "active"  # it cannot know yet
        finally:
            connection.execute(sql.SQL("ALTER ROLE {} LOGIN").format(login))
    eventually(lambda: database.backends(LISTEN), 60)
    assert database.backends(LISTEN) != [pid]
    eventually(lambda: status_of(listening, organization_id) == "suspended", 30)
    change(tenancy, organization_id, OrganizationStatus.ACTIVE)
    eventually(lambda: status_of(listening, organization_id) == "active", WITHIN)


def test_closing_a_tenancy_ends_its_listener_and_the_next_look_up_starts_another(
    database: FreshDatabase, listening: Tenancy
) -> None:
    assert len(database.backends(LISTEN)) == 1
    start = time.monotonic()
    listening.close()
    assert time.monotonic() - start < 2
    eventually(lambda: not database.backends(LISTEN))
    listening._directory.clear()
    assert status_of(listening, "here-before") == "active"
    eventually(lambda: len(database.backends(LISTEN)) == 1)


@pytest.mark.slow
def test_closing_does_not_wait_longer_than_a_connection_may_take() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, says nothing
        port = silent.getsockname()[1]
        listener = ChangeListener(
            make_url(f"postgresql+psycopg://app@127.0.0.1:{port}/app"),
            {CHANNEL: lambda organization_id: None},
            lambda: None,
            connect_timeout=2,
        )
        listener.start()
        time.sleep(0.2)
        start = time.monotonic()
        listener.stop()
        assert time.monotonic() - start < 4


def test_many_threads_start_one_listener(database: FreshDatabase, tenancy: Tenancy) -> None:
    tenancy.schemas.provision("here-before")
    with database.tenancy(listen=True) as other, ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: status_of(other, "here-before"), range(32))) == {"active"}
        eventually(lambda: database.backends(LISTEN))
        time.sleep(0.1)
        assert len(database.backends(LISTEN)) == 1


@contextmanager
def forking(database: FreshDatabase, organization_id: str, how: str) -> Iterator[Dialogue]:
    """Start a process that looks up an organization, forks, and looks it up in the child."""
    url = database.url.render_as_string(hide_password=False)
    with dialogue("tests.registry.forking", url, organization_id, how) as process:
        yield process


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_listens_on_a_connection_of_its_own(
    database: FreshDatabase, tenancy: Tenancy
) -> None:
    organization_id = new_id()
    tenancy.schemas.provision(organization_id)
    with forking(database, organization_id, "disposed") as process:
        assert process.hear() == "parent active"
        assert process.hear() == "child active"
        eventually(lambda: len(database.backends(LISTEN)) == 2)
        time.sleep(0.1)
        change(tenancy, organization_id, OrganizationStatus.SUSPENDED)
        time.sleep(1.0)
        process.say("look again")
        assert process.hear() == "child suspended"
        # The child has closed its tenancy: what the parent holds still works.
        assert process.hear() == "parent suspended"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_does_not_speak_on_its_parents_connections(
    database: FreshDatabase, tenancy: Tenancy
) -> None:
    organization_id = new_id()
    tenancy.schemas.provision(organization_id)
    with forking(database, organization_id, "as-it-is") as process:
        assert process.hear() == "parent active"
        assert process.hear() == "child active"
        process.say("look again")
        assert process.hear() == "child active"
        assert process.hear() == "parent active"
