"""`orgtenancy logto sync`: what it shows, what it does, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import Result

from orgtenancy.testing import FakeLogto
from tests.cli.logto import lead_to
from tests.cli.projects import Project
from tests.schemas.databases import FreshDatabase

pytestmark = pytest.mark.slow


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLogto]:
    with FakeLogto() as fake:
        lead_to(fake, monkeypatch)
        yield fake


def document(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def statuses(project: Project) -> dict[str, str]:
    return {one["id"]: one["status"] for one in project.ok("org", "list")["organizations"]}


def test_a_dry_run_with_differences_ends_with_3_and_does_nothing(
    installed: Project, fake: FakeLogto
) -> None:
    assert installed.run("logto", "sync", "--dry-run").exit_code == 0
    made = fake.data.create_organization("Acme")
    found = installed.run("logto", "sync", "--dry-run", "--json")
    assert found.exit_code == 3
    assert document(found)["is_applied"] is False
    (item,) = document(found)["plan"]["items"]
    assert (item["action"], item["organization_id"], item["name"]) == ("provision", made, "Acme")
    assert statuses(installed) == {}
    assert installed.ok("audit")["entries"] == []


def test_it_does_what_a_dry_run_shows(installed: Project, fake: FakeLogto) -> None:
    made = fake.data.create_organization("Acme")
    assert installed.ok("logto", "sync")["done"] == {"provision": 1}
    assert statuses(installed) == {made: "active"}
    assert installed.ok("logto", "sync")["done"] == {}
    newest, *_ = installed.ok("audit", "--action", "logto.sync")["entries"]
    assert newest["origin"] == "logto:sync"


def test_it_tells_people_what_it_did(installed: Project, fake: FakeLogto) -> None:
    made = fake.data.create_organization("Acme")
    fake.data.create_organization("Odd", organization_id="odd.id")
    shown = installed.run("logto", "sync")
    header, row, left, summary = shown.stdout.splitlines()
    assert header.split("\t") == ["ACTION", "ORGANIZATION", "MEMBER", "DETAILS"]
    assert row.split("\t") == ["provision", made, "", "Acme"]
    assert left.startswith("left alone: odd.id: ")
    assert summary == "2 organizations in Logto; done: provision 1"
    again = installed.run("logto", "sync", "--dry-run")
    assert again.stdout.splitlines()[-1] == "2 organizations in Logto; to do: nothing"


def test_members_are_read_where_that_is_asked_for(
    installed: Project, fake: FakeLogto, database: FreshDatabase
) -> None:
    made = fake.data.create_organization("Acme")
    user = fake.data.create_user("alice")
    fake.data.add_members(made, [user])
    assert installed.ok("logto", "sync")["done"] == {"provision": 1}
    assert installed.ok("logto", "sync", "--members")["done"] == {"add_member": 1}
    found = database.ask("SELECT actor_id, status FROM orgtenancy.members")
    assert found == [(user, "active")]
    fake.data.remove_member(made, user)
    changed = installed.run(
        "logto", "sync", "--no-members", "--json", ORGTENANCY_LOGTO_SYNC_MEMBERS="true"
    )
    assert document(changed)["done"] == {}


def test_labels_are_taken_over_by_a_function(installed: Project, fake: FakeLogto) -> None:
    made = fake.data.create_organization("Acme", custom_data={"plan": "pro"})
    module = f"{installed.host}_labels"
    content = "def labels(data):\n    return data['customData']\n"
    (installed.folder / f"{module}.py").write_text(content)
    installed.ok("logto", "sync", "--attributes", f"{module}:labels")
    assert installed.ok("org", "show", made)["attributes"] == {"plan": "pro"}


def test_more_than_allowed_ends_with_3_and_changes_nothing(
    installed: Project, fake: FakeLogto
) -> None:
    stays, *gone = [fake.data.create_organization(f"Acme {n}") for n in range(3)]
    installed.ok("logto", "sync")
    for key in gone:
        fake.data.delete_organization(key)
    for options in ([], ["--dry-run"]):
        refused = installed.run("logto", "sync", "--max-archived", "1", "--json", *options)
        assert refused.exit_code == 3
        error = document(refused)["error"]
        assert (error["code"], set(error["would_archive"])) == ("sync_refused", set(gone))
        assert "--max-archived" in error["next_step"]
    assert set(statuses(installed).values()) == {"active"}
    assert installed.ok("logto", "sync", "--max-archived", "2")["done"] == {"archive": 2}
    assert statuses(installed) == {stays: "active", gone[0]: "archived", gone[1]: "archived"}


def test_what_could_not_be_done_ends_with_1(
    installed: Project, fake: FakeLogto, database: FreshDatabase
) -> None:
    fake.data.create_organization("Acme", organization_id="acme")
    fake.data.create_organization("Globex", organization_id="globex")
    database.ask('CREATE SCHEMA "org_acme"')
    found = installed.run("logto", "sync", "--json")
    assert found.exit_code == 1
    assert document(found)["done"] == {"provision": 1}
    (failure,) = document(found)["failures"]
    assert (failure["organization_id"], failure["code"]) == ("acme", "provisioning_failed")
    assert "failed: provision of acme: " in installed.run("logto", "sync").stdout


def test_members_that_could_not_be_read_end_with_1(installed: Project, fake: FakeLogto) -> None:
    fake.data.create_organization("Acme", organization_id="acme")
    fake.fail_next(403, 2, path="/api/organizations/acme/users")
    shown = installed.run("logto", "sync", "--members", "--dry-run")
    assert shown.exit_code == 1
    assert "left alone: acme: its members cannot be read" in shown.stdout
    assert "failed: read_members of acme: Logto does not let us read" in shown.stdout
    found = installed.run("logto", "sync", "--members", "--json")
    assert (found.exit_code, document(found)["done"]) == (1, {"provision": 1})
    assert installed.ok("logto", "sync", "--members")["failures"] == []


def test_a_logto_that_does_not_let_us_in_is_one_line(installed: Project, fake: FakeLogto) -> None:
    refused = installed.run("logto", "sync", "--json", ORGTENANCY_LOGTO_CLIENT_SECRET="wrong")
    told = document(refused)["error"]
    assert (refused.exit_code, told["code"]) == (1, "identity_provider_refused")
    assert len(refused.stderr.splitlines()) == 1


def test_a_setting_that_cannot_work_is_told_by_its_variable(
    installed: Project, fake: FakeLogto
) -> None:
    wrong = installed.run("logto", "sync", "--json", ORGTENANCY_LOGTO_PAGE_SIZE="1000")
    told = document(wrong)["error"]
    assert (wrong.exit_code, told["code"]) == (1, "configuration")
    assert told["message"].startswith("ORGTENANCY_LOGTO_PAGE_SIZE: ")
