"""Rights that do not fit an organization's status are drift, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from orgtenancy import OrganizationStatus, Tenancy
from orgtenancy.schemas.drift import DriftReport, FindingKind
from tests.schemas.databases import FreshDatabase
from tests.support.statuses import (
    ACTIVE,
    ARCHIVED,
    CLOSED,
    FENCED,
    SUSPENDED,
    is_open,
    set_status,
)

pytestmark = pytest.mark.slow

SPOIL: dict[str, str] = {
    "closed": "GRANT USAGE ON SCHEMA org_acme TO {role}",
    "open": "REVOKE USAGE ON SCHEMA org_acme FROM {role}",
}


def differences(report: DriftReport) -> list[str]:
    return [str(difference) for one in report.schemas for difference in one.differences]


def spoil(database: FreshDatabase, tenancy: Tenancy, how: str) -> None:
    """Give or take the rights behind the registry's back."""
    role = tenancy.schemas.builder.grantee(tenancy.schemas.get("acme").role_name)
    database.ask(SPOIL[how].format(role=role))


def test_what_is_closed_as_its_status_says_is_clean(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    installed.schemas.spares.fill(1)
    for status in (ACTIVE, *CLOSED):
        installed.schemas.provision(str(status))
        if status is not ACTIVE:
            set_status(bare_database, str(status), status)
    report = installed.schemas.drift()
    assert (report.checked, differences(report), report.findings) == (4, [], ())
    for status in CLOSED:
        set_status(bare_database, str(status), ACTIVE)
    assert installed.schemas.drift().is_clean, "as it was before"


@pytest.mark.parametrize("level", ["role", "search_path"])
@pytest.mark.parametrize("status", [*CLOSED, ACTIVE])
def test_rights_that_do_not_fit_the_status_are_found_and_mended(
    bare_database: FreshDatabase, status: OrganizationStatus, level: str
) -> None:
    with bare_database.tenancy(isolation=level) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        if status is not ACTIVE:
            set_status(bare_database, "acme", status)
        spoil(bare_database, tenancy, "open" if status is ACTIVE else "closed")
        report = tenancy.schemas.drift()
        expected, actual = "$role: USAGE", "no $role"
        if status is not ACTIVE:
            expected, actual = actual, expected
        assert differences(report) == [
            f"grants on schema : different: expected {expected}; is {actual}"
        ]
        plan = tenancy.schemas.repair_plan(report)
        assert ("GRANT" if status is ACTIVE else "REVOKE") in plan.sql()
        assert not plan.is_destructive
        repaired = tenancy.schemas.repair(plan)
        assert (repaired.repaired, repaired.failed) == (("acme",), {})
        assert is_open(bare_database, "acme") == (status is ACTIVE)
        assert tenancy.schemas.drift().is_clean


def test_other_drift_of_what_is_closed_is_found_and_mended_and_it_stays_closed(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    installed.schemas.provision("acme")
    for status in (SUSPENDED, ARCHIVED):
        set_status(bare_database, "acme", status)
        bare_database.ask("DROP INDEX org_acme.notes_body_idx")
        report = installed.schemas.drift()
        assert [one.split(":")[0] for one in differences(report)] == ["index notes_body_idx"]
        assert installed.schemas.repair(installed.schemas.repair_plan(report)).is_clean
        assert not is_open(bare_database, "acme")


def test_of_what_is_fenced_nothing_is_mended_but_the_fence(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    installed.schemas.provision("acme")
    set_status(bare_database, "acme", FENCED)
    bare_database.ask(
        "DROP INDEX org_acme.notes_body_idx; "
        "UPDATE org_acme.alembic_version SET version_num = 'gone'"
    )
    spoil(bare_database, installed, "closed")
    plan = installed.schemas.repair_plan(installed.schemas.drift())
    (schema,) = plan.schemas
    assert [step.difference.object_kind for step in schema.steps] == ["grants on schema"]
    assert {(left.difference.object_kind, left.reason) for left in schema.unrepaired} == {
        ("index", "the organization is fenced"),
        ("stamps", "the organization is fenced"),
    }
    repaired = installed.schemas.repair(plan)
    assert (repaired.failed, repaired.repaired) == ({}, ())
    assert [one.split(":")[0] for one in differences(repaired.drift)] == ["index notes_body_idx"]
    assert not is_open(bare_database, "acme")


def test_what_is_purged_or_half_way_there_is_not_looked_at(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    installed.schemas.provision("acme")
    installed.schemas.provision("globex")
    set_status(bare_database, "acme", ARCHIVED, purge_started=True)
    bare_database.ask("DROP TABLE org_acme.notes")
    report = installed.schemas.drift()
    assert (report.is_clean, report.checked, report.findings) == (True, 1, ())
    assert installed.schemas.drift(["acme"]).checked == 0
    role = installed.schemas.get("acme").role_name
    bare_database.ask(
        f"DROP SCHEMA org_acme CASCADE; DROP OWNED BY {role}; DROP ROLE {role}; "
        "UPDATE orgtenancy.organizations SET status = 'purged' WHERE id = 'acme'"
    )
    assert installed.schemas.drift() == report


@pytest.mark.parametrize(
    ("before", "after", "spoiled"),
    [(ACTIVE, SUSPENDED, "open"), (SUSPENDED, ACTIVE, "closed"), (SUSPENDED, FENCED, "closed")],
)
def test_a_plan_is_not_run_when_the_status_is_another_than_it_was_made_for(
    bare_database: FreshDatabase,
    installed: Tenancy,
    before: OrganizationStatus,
    after: OrganizationStatus,
    spoiled: str,
) -> None:
    installed.schemas.provision("acme")
    if before is not ACTIVE:
        set_status(bare_database, "acme", before)
    spoil(bare_database, installed, spoiled)
    plan = installed.schemas.repair_plan(installed.schemas.drift())
    set_status(bare_database, "acme", after)
    repaired = installed.schemas.repair(plan)
    message = f"the organization was {before} when this was planned, and is {after}"
    assert message in repaired.failed["acme"]
    assert is_open(bare_database, "acme") == (after is ACTIVE)
    assert installed.schemas.drift().is_clean


def during_the_check(tenancy: Tenancy, *hooks: tuple[str, Callable[[], object]]) -> None:
    """Do something before the statements of the next check that hold a word, each once."""
    left = list(hooks)

    def hook(conn: object, cursor: object, statement: str, *rest: Any) -> None:
        if left and left[0][0] in statement:
            left.pop(0)[1]()

    event.listen(tenancy.schemas.builder.database.admin_engine, "before_cursor_execute", hook)


def test_an_organization_that_is_closed_during_the_check_is_no_drift(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    installed.schemas.provision("acme")
    during_the_check(
        installed, ("hashtextextended", lambda: set_status(bare_database, "acme", SUSPENDED))
    )
    report = installed.schemas.drift()
    assert report.schemas == ()
    assert [finding.kind for finding in report.findings] == [FindingKind.CHANGED_MEANWHILE]
    assert installed.schemas.drift().findings == ()


def test_a_fence_of_a_moment_during_the_check_is_no_drift(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    installed.schemas.provision("acme")
    during_the_check(
        installed,
        ("hashtextextended", lambda: set_status(bare_database, "acme", FENCED)),
        # Before the registry is asked once more.
        ("is_late", lambda: set_status(bare_database, "acme", ACTIVE)),
    )
    report = installed.schemas.drift()
    assert report.schemas == ()
    assert [finding.kind for finding in report.findings] == [FindingKind.CHANGED_MEANWHILE]
