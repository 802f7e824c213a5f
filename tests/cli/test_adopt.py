"""`orgtenancy adopt`, as people and scripts see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.projects import Project
from tests.schemas.databases import FreshDatabase

SHARED = (
    "CREATE SCHEMA shared; "
    "CREATE TABLE shared.items (organization_id text, id bigint PRIMARY KEY); "
    "CREATE INDEX ON shared.items (organization_id); "
    "INSERT INTO shared.items VALUES ('one', 1), ('one', 2), ('two', 3)"
)


@pytest.fixture
def adopting(installed: Project, database: FreshDatabase) -> Project:
    """A project beside a shared schema of two organizations, and a mapping."""
    database.ask(SHARED)
    (installed.folder / "adopt.toml").write_text('source = "shared"')
    return installed


@pytest.mark.slow
def test_from_the_plan_to_the_end(adopting: Project, database: FreshDatabase) -> None:
    told = adopting.run("adopt", "plan", "adopt.toml")
    assert told.exit_code == 0, told.output
    assert "items\titems\torganization_id\t3" in told.stdout
    assert "2 organizations, 0 problems; about" in told.stdout
    told = adopting.run("adopt", "run", "adopt.toml", "--org", "one", "--workers", "1")
    assert "one\tone\tcopied\t2\t2" in told.stdout
    assert "adopting: 1 of 1 done" in told.stderr
    assert adopting.ok("adopt", "run", "adopt.toml")["organizations"][1]["id"] == "two"
    database.ask("UPDATE shared.items SET id = 4 WHERE id = 2")
    told = adopting.run("adopt", "verify", "adopt.toml")
    assert told.exit_code == 3
    assert "one\tcopied\t2\titems: missing (1 rows: 4); extra (1 rows: 2)" in told.stdout
    assert adopting.run("adopt", "switch", "adopt.toml", "--org", "one").exit_code == 0
    told = adopting.run("adopt", "finish", "adopt.toml")
    assert told.exit_code == 1
    assert "1 organizations are not switched: two is copied" in told.stderr
    assert adopting.run("adopt", "revert", "adopt.toml", "one").exit_code == 0
    report = adopting.ok("adopt", "switch", "adopt.toml")
    assert {o["state"] for o in report["organizations"]} == {"switched"}
    assert adopting.ok("adopt", "verify", "adopt.toml")["organizations"][0]["differences"] == []
    told = adopting.run("adopt", "finish", "adopt.toml")
    assert told.stdout == "1 tables of the source are in the schema adopted_shared\n"


def test_what_is_wrong_is_told_with_an_exit_code(
    adopting: Project, database: FreshDatabase, folder: Path
) -> None:
    database.ask("INSERT INTO shared.items VALUES (NULL, 9)")
    told = adopting.run("adopt", "plan", "adopt.toml")
    assert told.exit_code == 3
    assert "left over\twithout organization\titems: no organization (1 rows: 9)" in told.stdout
    database.ask("INSERT INTO shared.items VALUES ('no way', 10)")
    told = adopting.run("adopt", "plan", "adopt.toml", "--no-rows")
    assert told.exit_code == 3
    assert "problem\torganization id" in told.stdout
    told = adopting.run("adopt", "run", "adopt.toml", "--json")
    assert told.exit_code == 1
    assert '"code": "adoption_refused"' in told.stdout
    told = adopting.run("adopt", "plan", "nothing.toml")
    assert (told.exit_code, "nothing.toml cannot be read" in told.stderr) == (1, True)
    (folder / "adopt.toml").write_text('source = "shared"\n[tables.items]\nkeys = "uuid"')
    told = adopting.run("adopt", "plan", "adopt.toml")
    assert "problem\ttype\titems: 'id' here is bigint and would get a UUID" in told.stdout


@pytest.mark.slow
def test_organizations_that_fail_end_with_an_exit_code(
    adopting: Project, database: FreshDatabase
) -> None:
    adopting.ok("adopt", "run", "adopt.toml")
    adopting.ok("org", "unfence", "one")
    told = adopting.run("adopt", "switch", "adopt.toml", "--json")
    assert told.exit_code == 4
    assert '"failed": {' in told.stdout
    assert "one: AdoptionRefused: organization 'one' is active" in told.stderr
