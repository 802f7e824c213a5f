"""`orgtenancy org suspend` and its like, and `audit`: what they do, and how they end."""

from __future__ import annotations

import getpass
import json
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from typer.testing import Result

from tests.cli.projects import Project
from tests.schemas.databases import FreshDatabase, dsn
from tests.support.statuses import ARCHIVED, is_open, set_status

pytestmark = pytest.mark.slow

ORIGIN = f"cli:{getpass.getuser()}@{socket.gethostname()}"
LATER = timedelta(days=7)


@pytest.fixture
def acme(installed: Project) -> Project:
    """A project with one organization."""
    installed.ok("org", "create", "acme")
    return installed


def error(result: Result) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(result.stdout)
    found: dict[str, Any] = document["error"]
    return found


def test_an_organization_is_suspended_with_a_reason_and_resumed(
    acme: Project, database: FreshDatabase
) -> None:
    suspended = acme.ok("org", "suspend", "acme", "--reason", "unpaid", "--wait", "5")
    assert (suspended["status"], suspended["status_reason"]) == ("suspended", "unpaid")
    assert not is_open(database, "acme")
    assert acme.ok("org", "list", "--status", "suspended")["organizations"] == [suspended]
    assert acme.ok("org", "resume", "acme")["status"] == "active"
    assert is_open(database, "acme")


def test_an_organization_is_fenced_and_unfenced(acme: Project, database: FreshDatabase) -> None:
    fenced = acme.ok("org", "fence", "acme", "--reason", "it moves")
    assert (fenced["status"], fenced["status_reason"]) == ("fenced", "it moves")
    assert not is_open(database, "acme")
    assert acme.ok("org", "unfence", "acme")["status"] == "active"
    assert is_open(database, "acme")


def test_an_archived_organization_comes_back_as_what_it_was(acme: Project) -> None:
    acme.ok("org", "suspend", "acme")
    before = datetime.now(UTC)
    archived = acme.ok("org", "archive", "acme", "--reason", "left us", "--grace", "7")
    assert (archived["status"], archived["status_reason"]) == ("archived", "left us")
    ends = datetime.fromisoformat(archived["purge_after"])
    assert before + LATER <= ends <= datetime.now(UTC) + LATER
    assert acme.ok("org", "restore", "acme")["status"] == "suspended"


def test_a_purge_waits_for_the_end_of_the_grace_period_and_for_the_id(acme: Project) -> None:
    acme.ok("org", "archive", "acme")
    assert acme.ok("org", "list", "--due") == {"organizations": []}
    early = acme.run("org", "purge", "acme", "--confirm", "acme", "--json")
    assert (early.exit_code, error(early)["code"]) == (1, "purge_refused")
    assert error(early)["purge_after"]
    assert "`orgtenancy org purge acme --confirm acme --now`" in error(early)["next_step"]
    other = acme.run("org", "purge", "acme", "--confirm", "globex", "--now", "--json")
    assert (other.exit_code, error(other)["code"]) == (1, "purge_refused")
    assert error(other)["next_step"] == "`orgtenancy org purge acme --confirm acme`"
    now = acme.ok("org", "purge", "acme", "--confirm", "acme", "--now")
    assert now == {"purged": ["acme"]}
    assert acme.ok("org", "show", "acme")["status"] == "purged"


def test_what_is_due_is_listed_and_purged_together(acme: Project, database: FreshDatabase) -> None:
    for name in ("globex", "initech"):
        acme.ok("org", "create", name)
    over = datetime.now(UTC) - timedelta(minutes=1)
    for name in ("globex", "initech"):
        set_status(database, name, ARCHIVED, purge_after=over)
    set_status(database, "acme", ARCHIVED)
    listed = acme.ok("org", "list", "--due")["organizations"]
    assert [one["id"] for one in listed] == ["globex", "initech"]
    assert len(acme.ok("org", "purge-due", "--limit", "1")["purged"]) == 1
    assert len(acme.ok("org", "purge-due")["purged"]) == 1
    assert acme.run("org", "purge-due").stdout == "no purge is due\n"
    assert acme.run("org", "list", "--due", "--status", "active").exit_code == 2


