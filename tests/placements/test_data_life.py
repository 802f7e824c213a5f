"""Backups, exports and erasures of organizations, on whichever placement they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from orgtenancy import Tenancy, acting
from orgtenancy.errors import OrganizationExists, PlacementNotFound
from orgtenancy.operations.backup import generate_key
from orgtenancy.operations.data.digests import digests
from orgtenancy.operations.data.tables import enter, tables_of
from tests.placements.cells import Cells
from tests.support.notes import NoteRepository

pytestmark = pytest.mark.slow


def write(tenancy: Tenancy, organization_id: str, placement: str, *bodies: str) -> None:
    tenancy.schemas.provision(organization_id, placement=placement)
    with tenancy.session(organization_id):
        for key, body in enumerate(bodies):
            NoteRepository().write(key, body)


def bodies(tenancy: Tenancy, organization_id: str) -> list[str]:
    with tenancy.session(organization_id):
        return [note.body for note in NoteRepository().list().items]


def test_a_backup_is_restored_on_the_placement_that_is_named_or_chosen(
    spread: Tenancy, cells: Cells, tmp_path: Path
) -> None:
    secret, public = generate_key()
    for placement in ("eu", "default"):
        write(spread, f"b-{placement}", placement, "one", "two")
        spread.backups.write(f"b-{placement}", tmp_path / placement, key=public)
    made = spread.backups.restore(
        tmp_path / "default", organization_id="b-copy", key=secret, placement="eu"
    )
    assert (made.placement, cells.where("b-copy"), cells.location("b-copy")) == (
        "eu",
        ["eu"],
        "eu",
    )
    assert bodies(spread, "b-copy") == ["one", "two"]
    back = spread.backups.restore(
        tmp_path / "eu", organization_id="b-back", key=secret, placement="default"
    )
    assert (back.placement, cells.location("b-back")) == ("default", None)
    chosen = spread.backups.restore(tmp_path / "eu", organization_id="b-any", key=secret)
    assert cells.where("b-any") == [chosen.placement]
    assert bodies(spread, "b-any") == ["one", "two"]


def test_what_is_on_another_placement_is_not_restored_beside_it(
    spread: Tenancy, cells: Cells, tmp_path: Path
) -> None:
    write(spread, "b-there", "eu", "one")
    spread.backups.write("b-there", tmp_path / "backup")
    for placement in ("eu", "default", None):
        with pytest.raises(OrganizationExists):
            spread.backups.restore(tmp_path / "backup", placement=placement)
    with pytest.raises(PlacementNotFound):
        spread.backups.restore(tmp_path / "backup", organization_id="b-x", placement="moon")
    assert cells.where("b-there") == ["eu"]
    assert (cells.where("b-x"), cells.location("b-x")) == ([], None)


def test_a_restore_that_fails_leaves_no_reservation(
    spread: Tenancy, cells: Cells, tmp_path: Path
) -> None:
    write(spread, "b-broken", "eu", "one")
    spread.backups.write("b-broken", tmp_path / "backup")
    cells["eu"].ask('CREATE SCHEMA "org_b-taken"')
    with pytest.raises(OrganizationExists):
        spread.backups.restore(tmp_path / "backup", organization_id="b-taken", placement="eu")
    cells["eu"].ask('DROP SCHEMA "org_b-taken"')
    assert (cells.where("b-taken"), cells.location("b-taken")) == ([], None)


def test_all_placements_are_backed_up_into_one_folder(bare_cells: Cells, tmp_path: Path) -> None:
    with bare_cells.tenancy() as tenancy:
        tenancy.install()
        for name in ("default", "eu", "us"):
            write(tenancy, f"f-{name}", name, name)
        job = tenancy.backups.write_all(tmp_path)
        assert job is not None
        found = tenancy.backups.list(tmp_path)
        assert sorted(one.organization_id for one in found) == ["f-default", "f-eu", "f-us"]
        tenancy.backups.write_all(tmp_path, organizations=["f-us", "f-eu"], incremental=False)
        counts = [len(tenancy.backups.list(tmp_path, organization_id=f"f-{n}")) for n in cells_of]
        assert counts == [1, 2, 2]


cells_of = ("default", "eu", "us")


def test_an_export_reads_the_placement(spread: Tenancy, tmp_path: Path) -> None:
    write(spread, "x-there", "eu", "one")
    spread.backups.export("x-there", tmp_path / "export")
    assert "one" in (tmp_path / "export" / "notes.jsonl").read_text()


def test_a_person_is_erased_from_all_registries(spread: Tenancy, cells: Cells) -> None:
    person = "ann-who-leaves"
    write(spread, "e-there", "default", "hello")
    with acting(person, "http"):
        spread.organizations.suspend("e-there")  # audited where it is now
        spread.organizations.resume("e-there")
    spread.organizations.move("e-there", to="eu")
    with acting(person, "http"):
        spread.organizations.rename("e-there", "Elsewhere")
    cells.control.ask(
        "INSERT INTO orgtenancy.members VALUES ('e-there', %s, 'active', now(), NULL)", person
    )
    tables = {one.table for one in spread.erasure.find("e-there", person)}
    assert tables == {"orgtenancy.audit"}
    erased = spread.erasure.erase("e-there", person)
    assert spread.erasure.find("e-there", person) == []
    for name in ("default", "eu"):
        query = "SELECT actor_id FROM orgtenancy.audit WHERE organization_id = 'e-there'"
        actors = {row[0] for row in cells[name].ask(query)}
        assert erased.pseudonym in actors
        assert person not in actors
    assert not cells.control.ask("SELECT FROM orgtenancy.members WHERE actor_id = %s", person)


def test_digests_are_the_same_after_a_restore_elsewhere(
    spread: Tenancy, cells: Cells, tmp_path: Path
) -> None:
    write(spread, "d-here", "default", *map(str, range(100)))
    spread.backups.write("d-here", tmp_path / "backup")
    spread.backups.restore(tmp_path / "backup", organization_id="d-there", placement="eu")
    found = []
    for placement, name in (("default", "d-here"), ("eu", "d-there")):
        engine = spread.placements[placement].schemas.builder.database.admin_engine
        with engine.begin() as connection:
            enter(connection, f"org_{name}")
            tables = tables_of(connection, f"org_{name}")
            found.append(digests(connection, tables))
            assert connection.scalar(text("SELECT count(*) FROM notes")) == 100
    assert found[0] == found[1]
