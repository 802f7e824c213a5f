"""SIGKILL at every statement of every operation, before it is sent and after."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from orgtenancy import OrganizationStatus, Tenancy
from orgtenancy.errors import OrganizationNotFound
from orgtenancy.organizations import LIFECYCLE
from tests.lifecycle.worlds import (
    CALLS,
    S,
    assert_consistent,
    count_notes,
    history,
    may_enter,
    reach,
    write,
)
from tests.registry.worker import Dialogue, dialogue
from tests.schemas.databases import FreshDatabase

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
]


@pytest.fixture
def killing(database: FreshDatabase) -> Iterator[Dialogue]:
    urls = [u.render_as_string(hide_password=False) for u in (database.url, database.admin_url)]
    with dialogue("tests.schemas.killing", *urls) as process:
        yield process


def points(killing: Dialogue, job: str, organization_id: str) -> int:
    killing.say(f"{job} {organization_id} 0")
    return int(killing.hear())


@pytest.mark.parametrize(
    ("operation", "source"),
    [
        ("suspend", S.ACTIVE),
        ("resume", S.SUSPENDED),
        ("fence", S.ACTIVE),
        ("unfence", S.FENCED),
        ("archive", S.ACTIVE),
        ("archive", S.SUSPENDED),
        ("restore", S.ARCHIVED),
    ],
)
def test_killed_anywhere_status_rights_and_audit_agree_and_the_next_call_ends_well(
    database: FreshDatabase,
    installed: Tenancy,
    killing: Dialogue,
    operation: str,
    source: OrganizationStatus,
) -> None:
    count = points(killing, operation, reach(installed, source))
    assert count > 8  # lock, rights, row, audit, commit: two points each
    ids = [reach(installed, source) for _ in range(count)]
    for n, organization_id in enumerate(ids, 1):
        killing.say(f"{operation} {organization_id} {n}")
        assert killing.hear() == "killed"
    database.wait_until_idle()
    seen = []
    for organization_id in ids:
        assert_consistent(database, installed, organization_id)
        seen.append(installed.organizations.get(organization_id).status)
        CALLS[operation](installed.organizations, organization_id)
        assert_consistent(database, installed, organization_id)
        status = installed.organizations.get(organization_id).status
        assert status in LIFECYCLE[operation].targets
    # Before the commit nothing is done, and after it all of it.
    assert set(seen) == {source, status}
    assert seen == sorted(seen, key=lambda s: s is not source)


def test_a_purge_killed_anywhere_is_finished_by_the_next_call(
    database: FreshDatabase, installed: Tenancy, killing: Dialogue
) -> None:
    count = points(killing, "purge", reach(installed, S.ARCHIVED))
    assert count > 40
    ids = [reach(installed, S.ARCHIVED) for _ in range(count)]
    for n, organization_id in enumerate(ids, 1):
        killing.say(f"purge {organization_id} {n}")
        assert killing.hear() == "killed"
    database.wait_until_idle()
    progress = []
    for organization_id in ids:
        organization = installed.organizations.get(organization_id)
        assert not may_enter(database, organization)
        actions = [e.action for e in history(installed, organization_id)]
        progress.append(actions[2:])
        there = organization.schema_name in database.schemas()
        assert there == (organization.role_name in database.roles())
        assert there == (organization.status is S.ARCHIVED) == ("purged" not in actions)
        CALLS["purge"](installed.organizations, organization_id)
        assert installed.organizations.get(organization_id).status is S.PURGED
        assert organization.schema_name not in database.schemas()
        assert organization.role_name not in database.roles()
        done = [e.action for e in history(installed, organization_id)]
        assert done == ["provisioned", "archived", "purge_started", "purged"]
    assert progress == sorted(progress, key=len)
    assert {len(steps) for steps in progress} == {0, 1, 2}


def test_a_change_of_id_killed_anywhere_is_done_or_not(
    database: FreshDatabase, installed: Tenancy, killing: Dialogue
) -> None:
    count = points(killing, "change_id", reach(installed, S.ACTIVE))
    assert count > 12
    ids = [reach(installed, S.ACTIVE) for _ in range(count)]
    for organization_id in ids:
        write(installed, organization_id)
    for n, organization_id in enumerate(ids, 1):
        killing.say(f"change_id {organization_id} {n}")
        assert killing.hear() == "killed"
    database.wait_until_idle()
    installed._directory.clear()
    for organization_id in ids:
        try:
            known = installed.organizations.get(organization_id)
            assert [e.action for e in history(installed, organization_id)] == ["provisioned"]
        except OrganizationNotFound:
            known = installed.organizations.get(f"{organization_id}-new")
            assert [e.action for e in history(installed, known.id)] == ["id_changed"]
        assert known.schema_name == f"org_{known.id}"
        write(installed, known.id, 2)
        assert count_notes(database, known) == 2
