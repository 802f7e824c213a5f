"""A connection on which something was set for the session is not reused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from zlib import crc32

import psycopg
import pytest
from sqlalchemy import text

from orgtenancy import Organization, Tenancy
from orgtenancy.database.session_state import leaves_session_state
from orgtenancy.errors import SessionStateRefused

LEAVES = [
    "SET search_path TO public",
    "  set app.user = 'x'",
    "SET SESSION AUTHORIZATION x",
    "set session characteristics as transaction read only",
    "SELECT 1; SET timezone TO 'UTC'",
    "/* note */ SET app.user = 'x'",
    "-- note\nSET app.user = 'x'",
    "/* a ; */ SET /* b */ app.user = 'x'",
    "SELECT set_config('app.user', 'x', false)",
    "SELECT set_config('app.user', 'x', $1)",
    "SELECT set_config(%s, %s, %s)",
    "DO $$ BEGIN SET app.user = 'x'; END $$",
    "DO $$ BEGIN PERFORM set_config('a.b', 'x', false); END $$",
    "DO $$ BEGIN EXECUTE 'SET app.user = 1'; END $$",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_lock_shared(1)",
    "LISTEN channel",
    "LOAD 'auto_explain'",
    "PREPARE peek AS SELECT 1",
    "DECLARE peek CURSOR WITH HOLD FOR SELECT 1",
    "CREATE TEMP TABLE x (id int)",
    "CREATE TABLE pg_temp.x (id int)",
    "SET local.person = 'x'",
    "set transaction .person = 'x'",
    "SELECT set_config('app.user', 'x, true)', false)",
    "SELECT set_config('app.user', 'it''s, true)', false)",
    "SELECT \"set_config\"('app.user', 'x', false)",
    'SELECT pg_catalog."pg_advisory_lock"(1)',
    "UPDATE pg_settings SET setting = '1MB' WHERE name = 'work_mem'",
    "DO $$ BEGIN <<here>> SET app.user = 'x'; END $$",
    "CREATE OR REPLACE TEMP VIEW x AS SELECT 1",
    "SELECT 1 AS a INTO TEMPORARY TABLE x",
    b"SET app.user = 'x'",
]
LEAVES_NOTHING = [
    "SELECT 1",
    "UPDATE notes SET body = 'x'",
    "UPDATE notes\nSET body = 'set'",
    "INSERT INTO notes VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET body = excluded.body",
    "SET LOCAL app.user = 'x'",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET CONSTRAINTS ALL DEFERRED",
    "SELECT set_config('app.user', 'x', true)",
    "SELECT set_config('app.user', %s, true)",
    "SELECT pg_catalog.set_config('app.user', %(person)s::text, true)",
    "SELECT set_config($1, $2::VARCHAR, true)",
    "SELECT name, setting FROM pg_settings",
    "SELECT pg_advisory_xact_lock(1)",
    "SELECT pg_try_advisory_xact_lock_shared(1)",
    "PREPARE TRANSACTION 'x'",
    "DECLARE peek CURSOR FOR SELECT 1",
    "SELECT settings, listen, loader FROM sets",
]


@pytest.mark.parametrize("query", LEAVES)
def test_what_outlives_a_transaction_is_recognised(query: str | bytes) -> None:
    assert leaves_session_state(query)


@pytest.mark.parametrize("query", LEAVES_NOTHING)
def test_what_ends_with_its_transaction_costs_no_reconnect(query: str) -> None:
    assert not leaves_session_state(query)


def advisory_lock(driver: Any) -> None:
    driver.execute("SELECT pg_advisory_lock(4711)")


def setting(driver: Any) -> None:
    driver.execute("SET app.person = 'somebody'")


def setting_by_stream(driver: Any) -> None:
    list(driver.cursor().stream("SELECT set_config('app.person', 'somebody', false)"))


def setting_by_copy(driver: Any) -> None:
    query = "COPY (SELECT set_config('app.person', 'somebody', false)) TO STDOUT"
    with driver.cursor().copy(query) as copy:
        list(copy)


def holdable_cursor(driver: Any) -> None:
    cursor = driver.cursor("held", withhold=True)
    try:
        cursor.execute("SELECT 1")
        driver.commit()
    finally:
        cursor._closed = True  # forgotten, not closed


LEAVERS = [advisory_lock, setting, setting_by_stream, setting_by_copy, holdable_cursor]


def left_on(driver: Any) -> tuple[bytes, ...]:
    """Return a connection's path and role, without the transaction that would set them."""
    shown = (driver.pgconn.exec_(f"SHOW {name}".encode()) for name in ("search_path", "role"))
    return tuple(result.get_value(0, 0) for result in shown)


