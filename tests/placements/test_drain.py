"""Emptying a placement: all that is on it goes to others, and nothing new comes."""

from __future__ import annotations

from threading import Event

import pytest

from orgtenancy import OrganizationStatus, by_attribute
from orgtenancy.errors import PlacementNotFound, PlacementUnavailable
from tests.placements.cells import Cells, count, write
from tests.placements.test_move import Interrupted, assert_nothing_is_left, before, broken_off

S = OrganizationStatus


def interrupt() -> None:
    raise Interrupted


@pytest.mark.slow
def test_all_organizations_go_whatever_their_status(bare_cells: Cells) -> None:
    placements = bare_cells.placements(
        default={"attributes": {"region": "here"}},
        eu={"attributes": {"region": "eu"}},
        us={"attributes": {"region": "eu"}},
    )
    with bare_cells.tenancy(placements=placements, place=by_attribute("region")) as tenancy:
        tenancy.install()
        region = {"region": "eu"}
        for name in ("active", "suspended", "archived", "purged", "fenced", "begun", "elsewhere"):
            tenancy.schemas.provision(name, placement="eu", attributes=region)
            write(tenancy, name)
        tenancy.schemas.provision("homeless", placement="eu", attributes={"region": "mars"})
        tenancy.schemas.provision("coming", placement="us", attributes=region)
        tenancy.schemas.spares.fill(1)
        life = tenancy.organizations
        life.suspend("suspended")
        life.archive("archived")
        life.archive("purged")
        life.purge("purged", confirm="purged", now=True)
        life.fence("fenced")
        bare_cells.control.ask("INSERT INTO orgtenancy.locations VALUES ('reserved', 'eu')")
        for name, to, step in (
            ("begun", "us", "fence"),
            ("elsewhere", "default", "bring_up_to_date"),
            ("coming", "eu", "fence"),
        ):
            with broken_off(), before(step, interrupt), pytest.raises(Interrupted):
                life.move(name, to=to)
        told: dict[str, str | None] = {}
        report = tenancy.placements.drain("eu", on_organization=told.__setitem__)
        gone = {"active", "suspended", "archived", "purged", "begun", "elsewhere", "coming"}
        assert set(report.moved) == gone
        assert set(report.failed) == {"fenced", "homeless"}
        assert "no placement that is open has region 'mars'" in report.failed["homeless"]
        assert "is fenced" in report.failed["fenced"]
        assert told == {**dict.fromkeys(gone), **report.failed}
        assert not report.is_empty
        assert life.get("elsewhere").placement == "default"
        assert {life.get(one).placement for one in gone - {"elsewhere"} - {"purged"}} == {"us"}
        assert life.get("purged").status is S.PURGED
        assert bare_cells.location("reserved") is None
        state = {one.name: one.state for one in tenancy.placements.list()}
        assert state == {"default": "open", "eu": "draining", "us": "open"}
        with pytest.raises(PlacementUnavailable, match="drained"):
            tenancy.schemas.provision("new", placement="eu")
        life.unfence("fenced")
        life.set_attributes("homeless", region)
        again = tenancy.placements.drain("eu")
        assert (set(again.moved), again.failed, again.is_empty) == (
            {"fenced", "homeless"},
            {},
            True,
        )
        assert bare_cells["eu"].schemas() == bare_cells["eu"].roles() == set()
        assert all(count(tenancy, one) == 1 for one in ("active", "fenced", "begun", "elsewhere"))
        tenancy.schemas.spares.discard(only_stale=False)
        assert_nothing_is_left(bare_cells)
        assert tenancy.placements.add("eu").state == "open"
        assert tenancy.schemas.provision("new", attributes=region).placement == "eu"


@pytest.mark.slow
def test_the_control_server_can_be_emptied_too(bare_cells: Cells) -> None:
    placements = bare_cells.placements()
    del placements["us"]
    with bare_cells.tenancy(placements=placements) as tenancy:
        tenancy.install()
        for n in range(3):
            tenancy.schemas.provision(f"o{n}", placement="default")
        with pytest.raises(PlacementNotFound):
            tenancy.placements.drain("default", to="mars")
        stopped = Event()
        stopped.set()
        report = tenancy.placements.drain("default", cancel=stopped)
        assert (report.moved, report.is_empty) == ((), False)
        report = tenancy.placements.drain("default", to="eu", workers=3)
        assert (len(report.moved), report.is_empty) == (3, True)
        assert tenancy.schemas.provision("new").placement == "eu"
        tenancy.placements.add("default")
        assert tenancy.schemas.provision("newer").placement == "default"
