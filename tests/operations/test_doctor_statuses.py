"""What the doctor finds where rights do not fit a status, or a purge waits for somebody."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orgtenancy import OrganizationStatus, Tenancy
from orgtenancy.operations.doctor import Finding, Level, examine
from tests.schemas.databases import FreshDatabase
from tests.support.statuses import ARCHIVED, CLOSED, SUSPENDED, set_status

pytestmark = pytest.mark.slow


def found(tenancy: Tenancy, check: str) -> list[tuple[Level, str]]:
    findings: list[Finding] = list(examine(tenancy).findings)
    return [(one.level, one.message) for one in findings if one.check == check]


@pytest.mark.parametrize("status", CLOSED)
def test_what_is_closed_and_can_still_be_used_is_a_problem(
    installed: Tenancy, database: FreshDatabase, status: OrganizationStatus
) -> None:
    set_status(database, "a", status)
    assert found(installed, "rights by status")[0][0] is Level.OK
    database.ask(f"GRANT USAGE ON SCHEMA org_a TO {installed.schemas.get('a').role_name}")
    assert found(installed, "rights by status") == [
        (Level.PROBLEM, f"their roles may still use the schemas of a ({status})")
    ]


def test_what_is_closed_and_open_to_everybody_is_a_problem(
    installed: Tenancy, database: FreshDatabase
) -> None:
    set_status(database, "a", SUSPENDED)
    database.ask("GRANT USAGE ON SCHEMA org_a TO PUBLIC")
    ((level, message),) = found(installed, "rights by status")
    assert (level, "a (suspended)" in message) == (Level.PROBLEM, True)


def test_what_is_active_and_shut_is_a_problem(installed: Tenancy, database: FreshDatabase) -> None:
    database.ask(f"REVOKE USAGE ON SCHEMA org_a FROM {installed.schemas.get('a').role_name}")
    assert found(installed, "rights by status") == [
        (Level.PROBLEM, "active, and shut out of their schemas: a")
    ]


def test_without_roles_it_is_the_rights_of_the_login_that_count(database: FreshDatabase) -> None:
    with database.tenancy(isolation="search_path") as tenancy:
        tenancy.install()
        for name in ("a", "b", "c"):
            tenancy.schemas.provision(name)
        set_status(database, "a", SUSPENDED)
        set_status(database, "b", SUSPENDED)
        database.ask(f"GRANT USAGE ON SCHEMA org_b TO {database.url.username}")
        assert found(tenancy, "rights by status") == [
            (Level.PROBLEM, "their roles may still use the schemas of b (suspended)")
        ]


def test_purges_that_are_due_or_were_begun_are_warnings(
    installed: Tenancy, database: FreshDatabase
) -> None:
    set_status(database, "a", ARCHIVED)
    assert found(installed, "purges") == [(Level.OK, "none is due, and none was left half-way")]
    set_status(database, "a", ARCHIVED, purge_after=datetime.now(UTC) - timedelta(seconds=1))
    assert found(installed, "purges") == [
        (Level.WARNING, "1 archived organizations are past their grace period: a")
    ]
    set_status(database, "b", ARCHIVED, purge_started=True)
    assert found(installed, "purges") == [
        (Level.WARNING, "begun and not finished, unless somebody is at it now: b"),
        (Level.WARNING, "1 archived organizations are past their grace period: a"),
    ]


def test_a_purged_organization_is_no_finding(installed: Tenancy, database: FreshDatabase) -> None:
    role = installed.schemas.get("a").role_name
    set_status(database, "a", ARCHIVED, purge_started=True)
    database.ask(
        f"DROP SCHEMA org_a CASCADE; DROP OWNED BY {role}; DROP ROLE {role}; "
        "UPDATE orgtenancy.organizations SET status = 'purged', purge_after = NULL WHERE id = 'a'"
    )
    for check in ("rights by status", "purges"):
        assert [level for level, _ in found(installed, check)] == [Level.OK], check


def test_organizations_that_are_behind_because_they_are_fenced_are_told(
    installed: Tenancy, database: FreshDatabase
) -> None:
    set_status(database, "a", OrganizationStatus.FENCED)
    database.ask("UPDATE orgtenancy.organizations SET revisions = '{}' WHERE id = 'a'")
    assert found(installed, "revisions") == [
        (Level.WARNING, "1 of 2 organizations are not at the heads, and 1 of those are fenced")
    ]