@pytest.mark.parametrize("one_flush", [True, False])
def test_nothing_of_an_organization_stays_on_its_connection(
    make_tenancy: Callable[..., Tenancy], organization: Organization, one_flush: bool
) -> None:
    tenancy = make_tenancy(pool_size=1, max_overflow=0, listen=False, one_flush=one_flush)
    with tenancy.organization(organization), tenancy.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        before = left_on(driver)
        for end in (connection.commit, connection.rollback):
            connection.execute(text("SELECT count(*) FROM notes"))
            assert left_on(driver) != before
            end()
            assert left_on(driver) == before


@pytest.mark.parametrize("leave", LEAVERS)
def test_the_next_organization_gets_another_connection(
    make_tenancy: Callable[..., Tenancy],
    two_organizations: tuple[Organization, Organization],
    leave: Callable[[Any], None],
) -> None:
    first, second = two_organizations
    tenancy = make_tenancy(pool_size=1, max_overflow=0, listen=False)
    pid = text("SELECT pg_backend_pid()")
    with tenancy.session(first) as session:
        before = session.scalar(pid)
        session.commit()
        assert session.scalar(pid) == before
        driver: Any = session.connection().connection.driver_connection
        leave(driver)
    with tenancy.session(second) as session:
        assert session.scalar(pid) != before
        assert session.scalar(text("SELECT current_setting('app.person', true)")) is None
        assert session.scalar(text("SELECT count(*) FROM pg_cursors")) == 0
        assert session.scalar(text("SELECT pg_try_advisory_xact_lock(4711)"))


def client_cursor(driver: Any) -> None:
    """Run a statement by a cursor that does not say what it sends."""
    with psycopg.ClientCursor(driver) as cursor:
        cursor.execute("SELECT 1")


@pytest.mark.parametrize("leave", [*LEAVERS, client_cursor])
def test_where_the_settings_say_so_it_is_refused_before_it_is_sent(
    make_tenancy: Callable[..., Tenancy], organization: Organization, leave: Callable[[Any], None]
) -> None:
    tenancy = make_tenancy(pool_size=1, max_overflow=0, listen=False, refuse_session_state=True)
    pid = text("SELECT pg_backend_pid()")
    with tenancy.session(organization) as session:
        before = session.scalar(pid)
        driver: Any = session.connection().connection.driver_connection
        with pytest.raises(SessionStateRefused) as caught:
            leave(driver)
        assert caught.value.organization_id == organization.id
        assert session.scalar(text("SELECT current_setting('app.person', true)")) is None
        assert session.scalar(text("SELECT count(*) FROM pg_cursors WHERE name <> ''")) == 0
    with tenancy.session(organization) as session:
        assert session.scalar(pid) == before


def test_it_is_refused_as_the_first_statement_of_an_async_session_as_well(
    make_tenancy: Callable[..., Tenancy], organization: Organization
) -> None:
    tenancy = make_tenancy(pool_size=1, max_overflow=0, listen=False, refuse_session_state=True)

    async def body() -> None:
        with pytest.raises(SessionStateRefused):
            async with tenancy.session(organization) as session:
                await session.execute(text("SET app.person = 'somebody'"))
        async with tenancy.session(organization) as session:
            query = text("SELECT current_setting('app.person', true)")
            assert await session.scalar(query) is None
        await tenancy.aclose()

    asyncio.run(body())


def test_a_connection_that_served_many_organizations_is_closed(
    make_tenancy: Callable[..., Tenancy],
    tenancy: Tenancy,
    two_organizations: tuple[Organization, Organization],
) -> None:
    third = tenancy.schemas.provision(two_organizations[0].id + "c")
    other = make_tenancy(pool_size=1, max_overflow=0, listen=False, organizations_per_connection=2)
    pids = []
    for organization in (*two_organizations, two_organizations[0], third, third):
        with other.session(organization) as session:
            pids.append(session.scalar(text("SELECT pg_backend_pid()")))
    assert pids[0] == pids[1] == pids[2] == pids[3] != pids[4]


def test_an_idle_connection_that_served_the_organization_is_preferred(
    make_tenancy: Callable[..., Tenancy], two_organizations: tuple[Organization, Organization]
) -> None:
    first, second = two_organizations
    other = make_tenancy(pool_size=4, max_overflow=0, listen=False)
    pid = text("SELECT pg_backend_pid()")
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(other.session(first)).scalar(pid)
    served: dict[str, set[Any]] = {first.id: set(), second.id: set()}
    for _ in range(10):
        for organization in two_organizations:
            with other.session(organization) as session:
                served[organization.id].add(session.scalar(pid))
    assert all(len(pids) == 1 for pids in served.values())
    same_slot = crc32(first.id.encode()) % 4 == crc32(second.id.encode()) % 4
    assert (served[first.id] == served[second.id]) is same_slot
