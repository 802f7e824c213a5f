"""A fence returns when no write is under way, and lasts no longer than it is needed."""

from __future__ import annotations

import threading

import psycopg
import pytest

from orgtenancy import Settings, Tenancy, embedded
from orgtenancy.errors import OrganizationBusy, OrganizationUnavailable
from orgtenancy.operations.lifecycle import draining
from tests.lifecycle.worlds import S, count_notes, history, reach, write
from tests.schemas.databases import FreshDatabase, dsn, eventually, fresh_database
from tests.support.notes import notes

WAITING = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
    "AND wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE%'"
)


def test_a_fence_returns_after_the_last_write_that_was_under_way(
    database: FreshDatabase, installed: Tenancy
) -> None:
    organization = installed.organizations.get(reach(installed, S.ACTIVE))
    returned = threading.Event()

    def fence() -> None:
        installed.organizations.fence(organization.id)
        returned.set()

    with database.tenancy(registry_max_age=600) as other:
        with other.session(organization.id) as session:
            session.connection().exec_driver_sql("INSERT INTO notes VALUES (1, '')")
            thread = threading.Thread(target=fence)
            thread.start()
            eventually(lambda: database.ask(WAITING))
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


def test_a_fence_can_be_lifted_while_it_drains(database: FreshDatabase, installed: Tenancy) -> None:
    organization_id = reach(installed, S.ACTIVE)
    with database.tenancy() as other, other.session(organization_id) as session:
        session.connection().exec_driver_sql("INSERT INTO notes VALUES (1, '')")
        thread = threading.Thread(target=installed.organizations.fence, args=[organization_id])
        thread.start()
        eventually(lambda: database.ask(WAITING))
        assert installed.organizations.unfence(organization_id).is_active
    thread.join(20)


@pytest.mark.parametrize(
    "tables",
    [0, 1, pytest.param(19, marks=pytest.mark.slow), pytest.param(45, marks=pytest.mark.slow)],
)
def test_every_table_is_drained_however_many_there_are(
    database: FreshDatabase, installed: Tenancy, tables: int
) -> None:
    organization = installed.organizations.get(reach(installed, S.ACTIVE))
    schema = organization.schema_name
    for n in range(tables):
        database.ask(f'CREATE TABLE "{schema}"."more {n}" (id int)')
    last = f'"{schema}"."more {tables - 1}"' if tables else f'"{schema}".notes'
    assert draining._BATCH == 20
    with psycopg.connect(dsn(database.admin_url)) as connection:
        connection.execute(f"LOCK TABLE {last} IN ROW EXCLUSIVE MODE".encode())
        with pytest.raises(OrganizationBusy):
            installed.organizations.fence(organization.id, wait=0.1)
    assert installed.organizations.fence(organization.id, wait=5).status is S.FENCED


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
