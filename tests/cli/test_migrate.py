"""`orgtenancy migrate` and `jobs`: what they do, and how they end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url
from typer.testing import CliRunner, Result

from orgtenancy.cli.app import app
from orgtenancy.schemas.fleet.lock import PlacementLock
from tests.cli.projects import Project
from tests.schemas.databases import FreshDatabase
from tests.support.statuses import FENCED, set_status

BREAK_AT_B = """\
op.execute("DO $$ BEGIN IF current_schema() = 'org_b' THEN RAISE 'no luck'; END IF; END $$")
"""


@pytest.fixture
def fleet(installed: Project) -> Project:
    """A project with three organizations, of which two have a label."""
    installed.ok("org", "create", "a")
    for name in ("b", "c"):
        installed.ok("org", "create", name, "--attribute", "plan=beta")
    return installed


def document(result: Result) -> dict[str, dict[str, object]]:
    content: dict[str, dict[str, object]] = json.loads(result.stdout)
    return content


def test_a_fleet_is_planned_migrated_up_and_down(fleet: Project) -> None:
    fleet.add_revision("op.execute('ALTER TABLE items ADD note text')", "pass")
    assert fleet.run("migrate", "status", "--check").exit_code == 3
    [step] = fleet.ok("migrate", "plan", "--sql")["steps"]
    assert (step["from"], step["to"], step["organizations"]) == (["shop_0001"], ["shop_0002"], 3)
    assert "ALTER TABLE items ADD note text" in step["stages"][0]["sql"]
    assert "ALTER TABLE items ADD note text;" in fleet.run("migrate", "plan", "--sql").stdout
    done = fleet.ok("migrate", "up")
    assert (done["job"]["status"], done["job"]["done"]) == ("finished", 3)
    assert fleet.run("migrate", "status", "--check").exit_code == 0
    assert fleet.ok("migrate", "up") == {"job": None, "failures": []}
    assert fleet.ok("migrate", "down", "shop@-1", "--org", "b")["job"]["total"] == 1
    status = fleet.ok("migrate", "status")
    assert (status["behind"], status["organizations"]) == (1, 3)
    assert [one["is_head"] for one in fleet.ok("migrate", "history", "shop")["revisions"]] == [
        True,
        False,
    ]


def test_failures_end_with_4_are_listed_and_can_be_resumed(fleet: Project) -> None:
    revision = fleet.folder / "revisions" / f"{fleet.add_revision(BREAK_AT_B)}.py"
    failed = fleet.run("migrate", "up", "--json")
    assert failed.exit_code == 4
    assert document(failed)["job"]["failed"] == 1
    assert "b: P0001 no luck" in failed.stderr
    assert "Traceback" not in failed.stderr
    job_id = str(document(failed)["job"]["id"])
    assert f"`orgtenancy jobs show {job_id} --failed`" in failed.stderr
    [item] = fleet.ok("jobs", "show", job_id, "--failed")["items"]
    assert (item["organization_id"], item["error"]) == ("b", "P0001 no luck")
    again = fleet.run("jobs", "resume", job_id)
    assert again.exit_code == 4
    revision.write_text(revision.read_text().replace(BREAK_AT_B.strip(), "pass"))
    assert fleet.ok("jobs", "resume", job_id, "--workers", "1")["job"]["status"] == "finished"


def test_a_job_pauses_between_waves_with_6(fleet: Project) -> None:
    fleet.add_revision("pass")
    paused = fleet.run("migrate", "up", "--canary", "b", "--pause", "--json")
    assert paused.exit_code == 6
    job = document(paused)["job"]
    assert (job["status"], job["done"], job["total"]) == ("paused", 1, 3)
    assert f"`orgtenancy jobs resume {job['id']}`" in paused.stderr
    assert fleet.ok("jobs", "resume", str(job["id"]))["job"]["status"] == "finished"


WAVES = [
    (["--canary", "c", "--canary-attribute", "plan=beta"], [2, 1, 0]),
    (["--canary-attribute=plan=beta", "--canary=a"], [1, 0, 0]),
    (["--canary", "b", "--canary-percent", "100", "--canary", "a"], [1, 0, 1]),
]


def test_waves_go_in_the_order_in_which_they_are_typed(fleet: Project) -> None:
    for arguments, waves in WAVES:
        fleet.add_revision("pass")
        job_id = fleet.ok("migrate", "up", *arguments)["job"]["id"]
        items = fleet.ok("jobs", "show", str(job_id))["items"]
        by_id = {item["organization_id"]: item["wave"] for item in items}
        assert [by_id[name] for name in "abc"] == waves


@pytest.mark.parametrize(
    "arguments",
    [
        ["--canary-percent", "200"],
        ["--canary-percent", "some"],
        ["--canary", "no/id"],
        ["--canary-attribute", "beta"],
        ["--lock-timeout", "0"],
    ],
)
def test_options_that_cannot_be_are_usage_errors(folder: Path, arguments: Sequence[str]) -> None:
    result = CliRunner().invoke(app, ["migrate", "up", *arguments])
    assert result.exit_code == 2
    assert "no tenancy" not in result.stderr


def test_a_placement_that_somebody_works_on_ends_with_5(fleet: Project) -> None:
    fleet.add_revision("pass")
    url = make_url(fleet.environment["HOST_ADMIN_URL"])
    lock = PlacementLock(url, "default", connect_timeout=5)
    assert lock.acquire()
    try:
        result = fleet.run("migrate", "up", "--json")
    finally:
        lock.release()
    assert result.exit_code == 5
    assert document(result)["error"]["code"] == "job_locked"
    assert "`orgtenancy jobs cancel" in result.stderr
    assert fleet.ok("migrate", "up")["job"]["status"] == "finished"


def test_a_function_is_run_for_each_organization(fleet: Project) -> None:
    assert fleet.ok("jobs", "run", f"{fleet.host}:write", "--org", "a")["job"]["done"] == 1
    failed = fleet.run("jobs", "run", f"{fleet.host}:fail_at_b", "--json")
    assert failed.exit_code == 4
    [failure] = json.loads(failed.stdout)["failures"]
    assert "no luck" in failure["error"]
    with psycopg.connect(fleet.dsn) as connection:
        assert connection.execute("SELECT count(*) FROM org_a.items").fetchall() == [(1,)]
        assert connection.execute("SELECT count(*) FROM org_b.items").fetchall() == [(0,)]
    assert [job["kind"] for job in fleet.ok("jobs", "list")["jobs"]] == [
        f"{fleet.host}:fail_at_b",
        f"{fleet.host}:write",
    ]


def test_a_job_that_nobody_runs_is_cancelled(fleet: Project) -> None:
    fleet.add_revision("pass")
    job_id = str(
        document(fleet.run("migrate", "up", "--canary", "a", "--pause", "--json"))["job"]["id"]
    )
    assert fleet.ok("jobs", "cancel", job_id)["job"]["status"] == "cancelled"


def test_a_schema_at_a_revision_that_no_file_has_needs_attention(fleet: Project) -> None:
    gone = fleet.folder / "revisions" / f"{fleet.add_revision('pass')}.py"
    fleet.ok("migrate", "up", "--org", "a")
    gone.unlink()
    result = fleet.run("migrate", "plan", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["steps"][0]["revisions"] is None


def test_what_is_fenced_is_told_and_counted_as_behind(
    fleet: Project, database: FreshDatabase
) -> None:
    set_status(database, "b", FENCED)
    fleet.add_revision("op.execute('ALTER TABLE items ADD note text')", "pass")
    done = fleet.run("migrate", "up", "--json")
    assert (done.exit_code, document(done)["job"]["done"]) == (0, 2)
    assert "left alone, as they are fenced: 1 organizations" in done.stderr
    status = fleet.run("migrate", "status", "--check", "--json")
    assert status.exit_code == 3
    counts = json.loads(status.stdout)
    assert (counts["behind"], counts["fenced"]) == (1, 1)
    assert "1 of 3 organizations are not at the heads, and 1 of those are fenced" in (
        fleet.run("migrate", "status").stdout
    )
    again = fleet.run("migrate", "up")
    assert again.stdout == "every schema is there already\n"
    assert "left alone" in again.stderr
