"""A process that remembers an organization as open is refused by PostgreSQL, and learns why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from orgtenancy import Organization, Tenancy
from orgtenancy.errors import OrganizationBusy, OrganizationNotFound, OrganizationUnavailable
from tests.lifecycle.worlds import S, count_notes, may_enter, reach, write
from tests.schemas.databases import FreshDatabase, dsn, eventually
from tests.support.notes import Note

Work = Callable[[Session], Any]


def run(statement: str) -> Work:
    return lambda session: session.execute(text(statement))


def copy(session: Session) -> None:
    driver: Any = session.connection().connection.driver_connection
    with driver.cursor() as cursor, cursor.copy("COPY notes (id, body) FROM STDIN") as stream:
        stream.write_row((7, "x"))


def add(session: Session) -> None:
    session.add(Note(id=7, body="x"))  # sent with the commit


# What a process may do that knows nothing of it.
WORK: dict[str, Work] = {
    "read": run("SELECT id FROM notes"),
    "write": run("INSERT INTO notes (id, body) VALUES (7, 'x')"),
    "qualified": lambda s: s.execute(
        text(f'SELECT id FROM "{s.organization.schema_name}".notes')  # type: ignore[attr-defined]
    ),
    "function": run("SELECT count_of_notes()"),
    "type": run("SELECT 'sad'::mood"),
    "copy": copy,
    "add": add,
}


@pytest.fixture
def stale(database: FreshDatabase) -> Iterator[Tenancy]:
    """A tenancy of another process, as it were: it hears of nothing."""
    with database.tenancy(registry_max_age=600) as tenancy:
        yield tenancy


def furnished(database: FreshDatabase, tenancy: Tenancy) -> Organization:
    organization = tenancy.organizations.get(reach(tenancy, S.ACTIVE))
    schema = organization.schema_name
    database.ask(
        f'CREATE FUNCTION "{schema}".count_of_notes() RETURNS bigint LANGUAGE sql '
        "AS 'SELECT 1::bigint'"
    )
    database.ask(f"CREATE TYPE \"{schema}\".mood AS ENUM ('sad')")
    return organization


def use_sync(tenancy: Tenancy, organization_id: str, work: Work) -> None:
    with tenancy.session(organization_id) as session:
        work(session)


def use_async(tenancy: Tenancy, organization_id: str, work: Work) -> None:
    async def use() -> None:
        try:
            async with tenancy.session(organization_id) as session:
                await session.run_sync(work)
        finally:
            await tenancy.aclose()

    asyncio.run(use())


@pytest.mark.parametrize("work", [w for w in WORK if w != "copy"])
@pytest.mark.parametrize("how", ["sync", "async"])
def test_whatever_a_stale_process_does_it_learns_that_the_organization_is_suspended(
    database: FreshDatabase, installed: Tenancy, stale: Tenancy, work: str, how: str
) -> None:
    organization = furnished(database, installed)
    with stale.session(organization.id) as session:
        session.execute(text("SELECT 1"))  # it knows the organization now
    installed.organizations.suspend(organization.id, reason="unpaid")
    use = {"sync": use_sync, "async": use_async}[how]
    with pytest.raises(OrganizationUnavailable) as caught:
        use(stale, organization.id, WORK[work])
    assert (caught.value.status, caught.value.retry_after) == ("suspended", None)
    assert caught.value.organization_id == organization.id
    # The second time it knows, and asks nobody.
    with pytest.raises(OrganizationUnavailable):
        stale.session(organization.id).__enter__()
    assert count_notes(database, organization) == 0
    installed.organizations.resume(organization.id)
    stale._directory.clear()
    write(stale, organization.id)


def test_a_copy_past_sqlalchemy_learns_it_too(
    database: FreshDatabase, installed: Tenancy, stale: Tenancy
) -> None:
    organization = furnished(database, installed)
    write(stale, organization.id)
    installed.organizations.suspend(organization.id)
    with (
        pytest.raises(OrganizationUnavailable) as caught,
        stale.session(organization.id) as session,
    ):
        copy(session)
    assert caught.value.status == "suspended"


INSERT = "INSERT INTO notes (id, body) VALUES (%s, '')"


@pytest.mark.parametrize("statement", ["SELECT id FROM notes", "INSERT INTO others VALUES (1)"])
def test_a_transaction_that_runs_is_refused_where_it_has_not_been_yet(
    database: FreshDatabase, installed: Tenancy, stale: Tenancy, statement: str
) -> None:
    organization = furnished(database, installed)
    database.ask(f'CREATE TABLE "{organization.schema_name}".others (id int)')

    def be_overtaken(session: Session) -> None:
        for note in range(1, 9):  # prepared by the driver on the way
            session.connection().exec_driver_sql(INSERT, (note,))
        installed.organizations.suspend(organization.id)
        session.execute(text(statement))

    with pytest.raises(OrganizationUnavailable) as caught:
        use_sync(stale, organization.id, be_overtaken)
    assert caught.value.status == "suspended"
    assert count_notes(database, organization) == 0  # rolled back, as any error does


def test_a_transaction_that_wrote_to_a_table_may_go_on_there_until_it_ends(
    database: FreshDatabase, installed: Tenancy, stale: Tenancy
) -> None:
    # A prepared statement that needs no new lock is not looked at anew. So `wait` and `fence`
    # wait for exactly such a transaction.
    organization = furnished(database, installed)
    with stale.session(organization.id) as session:
        for note in range(8):  # prepared by the driver on the way
            session.connection().exec_driver_sql(INSERT, (note,))
        with pytest.raises(OrganizationBusy):
            installed.organizations.suspend(organization.id, wait=0.05)
        session.connection().exec_driver_sql(INSERT, (8,))
    assert count_notes(database, organization) == 9
    assert installed.organizations.suspend(organization.id, wait=5).status is S.SUSPENDED
    with pytest.raises(OrganizationUnavailable):
        write(stale, organization.id, 9)
    assert count_notes(database, organization) == 9


def test_what_was_written_before_is_committed(
    database: FreshDatabase, installed: Tenancy, stale: Tenancy
) -> None:
    organization = furnished(database, installed)
    with stale.session(organization.id) as session:
        session.connection().exec_driver_sql("INSERT INTO notes VALUES (1, '')")
        installed.organizations.suspend(organization.id)
    assert count_notes(database, organization) == 1


def test_one_that_was_closed_and_opened_meanwhile_says_to_try_again(
    installed: Tenancy, stale: Tenancy
) -> None:
    organization_id = reach(installed, S.ACTIVE)

    def meet_a_fence(session: Session) -> None:
        session.execute(text("SELECT 1"))
        installed.organizations.fence(organization_id)
        try:
            session.execute(text("SELECT id FROM notes"))
        finally:
            installed.organizations.unfence(organization_id)

    with pytest.raises(OrganizationUnavailable) as caught:
        use_sync(stale, organization_id, meet_a_fence)
    assert (caught.value.status, caught.value.retry_after) == (None, 1)
    assert isinstance(caught.value.__context__, ProgrammingError)
    write(stale, organization_id)  # and now it works


def test_the_hosts_own_mistake_stays_what_it_is(installed: Tenancy) -> None:
    organization_id = reach(installed, S.ACTIVE)
    for statement, error in (
        ("SELECT 1 FROM no_such_table", errors.UndefinedTable),
        ("SELECT no_such_function()", errors.UndefinedFunction),
        ("SELECT 'x'::no_such_type", errors.UndefinedObject),
        ("DROP TABLE notes", errors.InsufficientPrivilege),
    ):
        with (
            pytest.raises(ProgrammingError) as caught,
            installed.session(organization_id) as session,
        ):
            session.execute(text(statement))
        assert isinstance(caught.value.orig, error)
    # Also for an object that a host made by itself, without a time.
    by_hand = installed.organizations.get(organization_id).model_copy(
        update={"status_changed_at": None}
    )
    with pytest.raises(ProgrammingError), installed.session(by_hand) as session:
        session.execute(text("SELECT 1 FROM no_such_table"))


def test_one_that_was_dropped_and_made_anew_is_not_taken_for_the_old_one(
    installed: Tenancy, stale: Tenancy
) -> None:
    organization_id = reach(installed, S.ACTIVE)
    write(stale, organization_id)
    installed.schemas.drop(organization_id, confirm=organization_id, force=True)
    installed.schemas.provision(organization_id)
    with pytest.raises(OrganizationUnavailable) as caught:
        write(stale, organization_id)
    assert (caught.value.status, caught.value.retry_after) == (None, 1)
    write(stale, organization_id)
    installed.schemas.drop(organization_id, confirm=organization_id, force=True)
    with pytest.raises(OrganizationNotFound):
        write(stale, organization_id, 2)


def test_suspending_can_wait_until_nobody_writes(
    database: FreshDatabase, installed: Tenancy, stale: Tenancy
) -> None:
    organization = furnished(database, installed)
    with stale.session(organization.id) as session:
        session.connection().exec_driver_sql("INSERT INTO notes VALUES (1, '')")
        with pytest.raises(OrganizationBusy) as caught:
            installed.organizations.suspend(organization.id, wait=0.05)
        assert (caught.value.operation, caught.value.retry_after) == ("suspend", 1)
        assert installed.organizations.get(organization.id).status is S.SUSPENDED
    assert installed.organizations.suspend(organization.id, wait=5).status is S.SUSPENDED


def test_an_operation_that_cannot_have_the_row_in_time_changes_nothing(
    database: FreshDatabase, installed: Tenancy
) -> None:
    organization = installed.organizations.get(reach(installed, S.ACTIVE))
    with (
        database.tenancy(lifecycle_lock_timeout=0.05) as hasty,
        psycopg.connect(dsn(database.admin_url)) as connection,
    ):
        connection.execute(
            "SELECT FROM orgtenancy.organizations WHERE id = %s FOR UPDATE", [organization.id]
        )
        with pytest.raises(OrganizationBusy) as caught:
            hasty.organizations.suspend(organization.id)
        assert caught.value.organization_id == organization.id
        connection.rollback()
        assert hasty.organizations.get(organization.id) == organization
        assert may_enter(database, organization)
        entry = hasty.organizations.audit(organization_id=organization.id).items[0]
        assert (entry.action, entry.result) == ("suspended", "failed")


def test_rights_changed_by_somebody_else_at_the_same_time_make_it_busy(
    database: FreshDatabase, installed: Tenancy
) -> None:
    organization = installed.organizations.get(reach(installed, S.ACTIVE))
    with psycopg.connect(dsn(database.admin_url)) as connection:
        connection.execute(f'GRANT USAGE ON SCHEMA "{organization.schema_name}" TO PUBLIC'.encode())

        async def suspend() -> None:
            work = asyncio.create_task(installed.organizations.suspend_async(organization.id))
            waiting = (
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
                "AND wait_event_type = 'Lock'"
            )
            await asyncio.to_thread(eventually, lambda: database.ask(waiting))
            await asyncio.to_thread(connection.commit)
            await work

        with pytest.raises(OrganizationBusy):
            asyncio.run(suspend())
    database.ask(f'REVOKE USAGE ON SCHEMA "{organization.schema_name}" FROM PUBLIC')
    assert installed.organizations.get(organization.id) == organization
    assert installed.organizations.suspend(organization.id).status is S.SUSPENDED
