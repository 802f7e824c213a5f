"""`orgtenancy drift`: what is found, planned and mended, and how that ends."""

from __future__ import annotations

import json

import psycopg
import pytest

from tests.cli.projects import Project

pytestmark = pytest.mark.slow


@pytest.fixture
def fleet(installed: Project) -> Project:
    """A project with two organizations."""
    for name in ("a", "b"):
        installed.ok("org", "create", name)
    return installed


def change(project: Project, *statements: str) -> None:
    with psycopg.connect(project.dsn) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def test_a_fleet_without_drift_is_clean(fleet: Project) -> None:
    assert fleet.ok("drift", "check")["is_clean"] is True
    assert fleet.ok("drift", "repair")["plan"]["is_empty"] is True
    assert fleet.run("drift", "repair").stdout == "nothing is to be repaired\n"
    assert fleet.run("drift", "repair", "--apply").exit_code == 0


def test_drift_is_found_planned_and_mended(fleet: Project) -> None:
    change(fleet, "CREATE INDEX extra ON org_b.items (id)")
    found = fleet.run("drift", "check", "--json")
    assert found.exit_code == 3
    [schema] = json.loads(found.stdout)["schemas"]
    assert schema["organization_id"] == "b"
    assert "extra" in fleet.run("drift", "check").stdout
    assert fleet.run("drift", "check", "--org", "a").exit_code == 0
    planned = fleet.run("drift", "repair", "--output", "plan.sql", "--json")
    assert planned.exit_code == 3
    assert "extra" in (fleet.folder / "plan.sql").read_text()
    assert json.loads(planned.stdout)["repair"] is None
    assert fleet.run("drift", "check").exit_code == 3, "a plan changes nothing"
    assert fleet.ok("drift", "repair", "--apply")["repair"]["repaired"] == ["b"]
    assert fleet.run("drift", "check").exit_code == 0


def test_what_would_lose_data_is_left_out_unless_it_is_asked_for(fleet: Project) -> None:
    change(fleet, "CREATE TABLE org_b.more (id integer)", "INSERT INTO org_b.more VALUES (1)")
    result = fleet.run("drift", "repair", "--apply", "--json")
    assert result.exit_code == 3
    assert list(json.loads(result.stdout)["repair"]["skipped"]) == ["b"]
    assert fleet.ok("drift", "repair", "--apply", "--destructive")["repair"]["is_clean"] is True


def test_a_schema_that_nobody_knows_needs_attention_and_is_not_dropped(fleet: Project) -> None:
    change(fleet, "CREATE SCHEMA org_stranger")
    assert fleet.run("drift", "check").exit_code == 3
    result = fleet.run("drift", "repair", "--apply", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["plan"]["left"][0]["name"] == "org_stranger"
