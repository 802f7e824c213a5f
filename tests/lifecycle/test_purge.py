"""Purging: after the grace, for good, in steps that can be repeated."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from orgtenancy import Tenancy
from orgtenancy.errors import (
    DropRefused,
    OrganizationBusy,
    OrganizationExists,
    OrganizationNotFound,
    PurgeRefused,
    TransitionRefused,
)
from orgtenancy.operations.lifecycle import purging
from orgtenancy.registry import members
from orgtenancy.schemas import waiting
from tests.lifecycle.worlds import S, history, may_enter, new_id, reach, write
from tests.schemas.databases import FreshDatabase, dsn

NOW = datetime.now(UTC)


def break_off(*_: Any) -> None:
    raise KeyboardInterrupt


def test_the_grace_period_is_kept(database: FreshDatabase, installed: Tenancy) -> None:
    organizations, organization_id = installed.organizations, reach(installed, S.ARCHIVED)
    archived = organizations.get(organization_id)
    with pytest.raises(PurgeRefused) as caught:
        organizations.purge(organization_id, confirm=organization_id)
    assert caught.value.purge_after == archived.purge_after
    assert organizations.get(organization_id) == archived
    assert archived.schema_name in database.schemas()


@pytest.mark.parametrize("confirm", ["", "another", "ACME "])
def test_the_id_has_to_be_repeated(installed: Tenancy, confirm: str) -> None:
    organization_id = reach(installed, S.ARCHIVED)
    with pytest.raises(PurgeRefused, match="repeat its id") as caught:
        installed.organizations.purge(organization_id, confirm=confirm, now=True)
    assert caught.value.purge_after is None
    assert installed.organizations.get(organization_id).status is S.ARCHIVED


def test_nothing_remains_but_the_tombstone(database: FreshDatabase, installed: Tenancy) -> None:
    organizations, organization_id = installed.organizations, new_id()
    organization = installed.schemas.provision(
        organization_id, name="Acme Ltd", attributes={"plan": "paid"}, source="logto"
    )
    write(installed, organization)
    with installed._database.admin_engine.begin() as connection:
        members.set_member(connection, organization_id, "jane", "active", NOW)
    organizations.archive(organization_id, reason="cancelled", grace=timedelta())
    organizations.purge(organization_id, confirm=organization_id)
    stone = organizations.get(organization_id)
    assert (stone.status, stone.name, stone.source) == (S.PURGED, organization_id, "logto")
    assert (stone.attributes, stone.revisions, stone.purge_after) == ({}, {}, None)
    assert organization.schema_name not in database.schemas()
    assert organization.role_name not in database.roles()
    assert database.ask(
        "SELECT count(*) FROM orgtenancy.members WHERE organization_id = %s", organization_id
    ) == [(0,)]
    *_, begun, ended = history(installed, organization_id)
    assert (begun.action, ended.action) == ("purge_started", "purged")
    assert ended.details["objects"] > 0
    organizations.purge(organization_id, confirm=organization_id)  # nothing left to do
    assert history(installed, organization_id)[-1] == ended
    with pytest.raises(OrganizationExists):
        organizations.change_id(reach(installed, S.ACTIVE), organization_id)


def test_once_it_has_begun_there_is_no_way_back(
    database: FreshDatabase, installed: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    organizations, organization_id = installed.organizations, reach(installed, S.ARCHIVED)
    monkeypatch.setattr(purging, "drop_batches", break_off)
    with pytest.raises(KeyboardInterrupt):
        organizations.purge(organization_id, confirm=organization_id, now=True)
    monkeypatch.undo()
    held = organizations.get(organization_id)
    assert held.status is S.ARCHIVED
    assert not may_enter(database, held)
    calls: list[Callable[[], object]] = [
        lambda: organizations.restore(organization_id),
        lambda: organizations.rename(organization_id, "Acme"),
        lambda: organizations.set_attributes(organization_id, {"a": 1}),
        lambda: organizations.change_id(organization_id, new_id()),
    ]
    for refused in calls:
        with pytest.raises(TransitionRefused, match="being purged"):
            refused()
    assert organizations.get(organization_id) == held
    # Begun is begun: the grace period does not count any more.
    organizations.purge(organization_id, confirm=organization_id)
    assert organizations.get(organization_id).status is S.PURGED


def test_what_a_drop_has_begun_cannot_be_restored_either(
    installed: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orgtenancy.schemas import dropping

    organization_id = reach(installed, S.ACTIVE)
    monkeypatch.setattr(dropping, "_drop_batch", break_off)
    with pytest.raises(KeyboardInterrupt):
        installed.schemas.drop(organization_id, confirm=organization_id, force=True)
    monkeypatch.undo()
    with pytest.raises(TransitionRefused, match="being purged"):
        installed.organizations.restore(organization_id)
    installed.schemas.drop(organization_id, confirm=organization_id)
    with pytest.raises(OrganizationNotFound):
        installed.organizations.get(organization_id)
    assert [e.action for e in history(installed, organization_id)] == ["provisioned", "dropped"]


def test_a_drop_that_is_refused_is_audited(installed: Tenancy) -> None:
    organization_id = reach(installed, S.ACTIVE)
    with pytest.raises(DropRefused):
        installed.schemas.drop(organization_id, confirm=organization_id)
    entry = history(installed, organization_id, done=False)[-1]
    assert (entry.action, entry.result) == ("dropped", "refused")
    assert entry.details == {"code": "drop_refused"}


def test_a_drop_of_a_tombstone_frees_the_id(installed: Tenancy) -> None:
    organization_id = reach(installed, S.PURGED)
    installed.schemas.drop(organization_id, confirm=organization_id)
    assert installed.schemas.provision(organization_id).is_active


def test_members_of_a_dropped_organization_are_not_those_of_its_successor(
    database: FreshDatabase, installed: Tenancy
) -> None:
    organization_id = reach(installed, S.ACTIVE)
    with installed._database.admin_engine.begin() as connection:
        members.set_member(connection, organization_id, "jane", "removed", NOW)
    installed.schemas.drop(organization_id, confirm=organization_id, force=True)
    assert database.ask(
        "SELECT count(*) FROM orgtenancy.members WHERE organization_id = %s", organization_id
    ) == [(0,)]


def test_those_that_are_due_are_purged_and_no_others(
    bare_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bare_database.tenancy() as tenancy:
        tenancy.install()
        organizations = tenancy.organizations
        for n, days in enumerate((1, 2, 3, 9)):
            tenancy.schemas.provision(f"o{n}")
            organizations.archive(f"o{n}", grace=timedelta(days=days))
        tenancy.schemas.provision("open")
        assert organizations.purge_due() == []
        soon = datetime.now(UTC) + timedelta(days=5)
        assert organizations.purge_due(at=soon, limit=2) == ["o0", "o1"]
        # One whose purge was broken off comes along, whenever it was due.
        monkeypatch.setattr(purging, "drop_batches", break_off)
        with pytest.raises(KeyboardInterrupt):
            organizations.purge("o3", confirm="o3", now=True)
        monkeypatch.undo()
        assert organizations.purge_due(at=soon) == ["o2", "o3"]
        assert bare_database.schemas() == {"org_open"}


def test_one_that_was_restored_since_we_looked_keeps_no_other_from_being_purged(
    bare_database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with bare_database.tenancy() as tenancy:
        tenancy.install()
        for organization_id in ("a", "b"):
            tenancy.schemas.provision(organization_id)
            tenancy.organizations.archive(organization_id, grace=timedelta())
        due = purging.due

        def restore_one(*arguments: Any) -> Any:
            found = due(*arguments)
            tenancy.organizations.restore("a")
            return found

        monkeypatch.setattr(purging, "due", restore_one)
        assert tenancy.organizations.purge_due() == ["b"]
        assert tenancy.organizations.get("a").is_active


@pytest.mark.slow
def test_purges_and_drops_at_the_same_time_end_with_one_of_them(
    database: FreshDatabase, installed: Tenancy
) -> None:
    for _ in range(3):
        organization_id = reach(installed, S.ARCHIVED)
        organization = installed.organizations.get(organization_id)
        barrier = Barrier(4)

        def end(number: int, barrier: Barrier = barrier, i: str = organization_id) -> None:
            barrier.wait()
            try:
                if number:
                    installed.organizations.purge(i, confirm=i, now=True)
                else:
                    installed.schemas.drop(i, confirm=i)
            except OrganizationNotFound:
                pass

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(end, range(4)))
        assert organization.schema_name not in database.schemas()
        assert organization.role_name not in database.roles()
        actions = [e.action for e in history(installed, organization_id)]
        assert actions.count("purged") <= 1
        assert actions[-1] == "dropped"


def test_a_purge_that_meets_who_holds_a_table_gives_way_and_can_go_on(
    database: FreshDatabase, installed: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orgtenancy.schemas import dropping

    organization_id = reach(installed, S.ARCHIVED)
    schema = installed.organizations.get(organization_id).schema_name
    monkeypatch.setattr(waiting, "_MAX_ATTEMPTS", 2)
    monkeypatch.setattr(dropping, "_LOCK_TIMEOUT", 0.05)
    with psycopg.connect(dsn(database.admin_url)) as connection:
        connection.execute(f'SELECT FROM "{schema}".notes'.encode())
        with pytest.raises(OrganizationBusy) as caught:
            installed.organizations.purge(organization_id, confirm=organization_id, now=True)
        assert caught.value.operation == "purge"
        # Nobody waits for its row meanwhile.
        with installed._database.admin_engine.begin() as other:
            other.execute(text("SET LOCAL lock_timeout = '1s'"))
            other.execute(
                text("SELECT FROM orgtenancy.organizations WHERE id = :id FOR UPDATE"),
                {"id": organization_id},
            )
    installed.organizations.purge(organization_id, confirm=organization_id)
    assert installed.organizations.get(organization_id).status is S.PURGED
    failed = [e for e in history(installed, organization_id, done=False) if e.result == "failed"]
    assert [e.action for e in failed] == ["purged"]


def test_one_that_cannot_be_purged_does_not_keep_the_others(
    database: FreshDatabase, installed: Tenancy, caplog: pytest.LogCaptureFixture
) -> None:
    organizations = installed.organizations
    first, second = (reach(installed, S.ACTIVE) for _ in range(2))
    role = organizations.get(first).role_name
    elsewhere = f"{database.name}_elsewhere"
    database.ask(f"CREATE DATABASE {elsewhere}")
    try:
        # A role belongs to the whole server, and goes only when nothing refers to it.
        with psycopg.connect(dsn(database.admin_url.set(database=elsewhere))) as connection:
            connection.execute(
                f'CREATE SCHEMA kept; GRANT USAGE ON SCHEMA kept TO "{role}"'.encode()
            )
        for organization_id in (first, second):
            organizations.archive(organization_id, grace=timedelta())
        assert organizations.purge_due() == [second]
        assert "could not be purged" in caplog.text
        *_, failed = history(installed, first, done=False)
        assert (failed.action, failed.result) == ("purged", "failed")
        assert organizations.get(first).status is S.ARCHIVED
    finally:
        database.ask(f"DROP DATABASE {elsewhere}")
    assert organizations.purge_due() == [first]
