"""What every command keeps: one JSON document, exit codes, one line for an error, docs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer.main

from orgtenancy import embedded
from orgtenancy.cli.app import app
from orgtenancy.testing import FakeLogto
from tests.cli.logto import lead_to
from tests.cli.projects import Project
from tests.cli.walking import commands, options
from tests.schemas.databases import fresh_database
from tests.support.statuses import ARCHIVED, set_status

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"

# How each command is called here, and how it may end. A new one has to be added.
CALLS: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
    "init": ((), (0,)),
    "org create": (("made",), (0,)),
    "org list": ((), (0,)),
    "org show": (("acme",), (0,)),
    "org rename": (("acme", "Acme"), (0,)),
    "org change-id": (("mover", "mover-2"), (0,)),
    "org suspend": (("guest", "--reason", "unpaid"), (0,)),
    "org resume": (("guest",), (0,)),
    "org fence": (("moved", "--wait", "5"), (0,)),
    "org unfence": (("moved",), (0,)),
    # It is there.
    "org move": (("acme", "--to", "default"), (0,)),
    "org archive": (("leaver", "--grace", "7"), (0,)),
    "org restore": (("returner",), (0,)),
    "org purge": (("gone", "--confirm", "gone"), (0,)),
    "org purge-due": ((), (0,)),
    "org drop": (("victim", "--confirm", "victim", "--force"), (0,)),
    "placements list": (("--check",), (0,)),
    # There is no other for them.
    "placements drain": (("default",), (4,)),
    "placements add": (("default",), (0,)),
    "migrate plan": ((), (0,)),
    "migrate up": ((), (0,)),
    "migrate down": (("shop@base",), (0,)),
    "migrate status": (("--check",), (0, 3)),
    "migrate history": ((), (0,)),
    "spares fill": (("1",), (0,)),
    "spares count": ((), (0,)),
    "spares discard": ((), (0,)),
    "jobs list": ((), (0,)),
    "jobs show": (("1",), (0,)),
    "jobs resume": (("1",), (0,)),
    "jobs cancel": (("1",), (0,)),
    "jobs run": (("HOST:read",), (0,)),
    "adopt plan": (("adopt.toml",), (0,)),
    "adopt run": (("adopt.toml", "--workers", "1"), (0,)),
    "adopt switch": (("adopt.toml", "--keep-fenced"), (0,)),
    "adopt verify": (("adopt.toml",), (0,)),
    # They depend on what ran before.
    "adopt revert": (("adopt.toml", "shared-1"), (0, 1)),
    "adopt finish": (("adopt.toml",), (0, 1)),
    "drift check": ((), (0, 3)),
    "drift repair": ((), (0, 3)),
    "backup create": (("acme", "acme.tar"), (0,)),
    "backup verify": (("kept.tar",), (0,)),
    "backup list": (("backups",), (0,)),
    "backup all": (("backups", "--keep", "3"), (0,)),
    "backup key": ((), (0,)),
    "restore": (("kept.tar", "--as", "copy"), (0,)),
    "export": (("acme", "exported"), (0,)),
    "erase": (("acme", "ann", "--confirm", "acme"), (0,)),
    "logto sync": (("--dry-run",), (0, 3)),
    "logto worker": (("--once",), (0,)),
    "logto inbox": (("--failed",), (0,)),
    "audit": (("acme", "--limit", "5"), (0,)),
    "doctor": ((), (0,)),
    "openapi": ((), (0,)),
    # Nothing was planted, so nothing is proven.
    "prove": (("--own-only", "--callable", "HOST:read"), (1,)),
    "query": (("SELECT 1 AS one",), (0,)),
    "revision": (("-m", "More", "--no-autogenerate"), (0,)),
    "module init": (("billing",), (0,)),
}
ORGANIZATIONS = ("acme", "victim", "mover", "guest", "moved", "leaver", "returner", "gone")
# A shared schema of one organization, which is adopted as it is.
SHARED = (
    "CREATE SCHEMA shared; "
    "CREATE TABLE shared.items (organization_id text NOT NULL, id bigint PRIMARY KEY); "
    "INSERT INTO shared.items VALUES ('shared-1', 1)"
)
WITHOUT_DATABASE = {
    "openapi",
    "module init",
    "migrate history",
    "revision",
    "backup verify",
    "backup list",
    "backup key",
}


@pytest.fixture(scope="module")
def busy_project(
    server: embedded.EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """A project with organizations and a job, which the commands share."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        with fresh_database(server.url, server.admin_url) as database, FakeLogto() as fake:
            lead_to(fake, patch)
            fake.data.create_organization("Acme")
            project = Project(folder, database)
            project.ok("init")
            for name in ORGANIZATIONS:
                project.ok("org", "create", name)
            set_status(database, "returner", ARCHIVED)
            set_status(database, "gone", ARCHIVED, purge_after=datetime.now(UTC))
            database.ask(SHARED)
            (folder / "adopt.toml").write_text('source = "shared"')
            project.ok("jobs", "run", f"{project.host}:write")
            project.ok("backup", "create", "acme", "kept.tar")
            project.ok("backup", "all", "backups", "--org", "acme")
            yield project