def test_an_organization_gets_another_id(acme: Project) -> None:
    changed = acme.ok("org", "change-id", "acme", "acme-2")
    assert (changed["id"], changed["schema_name"]) == ("acme-2", "org_acme-2")
    assert acme.run("org", "show", "acme").exit_code == 1
    acme.ok("org", "create", "acme")
    taken = acme.run("org", "change-id", "acme", "acme-2", "--json")
    assert (taken.exit_code, error(taken)["code"]) == (1, "organization_exists")


def test_what_a_status_does_not_allow_ends_with_1_and_the_next_step(acme: Project) -> None:
    acme.ok("org", "fence", "acme")
    refused = acme.run("org", "archive", "acme", "--json")
    assert refused.exit_code == 1
    told = error(refused)
    assert (told["code"], told["operation"]) == ("transition_refused", "archive")
    assert (told["organization_id"], told["status"]) == ("acme", "fenced")
    assert told["next_step"] == "`orgtenancy org unfence acme` has to come first"
    assert told["next_step"] in refused.stderr


def test_what_others_hold_ends_with_5_and_is_left_as_it_was(
    acme: Project, database: FreshDatabase
) -> None:
    with psycopg.connect(dsn(database.admin_url)) as other:
        other.execute("SELECT FROM orgtenancy.organizations WHERE id = 'acme' FOR UPDATE")
        busy = acme.run("org", "suspend", "acme", "--json", ORGTENANCY_LIFECYCLE_LOCK_TIMEOUT="0.1")
    assert (busy.exit_code, error(busy)["code"]) == (5, "organization_busy")
    assert acme.ok("org", "show", "acme")["status"] == "active"


def test_a_fence_that_somebody_still_writes_through_ends_with_5_and_stands(
    acme: Project, database: FreshDatabase
) -> None:
    with psycopg.connect(dsn(database.admin_url)) as writer:
        writer.execute("INSERT INTO org_acme.items VALUES (1)")
        busy = acme.run("org", "fence", "acme", "--wait", "0.1", "--json")
        assert (busy.exit_code, error(busy)["code"]) == (5, "organization_busy")
        assert acme.ok("org", "show", "acme")["status"] == "fenced"
    assert acme.ok("org", "fence", "acme")["status"] == "fenced"


def test_the_audit_tells_who_did_what_from_which_machine(acme: Project) -> None:
    acme.ok("org", "suspend", "acme")
    acme.run("org", "fence", "acme")
    acme.ok("org", "create", "globex")
    found = acme.ok("audit", "acme")["entries"]
    assert [(one["action"], one["result"]) for one in found[1:]] == [
        ("suspended", "done"),
        ("provisioned", "done"),
    ]
    assert found[0]["result"] == "refused"
    assert {(one["actor_id"], one["origin"]) for one in found} == {(None, ORIGIN)}
    assert [one["organization_id"] for one in acme.ok("audit", "--limit", "1")["entries"]] == [
        "globex"
    ]
    assert acme.ok("audit", "--actor", "nobody") == {"entries": []}


def test_the_audit_is_filtered_by_action_and_time_over_all_pages(
    acme: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orgtenancy.cli.audit.MAX_PAGE_SIZE", 2)
    for _ in range(3):
        acme.ok("org", "suspend", "acme")
        acme.ok("org", "resume", "acme")
    assert len(acme.ok("audit")["entries"]) == 7
    assert len(acme.ok("audit", "--limit", "5")["entries"]) == 5
    assert len(acme.ok("audit", "--action", "suspended")["entries"]) == 3
    for since, number in (("2020-01-01", 7), ("2999-01-01T00:00:00+02:00", 0)):
        assert len(acme.ok("audit", "--since", since)["entries"]) == number
    assert acme.run("audit", "--since", "yesterday").exit_code == 2
    lines = acme.run("audit", "--limit", "1").stdout.splitlines()
    assert lines[0].split("\t")[:3] == ["ID", "WHEN", "ACTION"]
