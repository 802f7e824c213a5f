"""Jobs, spares and checks over all placements, one after the other."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from orgtenancy import current_organization
from orgtenancy.errors import JobFailed, JobNotFound, OrganizationNotFound
from orgtenancy.operations.doctor import Level, examine
from orgtenancy.schemas.fleet import JobStatus
from tests.fleet.hosts import ModuleFolder
from tests.placements.cells import Cells
from tests.schemas.databases import eventually


def note_placement(session: Session) -> None:
    """Write into an organization where it is, as a request would."""
    placement = current_organization().placement
    session.execute(text("INSERT INTO things (id) VALUES (:id)"), {"id": len(placement)})


def test_a_migration_goes_from_placement_to_placement(bare_cells: Cells, tmp_path: Path) -> None:
    folder = ModuleFolder(tmp_path / "app", "app")
    folder.table("things")
    names = list(bare_cells.databases)
    with bare_cells.tenancy(modules=[folder.module()]) as tenancy:
        tenancy.install()
        assert tenancy.schemas.spares.fill(1) == 3
        for n in range(6):
            tenancy.schemas.provision(f"o{n}", placement=names[n % 3])
        assert tenancy.schemas.spares.fill(2) == 6
        assert tenancy.schemas.spares.count().ready == 6
        assert tenancy.schemas.fleet.each(note_placement)
    second = folder.column("things", "name")
    with bare_cells.tenancy(modules=[folder.module()]) as tenancy:
        schemas, fleet = tenancy.schemas, tenancy.schemas.fleet
        status = schemas.status()
        assert (status.organizations, status.behind, status.spares) == (6, 6, 6)
        assert [(step.organizations, step.spares) for step in fleet.plan()] == [(2, 2)] * 3
        part = fleet.migrate(organizations=["o0", "o1"])
        assert part is not None
        assert (part.label, part.total) == ("eu/2", 1)
        with pytest.raises(OrganizationNotFound, match="none"):
            fleet.migrate(organizations=["o0", "none"])
        seen = set()
        last = schemas.migrate(on_progress=lambda told: seen.add((told.placement, told.total)))
        assert last is not None
        assert seen == {("default", 3), ("eu", 3), ("us", 4)}
        assert (last.placement, last.status) == ("us", JobStatus.FINISHED)
        assert schemas.status().behind == 0
        assert schemas.migrate() is None
        for name, one in bare_cells.databases.items():
            found = one.ask("SELECT DISTINCT revisions ->> 'app' FROM orgtenancy.organizations")
            assert found == [(second,)], name
            own = tenancy.placements[name].schemas.fleet
            assert {job.placement for job in own.jobs()} == {name}
        assert len({job.label for job in fleet.jobs()}) == len(fleet.jobs()) == 8
        assert fleet.job("eu/1").placement == "eu"
        assert fleet.job(1).placement == "default"
        assert {item.organization_id for item in fleet.items("us/1")} == {"o2", "o5"}
        for missing in ("mars/1", "eu/99", "x"):
            with pytest.raises(JobNotFound):
                fleet.job(missing)


@pytest.mark.slow
def test_what_breaks_on_one_placement_is_not_done_to_the_next(
    bare_cells: Cells, tmp_path: Path
) -> None:
    folder = ModuleFolder(tmp_path / "app", "app")
    folder.table("things")
    with bare_cells.tenancy(modules=[folder.module()]) as tenancy:
        tenancy.install()
        for name in bare_cells.databases:
            tenancy.schemas.provision(name, placement=name)
    bare_cells["eu"].ask("CREATE TABLE org_eu.names (id int)")
    folder.table("names")
    with bare_cells.tenancy(modules=[folder.module()]) as tenancy:
        fleet = tenancy.schemas.fleet
        with pytest.raises(JobFailed, match="job eu/1 ") as caught:
            fleet.migrate()
        assert (caught.value.placement, caught.value.job_id) == ("eu", 1)
        assert fleet.status().behind == 2
        bare_cells["eu"].ask("DROP TABLE org_eu.names")
        assert fleet.resume("eu/1").status is JobStatus.FINISHED
        stop = Event()
        stop.set()
        assert fleet.migrate(cancel=stop) is None
        assert fleet.migrate()
        assert fleet.status().behind == 0


@pytest.mark.slow
def test_spares_are_kept_ready_on_each_placement(cells: Cells) -> None:
    with cells.tenancy() as tenancy:
        spares = [one.schemas.spares for one in tenancy.placements.values()]
        with tenancy.schemas.spares.keep(1):
            eventually(lambda: all(one.count().ready == 1 for one in spares))
            tenancy.schemas.provision("claims-one", placement="eu")
            eventually(lambda: all(one.count().ready == 1 for one in spares))
        assert tenancy.schemas.spares.discard(only_stale=False) == 2


@pytest.mark.slow
def test_drift_is_found_and_mended_on_each_placement(cells: Cells) -> None:
    with cells.tenancy() as tenancy:
        for name, one in cells.databases.items():
            tenancy.schemas.provision(f"drift-{name}", placement=name)
            one.ask(f'DROP INDEX "org_drift-{name}".notes_body_idx')
        ids = {f"drift-{name}" for name in cells.databases}
        assert ids <= {one.organization_id for one in tenancy.schemas.drift().schemas}
        report = tenancy.schemas.drift(sorted(ids))
        assert {one.organization_id for one in report.schemas} == ids
        only = tenancy.schemas.drift(["drift-eu"])
        assert [schema.organization_id for schema in only.schemas] == ["drift-eu"]
        plan = tenancy.schemas.repair_plan(report)
        assert plan.sql().count("CREATE INDEX") == 2
        repaired = tenancy.schemas.repair(plan)
        assert set(repaired.repaired) == ids
        assert repaired.is_clean
        with pytest.raises(OrganizationNotFound):
            tenancy.schemas.drift(["drift-none"])


@pytest.mark.slow
def test_the_doctor_looks_at_each_placement_and_at_the_directory(cells: Cells) -> None:
    with cells.tenancy() as tenancy:
        tenancy.schemas.provision("seen", placement="eu")
        report = examine(tenancy)
        assert report.is_healthy
        assert {one.placement for one in report.findings if one.check == "registry"} == {
            "default",
            "eu",
        }
        cells.control.ask("DELETE FROM orgtenancy.locations WHERE organization_id = 'seen'")
        cells.control.ask("INSERT INTO orgtenancy.locations VALUES ('dangling', 'eu')")
        cells.control.ask("INSERT INTO orgtenancy.locations VALUES ('lost', 'mars')")
        found = {
            one.level: one.message for one in examine(tenancy).findings if one.check == "locations"
        }
        problems = [
            one.message for one in examine(tenancy).of(Level.PROBLEM) if one.check == "locations"
        ]
        assert "not known to be there: seen" in problems[0]
        assert "nobody names here: mars" in problems[1]
        assert "not there: dangling" in found[Level.WARNING]
        cells.control.ask("DELETE FROM orgtenancy.locations WHERE placement = 'mars'")
        cells.control.ask("INSERT INTO orgtenancy.locations VALUES ('seen', 'eu')")
