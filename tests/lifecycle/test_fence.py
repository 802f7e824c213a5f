"""A fence returns when no write is under way, and lasts no longer than it is needed."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from sqlalchemy import event

from orgtenancy import Settings, Tenancy, embedded
from orgtenancy.errors import OrganizationBusy, OrganizationUnavailable
from tests.lifecycle.worlds import S, count_notes, history, reach, write
from tests.schemas.databases import FreshDatabase, dsn, eventually, fresh_database
from tests.support.notes import notes


class Looks:
    """Counts how often a tenancy looked who writes."""

    def __init__(self, tenancy: Tenancy) -> None:
        self.count = 0
        event.listen(tenancy._database.admin_engine, "after_cursor_execute", self._note)

    def _note(self, connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        self.count += "pg_locks" in statement

    def wait(self) -> None:
        """Wait until it has looked, found somebody, and looked again."""
        before = self.count
        eventually(lambda: self.count >= before + 2)


def test_a_fence_returns_after_the_last_write_that_was_under_way(
    database: FreshDatabase, installed: Tenancy
) -> None:
    organization = installed.organizations.get(reach(installed, S.ACTIVE))
    returned = threading.Event()
    looks = Looks(installed)

    def fence() -> None:
        installed.organizations.fence(organization.id)
        returned.set()

    with database.tenancy(registry_max_age=600) as other:
        with other.session(organization.id) as session:
            session.connection().exec_driver_sql("INSERT INTO notes VALUES (1, '')")
            thread = threading.Thread(target=fence)
            thread.start()
            looks.wait()
            # Fenced it is at once: only what was under way is waited for.
            with pytest.raises(OrganizationUnavailable) as caught:
                write(installed, organization.id, 2)
            assert (caught.value.status, caught.value.retry_after) == ("fenced", 1)
            assert not returned.is_set()
        thread.join(20)
    assert returned.is_set()
    assert count_notes(database, organization) == 1


def test_readers_keep_no_fence_waiting(database: FreshDatabase, installed: Tenancy) -> None:
    organization_id = reach(installed, S.ACTIVE)
    with database.tenancy() as other, other.session(organization_id) as session:
        session.connection().exec_driver_sql("SELECT id FROM notes")
        assert installed.organizations.fence(organization_id, wait=0.5).status is S.FENCED


def test_a_vacuum_or_a_new_index_keeps_no_fence_waiting(
    database: FreshDatabase, installed: Tenancy
) -> None:
    organization = installed.organizations.get(reach(installed, S.ACTIVE))
    with psycopg.connect(dsn(database.admin_url)) as connection:
        connection.execute(
            f'LOCK TABLE "{organization.schema_name}".notes IN SHARE UPDATE EXCLUSIVE MODE'.encode()
        )
        assert installed.organizations.fence(organization.id, wait=0.5).status is S.FENCED


def test_a_fence_that_cannot_drain_stays_and_can_be_drained_again(
    database: FreshDatabase, installed: Tenancy
) -> None:
    organization = installed.organizations.get(reach(installed, S.ACTIVE))
    with database.tenancy(fence_timeout=0.05) as hasty:
        with database.tenancy() as other, other.session(organization.id) as session:
            session.connection().exec_driver_sql("INSERT INTO notes VALUES (1, '')")
            for _ in range(2):
                with pytest.raises(OrganizationBusy) as caught:
                    hasty.organizations.fence(organization.id)
                assert (caught.value.operation, caught.value.schema) == (
                    "fence",
                    organization.schema_name,
                )
                assert hasty.organizations.get(organization.id).status is S.FENCED
        assert hasty.organizations.fence(organization.id).status is S.FENCED
    assert [e.action for e in history(installed, organization.id)] == ["provisioned", "fenced"]
    installed.organizations.unfence(organization.id)
    write(installed, organization.id, 2)


def test_a_fence_that_is_lifted_while_it_drains_says_so_and_holds_nobody_up(
    database: FreshDatabase, installed: Tenancy
) -> None:
    organization_id = reach(installed, S.ACTIVE)
    told: list[str] = []
    looks = Looks(installed)

    def fence() -> None:
        try:
            installed.organizations.fence(organization_id, wait=60)
        except OrganizationBusy as error:
            told.append(str(error))

    thread = threading.Thread(target=fence)
    with database.tenancy() as other, other.session(organization_id) as session:
        session.connection().exec_driver_sql("INSERT INTO notes VALUES (1, '')")
        thread.start()
        looks.wait()
        assert installed.organizations.unfence(organization_id).is_active
        # The first writer goes on, and yet the next one does not wait for the fence.
        with installed.session(organization_id) as second:
            second.connection().exec_driver_sql("SET LOCAL lock_timeout = '20s'")
            second.connection().exec_driver_sql("INSERT INTO notes VALUES (2, '')")
    thread.join(30)
    assert len(told) == 1
    assert "somebody changed that meanwhile" in told[0]


def test_a_fence_that_was_lifted_and_set_again_while_it_drained_says_so(
    database: FreshDatabase, installed: Tenancy
) -> None:
    # Somebody may have begun to write in between, and be done by the next look.
    organization_id = reach(installed, S.ACTIVE)
    told: list[str] = []
    looks = Looks(installed)

    def fence() -> None:
        try:
            installed.organizations.fence(organization_id, wait=60)
        except OrganizationBusy as error:
            told.append(str(error))

    thread = threading.Thread(target=fence)
    with database.tenancy() as other, other.session(organization_id) as session:
        session.connection().exec_driver_sql("INSERT INTO notes VALUES (1, '')")
        thread.start()
        looks.wait()
        installed.organizations.unfence(organization_id)
        with pytest.raises(OrganizationBusy):
            installed.organizations.fence(organization_id, wait=0.05)
    thread.join(30)
    assert len(told) == 1


@pytest.mark.parametrize("tables", [0, 1, pytest.param(45, marks=pytest.mark.slow)])
def test_every_table_is_drained_however_many_there_are(
    database: FreshDatabase, installed: Tenancy, tables: int
) -> None:
    organization = installed.organizations.get(reach(installed, S.ACTIVE))
    schema = organization.schema_name
    for n in range(tables):
        database.ask(f'CREATE TABLE "{schema}"."more {n}" (id int)')
    last = f'"{schema}"."more {tables - 1}"' if tables else f'"{schema}".notes'
    with psycopg.connect(dsn(database.admin_url)) as connection:
        connection.execute(f"LOCK TABLE {last} IN ROW EXCLUSIVE MODE".encode())
        with pytest.raises(OrganizationBusy):
            installed.organizations.fence(organization.id, wait=0.1)
    assert installed.organizations.fence(organization.id, wait=5).status is S.FENCED


@pytest.mark.parametrize("partition", ["low", "high"])
def test_every_partition_is_drained(
    database: FreshDatabase, installed: Tenancy, partition: str
) -> None:
    organization = installed.organizations.get(reach(installed, S.ACTIVE))
    schema = organization.schema_name
    database.ask(f'CREATE TABLE "{schema}".parts (id int) PARTITION BY RANGE (id)')
    for name, start, end in (("low", 0, 10), ("high", 10, 20)):
        database.ask(
            f'CREATE TABLE "{schema}".{name} PARTITION OF "{schema}".parts '
            f"FOR VALUES FROM ({start}) TO ({end})"
        )
    with psycopg.connect(dsn(database.admin_url)) as connection:
        connection.execute(
            f'INSERT INTO "{schema}".{partition} VALUES (%s)'.encode(),
            [{"low": 5, "high": 15}[partition]],
        )
        with pytest.raises(OrganizationBusy):
            installed.organizations.fence(organization.id, wait=0.1)
    assert installed.organizations.fence(organization.id, wait=5).status is S.FENCED


INSERT_NOTE = "INSERT INTO notes (id, body) VALUES (%s, '')"


def test_a_fence_and_a_writer_that_goes_on_to_another_table_do_not_wait_for_each_other(
    database: FreshDatabase, installed: Tenancy
) -> None:
    organization = installed.organizations.get(reach(installed, S.ACTIVE))
    schema, role = organization.schema_name, organization.role_name
    database.ask(f'CREATE TABLE "{schema}".others (id int)')
    database.ask(f'GRANT INSERT ON "{schema}".others TO "{role}"')
    returned: list[str] = []
    looks = Looks(installed)

    def fence() -> None:
        returned.append(installed.organizations.fence(organization.id, wait=20).status)

    thread = threading.Thread(target=fence)

    def go_on(stale: Tenancy) -> None:
        with stale.session(organization.id) as session:
            session.connection().exec_driver_sql("INSERT INTO others VALUES (1)")
            thread.start()
            looks.wait()
            # A plan that is ready asks for the lock before it looks at the rights anew.
            session.connection().exec_driver_sql(INSERT_NOTE, (9,))

    with database.tenancy(registry_max_age=600, pool_size=1, max_overflow=0) as stale:
        with stale.session(organization.id) as session:
            for note in range(8):  # prepared by the driver on the way
                session.connection().exec_driver_sql(INSERT_NOTE, (note,))
        with pytest.raises(OrganizationUnavailable) as caught:
            go_on(stale)
    thread.join(30)
    assert caught.value.status == "fenced"
    assert returned == ["fenced"]
    assert count_notes(database, organization) == 8


@pytest.mark.parametrize("change", ["another id", "a table less"])
def test_what_changes_while_a_suspension_drains_hides_no_writer(
    database: FreshDatabase, installed: Tenancy, change: str
) -> None:
    organizations, organization_id = installed.organizations, reach(installed, S.ACTIVE)
    schema = organizations.get(organization_id).schema_name
    database.ask(f'CREATE TABLE "{schema}".others (id int)')
    returned: list[str] = []
    looks = Looks(installed)

    def suspend() -> None:
        returned.append(organizations.suspend(organization_id, wait=20).status)

    with psycopg.connect(dsn(database.admin_url)) as first, database.tenancy() as other:
        first.execute(f'LOCK TABLE "{schema}".notes IN ROW EXCLUSIVE MODE'.encode())
        with psycopg.connect(dsn(database.admin_url)) as second:
            if change == "another id":
                second.execute(f'LOCK TABLE "{schema}".others IN ROW EXCLUSIVE MODE'.encode())
            thread = threading.Thread(target=suspend)
            thread.start()
            looks.wait()
            if change == "another id":
                other.organizations.change_id(organization_id, f"{organization_id}-new")
            else:
                database.ask(f'DROP TABLE "{schema}".others')
            first.rollback()
            if change == "another id":  # it waits for the second one, whatever its table is called
                looks.wait()
            assert returned == [] or change == "a table less"
        thread.join(30)
    assert returned == ["suspended"]


@pytest.mark.slow
def test_a_process_that_does_not_listen_comes_back_soon_after_a_fence(
    database: FreshDatabase, installed: Tenancy
) -> None:
    organization_id = reach(installed, S.ACTIVE)
    with database.tenancy(registry_max_age=600) as stale:
        write(stale, organization_id)
        installed.organizations.fence(organization_id)
        with pytest.raises(OrganizationUnavailable):
            write(stale, organization_id, 2)
        installed.organizations.unfence(organization_id)

        def comes_back() -> bool:
            try:
                write(stale, organization_id, 3)
            except OrganizationUnavailable:
                return False
            return True

        # `Retry-After` says a second; what was remembered as open is kept for ten minutes.
        eventually(comes_back, 60)


@pytest.mark.slow
def test_a_prepared_transaction_counts_as_a_write_that_is_under_way() -> None:
    with (
        embedded.server(settings={"max_prepared_transactions": "5"}) as server,
        fresh_database(server.url, server.admin_url) as database,
        Tenancy(
            database.url,
            admin_url=database.admin_url,
            modules=[notes],
            settings=Settings(listen=False),
        ) as tenancy,
    ):
        tenancy.install()
        organization = tenancy.schemas.provision("acme")
        with tenancy.organization("acme"), tenancy.engine.connect() as connection:
            prepared = connection.begin_twophase()
            connection.exec_driver_sql("INSERT INTO notes VALUES (1, '')")
            prepared.prepare()
            with pytest.raises(OrganizationBusy):
                tenancy.organizations.fence("acme", wait=0.1)
            prepared.commit()
        assert tenancy.organizations.fence("acme", wait=5).status is S.FENCED
        assert count_notes(database, organization) == 1
