"""Another id for an organization, while others still know it by the old one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

import pytest
from sqlalchemy import Connection

from orgtenancy import Tenancy
from orgtenancy.errors import InvalidOrganizationId, OrganizationExists, OrganizationNotFound
from orgtenancy.registry import members
from orgtenancy.schemas import messages
from orgtenancy.schemas.fleet import JobOptions
from orgtenancy.schemas.revisions import applying
from tests.lifecycle.worlds import S, count_notes, history, may_enter, new_id, reach, write
from tests.registry.worker import status_of
from tests.schemas.conftest import MakeModule
from tests.schemas.databases import FreshDatabase, eventually
from tests.support.notes import notes

NOW = datetime.now(UTC)


def test_schema_and_data_go_along_and_the_role_stays(
    database: FreshDatabase, installed: Tenancy
) -> None:
    old, new = reach(installed, S.ACTIVE), f"{new_id()}-B"
    before = installed.organizations.get(old)
    write(installed, old)
    after = installed.organizations.change_id(old, new)
    assert (after.id, after.schema_name, after.role_name) == (new, f"org_{new}", before.role_name)
    assert before.schema_name not in database.schemas()
    assert may_enter(database, after)
    assert count_notes(database, after) == 1
    assert status_of(installed, old) == "OrganizationNotFound"
    assert status_of(installed, new) == "active"
    write(installed, new, 2)
    assert [(e.action, dict(e.details)) for e in history(installed, new)] == [
        ("id_changed", {"from": old})
    ]
    assert dict(history(installed, old)[-1].details) == {"to": new}


def test_a_process_that_remembers_the_old_id_is_refused_and_finds_nobody(
    database: FreshDatabase, installed: Tenancy
) -> None:
    old, new = reach(installed, S.ACTIVE), new_id()
    with database.tenancy(registry_max_age=600) as stale:
        write(stale, old)
        installed.organizations.change_id(old, new)
        with pytest.raises(OrganizationNotFound) as caught:
            write(stale, old, 2)
        assert caught.value.organization_id == old
        write(stale, new, 2)


def test_a_process_that_remembers_the_old_id_does_not_get_into_its_successor(
    database: FreshDatabase, installed: Tenancy
) -> None:
    old, new = reach(installed, S.ACTIVE), new_id()
    with database.tenancy(registry_max_age=600) as stale:
        remembered = installed.organizations.get(old)
        write(stale, old)
        installed.organizations.change_id(old, new)
        successor = installed.schemas.provision(old)
        assert successor.schema_name == remembered.schema_name
        assert successor.role_name != remembered.role_name
        with pytest.raises(Exception, match="closed and opened again") as caught:
            write(stale, old, 2)
        assert getattr(caught.value, "retry_after", None) == 1
        assert count_notes(database, successor) == 0
        assert not may_enter(database, successor, remembered.role_name)
        # And what it does by the object it kept is refused as well.
        with pytest.raises(Exception, match="closed and opened again"):
            write(stale, remembered, 3)
        assert count_notes(database, successor) == 0
        write(stale, old, 4)
        assert count_notes(database, successor) == 1


def test_a_process_that_listens_hears_of_both_ids(
    database: FreshDatabase, installed: Tenancy
) -> None:
    old, new = reach(installed, S.ACTIVE), new_id()
    with database.tenancy(listen=True, registry_max_age=600) as listening:
        assert status_of(listening, old) == "active"
        eventually(lambda: database.backends('LISTEN "orgtenancy_organizations"'))
        eventually(lambda: status_of(listening, old) == "active")
        installed.organizations.change_id(old, new)
        eventually(lambda: status_of(listening, old) == "OrganizationNotFound")


@pytest.mark.parametrize("status", [S.PROVISIONING, S.ACTIVE, S.ARCHIVED, S.PURGED])
def test_an_id_that_is_there_in_whatever_status_is_not_taken(installed: Tenancy, status: S) -> None:
    taken, organization_id = reach(installed, status), reach(installed, S.ACTIVE)
    with pytest.raises(OrganizationExists) as caught:
        installed.organizations.change_id(organization_id, taken)
    assert caught.value.organization_id == taken
    assert installed.organizations.get(organization_id).is_active
    write(installed, organization_id)
    entry = history(installed, organization_id, done=False)[-1]
    assert (entry.result, entry.details["code"]) == ("refused", "organization_exists")


def test_a_schema_that_the_registry_does_not_know_is_not_taken_either(
    database: FreshDatabase, installed: Tenancy
) -> None:
    organization_id, new = reach(installed, S.ACTIVE), new_id()
    database.ask(f'CREATE SCHEMA "org_{new}"')
    with pytest.raises(OrganizationExists):
        installed.organizations.change_id(organization_id, new)
    write(installed, organization_id)
    database.ask(f'DROP SCHEMA "org_{new}"')


def test_no_id_is_changed_into_what_is_none(installed: Tenancy) -> None:
    organization_id = reach(installed, S.ACTIVE)
    with pytest.raises(InvalidOrganizationId):
        installed.organizations.change_id(organization_id, "no id")
    same = installed.organizations.change_id(organization_id, organization_id)
    assert same.id == organization_id
    assert [e.action for e in history(installed, organization_id)] == ["provisioned"]


@pytest.mark.slow
def test_two_that_want_one_id_at_once_do_not_both_get_it(installed: Tenancy) -> None:
    for _ in range(4):
        ids, wanted, barrier = [reach(installed, S.ACTIVE) for _ in range(4)], new_id(), Barrier(4)

        def take(i: str, barrier: Barrier = barrier, wanted: str = wanted) -> str:
            barrier.wait()
            try:
                return installed.organizations.change_id(i, wanted).id
            except OrganizationExists:
                return i

        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(take, ids))
        assert found.count(wanted) == 1
        for organization_id in found:
            write(installed, organization_id)


def test_members_go_along_and_what_was_heard_under_the_new_id_stays(
    database: FreshDatabase, installed: Tenancy
) -> None:
    old, new = reach(installed, S.ACTIVE), new_id()
    with installed._database.admin_engine.begin() as connection:
        members.set_member(connection, old, "jane", "active", NOW)
        members.set_member(connection, old, "jim", "active", NOW)
        members.set_member(connection, new, "jim", "removed", NOW)
    installed.organizations.change_id(old, new)
    rows = database.ask(
        "SELECT organization_id, actor_id, status FROM orgtenancy.members "
        "WHERE organization_id IN (%s, %s) ORDER BY 2",
        old,
        new,
    )
    assert rows == [(new, "jane", "active"), (new, "jim", "removed")]


@pytest.mark.slow
def test_a_migration_that_meets_a_change_of_id_migrates_it_under_the_new_name(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    with bare_database.tenancy([notes]) as tenancy:
        tenancy.install()
        for n in range(6):
            tenancy.schemas.provision(f"o{n}")
    later = make_module("later", "op.create_table('later', sa.Column('id', sa.Integer))")
    with bare_database.tenancy([notes, later]) as tenancy, ThreadPoolExecutor(1) as threads:

        def change_all() -> None:
            for _ in range(3):
                for n in range(6):
                    tenancy.organizations.change_id(f"o{n}", f"p{n}")
                    tenancy.organizations.change_id(f"p{n}", f"o{n}")

        changing = threads.submit(change_all)
        job = tenancy.schemas.migrate(options=JobOptions(workers=2))
        changing.result()
        assert job
        assert (job.done, job.failed) == (6, 0)
        for n in range(6):
            organization = tenancy.organizations.get(f"o{n}")
            assert organization.revisions == tenancy.schemas.revisions.heads
            assert bare_database.ask("SELECT to_regclass(%s) IS NOT NULL", f"org_o{n}.later") == [
                (True,)
            ]


def test_a_migration_that_finds_no_schema_which_then_is_back_migrates_it(
    bare_database: FreshDatabase, make_module: MakeModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bare_database.tenancy([notes]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
    later = make_module("later", "op.create_table('later', sa.Column('id', sa.Integer))")
    with bare_database.tenancy([notes, later]) as tenancy:
        away = iter(["beta"])

        def send(connection: Connection, message: bytes) -> None:
            """Send it; the first one while the organization has another id."""
            if not (new := next(away, None)):
                return messages.send_transaction(connection, message)
            tenancy.organizations.change_id("acme", new)
            try:
                return messages.send_transaction(connection, message)
            finally:
                tenancy.organizations.change_id(new, "acme")

        monkeypatch.setattr(applying, "send_transaction", send)
        job = tenancy.schemas.migrate()
        assert job
        assert (job.done, job.failed) == (1, 0)
        found = tenancy.organizations.get("acme").revisions
        assert found == tenancy.schemas.revisions.heads
        assert not list(away)
