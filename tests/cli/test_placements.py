"""Commands over several placements: each tells its own, and one can be named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orgtenancy import embedded
from tests.cli.projects import Project
from tests.schemas.databases import FreshDatabase, fresh_database

PLACED = """


def placed():
    return Tenancy(
        os.environ["HOST_URL"],
        admin_url=os.environ["HOST_ADMIN_URL"],
        modules=[shop],
        settings=Settings(listen=False),
        placements={"eu": Placement(url=%r, admin_url=%r, max_organizations=2)},
    )
"""


@pytest.fixture
def eu(server: embedded.EmbeddedServer) -> Iterator[FreshDatabase]:
    with fresh_database(server.url, server.admin_url) as database:
        yield database


@pytest.fixture
def placed(project: Project, eu: FreshDatabase) -> Project:
    """A project with two placements, prepared."""
    file = Path(f"{project.host}.py")
    urls = [u.render_as_string(hide_password=False) for u in (eu.url, eu.admin_url)]
    text = file.read_text().replace(
        "OrganizationModule, Settings", "OrganizationModule, Placement, Settings", 1
    )
    file.write_text(text + PLACED % tuple(urls))
    project.configure(app=f"{project.host}:placed")
    project.ok("init")
    return project


@pytest.mark.slow
def test_commands_go_from_placement_to_placement_or_to_one(placed: Project) -> None:
    for name, placement in (("a", "default"), ("b", "eu")):
        made = placed.ok("org", "create", name, "--placement", placement)
        assert made["placement"] == placement
    assert [one["placement"] for one in placed.ok("org", "list")["organizations"]] == [
        "default",
        "eu",
    ]
    placed.add_revision("op.execute('CREATE TABLE more (id int)')", "op.execute('DROP TABLE more')")
    status = placed.ok("migrate", "status")
    assert {name: one["behind"] for name, one in status["placements"].items()} == {
        "default": 1,
        "eu": 1,
    }
    assert placed.ok("migrate", "status", "--placement", "eu")["behind"] == 1
    assert placed.ok("spares", "fill", "1")["placements"]["eu"] == {"made": 1, "ready": 1}
    assert placed.ok("spares", "count", "--placement", "default")["ready"] == 1
    only = placed.ok("migrate", "up", "--org", "b")["placements"]
    assert {name: one["job"]["total"] for name, one in only.items()} == {"eu": 1}
    shown = placed.run("migrate", "up")
    assert shown.stdout.splitlines() == [
        "default:",
        "job 1 (migrate) finished: 1 of 1 done",
        "eu:",
        "every schema is there already",
    ]
    jobs = placed.run("jobs", "list").stdout
    assert [line.split("\t")[0] for line in jobs.splitlines()] == ["ID", "1", "eu/1"]
    assert placed.ok("jobs", "show", "eu/1")["job"]["placement"] == "eu"
    assert placed.run("jobs", "show", "eu/x").exit_code == 2
    assert placed.run("jobs", "show", "mars/1").exit_code == 1
    assert placed.ok("jobs", "cancel", "eu/1")["job"]["status"] == "finished"
    ran = placed.ok("jobs", "run", f"{placed.host}:read")["placements"]
    assert set(ran) == {"default", "eu"}
    assert placed.ok("drift", "check", "--placement", "eu")["placement"] == "eu"
    assert set(placed.ok("drift", "repair")["placements"]) == {"default", "eu"}
    assert placed.ok("doctor", "--placement", "eu")["is_healthy"]
    unknown = placed.run("migrate", "status", "--placement", "mars")
    assert unknown.exit_code == 1
    assert "`orgtenancy placements list`" in unknown.stderr


@pytest.mark.slow
def test_what_fails_on_one_placement_ends_the_command(placed: Project, eu: FreshDatabase) -> None:
    for name, placement in (("a", "eu"), ("b", "default")):
        placed.ok("org", "create", name, "--placement", placement)
    eu.ask("CREATE TABLE org_a.more (id int)")
    placed.add_revision("op.execute('CREATE TABLE more (id int)')")
    failed = placed.run("migrate", "up")
    assert failed.exit_code == 4
    assert "`orgtenancy jobs show eu/1 --failed` tells why" in failed.stderr
    eu.ask("DROP TABLE org_a.more")
    assert placed.ok("jobs", "resume", "eu/1")["job"]["status"] == "finished"


@pytest.mark.slow
def test_placements_are_listed_added_and_drained_and_organizations_moved(placed: Project) -> None:
    for name in ("a", "b"):
        placed.ok("org", "create", name, "--placement", "eu")
    listed = placed.run("placements", "list", "--check")
    assert listed.exit_code == 3
    assert listed.stderr == "warning: eu holds 2 of at most 2 organizations\n"
    assert listed.stdout.splitlines()[2].split("\t")[:5] == ["eu", "open", "yes", "2", "2"]
    full = placed.run("org", "create", "c", "--placement", "eu")
    assert full.exit_code == 1
    assert "is full" in full.stderr
    assert placed.ok("org", "move", "a", "--to", "default")["placement"] == "default"
    for arguments in (["--to", "eu", "--undo"], []):
        assert placed.run("org", "move", "a", *arguments).exit_code == 2
    nothing = placed.run("org", "move", "a", "--resume")
    assert nothing.exit_code == 1
    assert "no move of organization 'a' was broken off" in nothing.stderr
    drained = placed.run("placements", "drain", "eu", "--workers", "1")
    assert drained.exit_code == 0, drained.output
    assert drained.stderr == "b: moved\n"
    assert drained.stdout == "1 moved, 0 failed: it is empty\n"
    assert [one["state"] for one in placed.ok("placements", "list")["placements"]] == [
        "open",
        "draining",
    ]
    placed.ok("org", "fence", "b")
    stuck = placed.run("placements", "drain", "default", "--to", "eu", "--json")
    assert stuck.exit_code == 1  # it is drained itself
    assert placed.ok("placements", "add", "eu")["state"] == "open"
    stuck = placed.run("placements", "drain", "default", "--to", "eu")
    assert stuck.exit_code == 4
    assert "move is refused" in stuck.stdout
    moved = placed.run("audit", "a").stdout
    assert "eu/" in moved