def call(project: Project, command: str) -> list[str]:
    arguments, _ = CALLS[command]
    return [*command.split(), *(a.replace("HOST", project.host) for a in arguments)]


def test_every_command_is_called_here() -> None:
    assert set(CALLS) == set(commands())


@pytest.mark.parametrize("command", CALLS)
def test_every_command_prints_one_json_document(busy_project: Project, command: str) -> None:
    result = busy_project.run(*call(busy_project, command), "--json")
    assert result.exit_code in CALLS[command][1], result.output
    assert isinstance(json.loads(result.stdout), dict)


@pytest.mark.parametrize("command", sorted(CALLS.keys() - WITHOUT_DATABASE - {"doctor"}))
def test_without_a_server_every_command_says_so_in_one_line(
    busy_project: Project, command: str
) -> None:
    nowhere = "postgresql://owner@127.0.0.1:1/app"
    environment = {"HOST_URL": nowhere, "HOST_ADMIN_URL": nowhere}
    result = busy_project.run(*call(busy_project, command), "--json", **environment)
    assert result.exit_code == 1, result.output
    assert json.loads(result.stdout)["error"]["code"] == "database"
    assert "Traceback" not in result.stderr
    [line] = result.stderr.splitlines()
    assert line.startswith("error: no connection to the database")
    assert line.endswith("look at the URL, and whether the server is running")


def test_the_doctor_finds_a_server_that_is_not_there(busy_project: Project) -> None:
    nowhere = "postgresql://owner@127.0.0.1:1/app"
    result = busy_project.run("doctor", "--json", HOST_URL=nowhere, HOST_ADMIN_URL=nowhere)
    assert result.exit_code == 3
    assert "the owner cannot connect" in result.stdout


def sections() -> dict[str, str]:
    """Return the sections of the reference page by the commands that they are about."""
    parts = re.split(r"^#+ (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    titles = [title.strip().strip("`").removeprefix("orgtenancy ") for title in parts[1::2]]
    return dict(zip(titles, parts[2::2], strict=True))


def test_the_reference_lists_every_command() -> None:
    assert set(commands()) <= set(sections())
    about = {title for title in sections() if title.split()[0] in {c.split()[0] for c in CALLS}}
    assert about <= set(commands()), "a command that is not there"


def test_the_reference_lists_every_option_before_the_command() -> None:
    listed = set(re.findall(r"^\| `(--[a-z-]+)", sections()["Which tenancy"], flags=re.MULTILINE))
    assert listed == options(typer.main.get_command(app))


@pytest.mark.parametrize("command", CALLS)
def test_the_reference_lists_every_option(command: str) -> None:
    own: Any = options(commands()[command])
    section = sections()[command]
    listed = set(re.findall(r"^\| `(--[a-z-]+)", section, flags=re.MULTILINE))
    if "#options-of-a-job" in section:
        job_options = sections()["Options of a job"]
        listed |= set(re.findall(r"^\| `(--[a-z-]+)", job_options, flags=re.MULTILINE))
    assert listed | {"--json"} == own
