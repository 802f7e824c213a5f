"""What somebody changed by hand is found, named, and mended."""

from __future__ import annotations

import pytest

from orgtenancy import Tenancy
from orgtenancy.schemas.drift import Change, DriftReport, SchemaDrift
from tests.drift.conftest import Planted
from tests.drift.planted_others import HARD, OTHERS
from tests.drift.planted_tables import TABLES
from tests.drift.planting import Plant
from tests.schemas.databases import FreshDatabase

pytestmark = pytest.mark.slow

PLANTS = (*TABLES, *OTHERS)

every = pytest.mark.parametrize("plant", [*PLANTS, *HARD], ids=lambda plant: plant.name)
mendable = pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)


def of(report: DriftReport, organization_id: str) -> SchemaDrift | None:
    return next((s for s in report.schemas if s.organization_id == organization_id), None)


@every
def test_a_difference_is_found_and_named_and_nothing_else_is(
    planted: Planted, plant: Plant
) -> None:
    drift = of(planted.before, planted.organizations[plant.name].id)
    assert drift is not None
    named = tuple((d.object_kind, d.object_name, d.change) for d in drift.differences)
    assert named == plant.found
    expected = " / ".join(d.expected or "" for d in drift.differences)
    actual = " / ".join(d.actual or "" for d in drift.differences)
    assert plant.expected in expected
    assert plant.actual in actual
    assert drift.schema_name not in expected + actual
    assert all(str(difference) for difference in drift.differences)


@mendable
def test_a_difference_is_mended_and_the_check_is_clean_afterwards(
    planted: Planted, plant: Plant
) -> None:
    organization = planted.organizations[plant.name]
    assert organization.id not in planted.kept.failed, planted.kept.failed[organization.id]
    if plant.destructive:
        assert organization.id in planted.kept.skipped
        assert of(planted.kept.drift, organization.id) is not None
        assert organization.id not in planted.repaired.failed, planted.repaired.failed
    else:
        assert organization.id in planted.kept.repaired
    assert of(planted.repaired.drift, organization.id) is None


@pytest.mark.parametrize("plant", HARD, ids=lambda plant: plant.name)
def test_what_no_statement_mends_is_listed_with_the_reason(planted: Planted, plant: Plant) -> None:
    label = planted.organizations[plant.name].id
    repair = next(schema for schema in planted.plan.schemas if schema.label == label)
    assert {left.difference.object_kind for left in repair.unrepaired} == {plant.found[0][0]}
    assert all(left.reason for left in repair.unrepaired)
    assert of(planted.repaired.drift, label) is not None
    assert "-- not mended: enum mood: different" in planted.plan.sql()


def test_organizations_that_nobody_touched_have_no_difference(planted: Planted) -> None:
    assert planted.before.checked == len(PLANTS) + len(HARD) + 1
    assert len(planted.before.schemas) == len(PLANTS) + len(HARD)
    assert planted.before.findings == ()
    assert not planted.before.is_clean


def test_the_plan_is_a_script_in_which_what_loses_data_stands_in_comments(
    planted: Planted,
) -> None:
    lines = planted.plan.sql().splitlines()
    label = planted.organizations["an unexpected column"].id
    assert f"-- {label} (org_{label})" in lines
    assert f'-- ALTER TABLE "org_{label}"."notes" DROP COLUMN "colour";' in lines
    assert planted.plan.is_destructive
    assert lines.count("BEGIN;") == lines.count("COMMIT;") == len(PLANTS)
    assert sum("expect_heads" in line for line in lines) == len(PLANTS)


def test_a_missing_object_takes_along_what_belongs_to_it(planted: Planted) -> None:
    drift = of(planted.before, planted.organizations["a missing table"].id)
    assert drift is not None
    assert [d.change for d in drift.differences] == [Change.MISSING]


def test_the_script_of_a_plan_can_be_run_as_it_is(
    fleet: tuple[FreshDatabase, Tenancy],
) -> None:
    database, tenancy = fleet
    organization = tenancy.schemas.provision("by-hand")
    database.ask(f'DROP INDEX "{organization.schema_name}".things_name')
    database.ask(f'DROP VIEW "{organization.schema_name}".happy')
    report = tenancy.schemas.drift(["by-hand"])
    assert len(report.schemas[0].differences) == 2
    database.ask(tenancy.schemas.repair_plan(report).sql())
    assert tenancy.schemas.drift(["by-hand"]).is_clean
