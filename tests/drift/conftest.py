"""One database with an organization for every planted difference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from orgtenancy import Organization, Tenancy, embedded
from orgtenancy.community import community
from orgtenancy.schemas.drift import DriftReport, RepairPlan, RepairReport
from tests.drift.extras import make_extras
from tests.drift.planted_others import HARD, OTHERS
from tests.drift.planted_tables import TABLES
from tests.drift.planting import Plant
from tests.schemas.conftest import bare_database, installed, make_module
from tests.schemas.databases import FreshDatabase, fresh_database
from tests.support.notes import notes

__all__ = ["bare_database", "installed", "make_module"]


@dataclass(frozen=True)
class Planted:
    """Organizations of which each differs in one way, checked and repaired.

    Attributes:
        organizations: By the name of what was planted.
        before: What the check found.
        plan: The plan for it.
        kept: The same, run without what loses data.
        repaired: The same, run with it.
    """

    organizations: dict[str, Organization]
    before: DriftReport
    plan: RepairPlan
    kept: RepairReport
    repaired: RepairReport


def sow(database: FreshDatabase, plant: Plant, organization: Organization, other: str) -> None:
    """Make a difference."""
    statement = plant.statement.replace("$s", f'"{organization.schema_name}"')
    statement = statement.replace("$r", organization.role_name).replace("$o", other)
    database.ask(statement)


@pytest.fixture(scope="package")
def fleet(
    server: embedded.EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[FreshDatabase, Tenancy]]:
    """A database with the community, the notes and everything else a schema can hold."""
    extras = make_extras(tmp_path_factory.mktemp("extras"))
    with (
        fresh_database(server.url, server.admin_url) as database,
        database.tenancy([community, notes, extras]) as tenancy,
    ):
        tenancy.install()
        yield database, tenancy


@pytest.fixture(scope="package")
def planted(fleet: tuple[FreshDatabase, Tenancy]) -> Planted:
    """All planted differences, found and mended at once."""
    database, tenancy = fleet
    schemas = tenancy.schemas
    clean = schemas.provision("clean")
    made = {}
    for number, plant in enumerate((*TABLES, *OTHERS, *HARD)):
        made[plant.name] = schemas.provision(f"P-{number}")
        sow(database, plant, made[plant.name], clean.role_name)
    before = schemas.drift()
    plan = schemas.repair_plan(before)
    kept = schemas.repair(plan)
    repaired = schemas.repair(schemas.repair_plan(kept.drift), destructive=True)
    return Planted(made, before, plan, kept, repaired)
