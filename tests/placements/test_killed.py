"""SIGKILL at every statement of what is done on another placement than the control server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import pytest

from orgtenancy import Tenancy
from orgtenancy.errors import OrganizationNotFound
from tests.placements.cells import Cells, count, new_id, write
from tests.placements.test_move_under_load import urls
from tests.registry.worker import Dialogue, dialogue

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
]


@pytest.fixture
def dying(cells: Cells) -> Iterator[Dialogue]:
    with dialogue("tests.placements.dying", *urls(cells, admin=True)) as process:
        yield process


def kill_at_each_point(
    dying: Dialogue, job: str, ids: Iterator[str], target: str = "x"
) -> list[str]:
    """Do a job once to its end, and then as often as it has points; return the ids of those."""
    first = next(ids)
    dying.say(f"{job} {first} {target.format(first)} 0")
    points = int(dying.hear())
    assert points > 10
    killed = []
    for at in range(1, points + 1):
        organization_id = next(ids)
        dying.say(f"{job} {organization_id} {target.format(organization_id)} {at}")
        assert dying.hear() == "killed"
        killed.append(organization_id)
    return killed


def fresh() -> Iterator[str]:
    while True:
        yield new_id()


def made(tenancy: Tenancy) -> Iterator[str]:
    while True:
        organization_id = tenancy.schemas.provision(new_id(), placement="eu").id
        write(tenancy, organization_id)
        yield organization_id


def assert_is_in_one_place(cells: Cells, organization_id: str, name: str) -> None:
    assert cells.where(organization_id) == [name]
    assert cells.location(organization_id) == (None if name == "default" else name)


@pytest.mark.parametrize(("placement", "spares"), [("eu", 0), ("default", 0), ("eu", 100)])
def test_what_is_made_elsewhere_is_completed_by_the_next_call(
    cells: Cells, spread: Tenancy, dying: Dialogue, placement: str, spares: int
) -> None:
    spread.placements["eu"].schemas.spares.fill(spares)
    for organization_id in kill_at_each_point(dying, "provision", fresh(), "eu"):
        there = cells.where(organization_id)
        assert there in ([], ["eu"])
        # Where nothing was made, the next call may choose anew.
        given = None if there else placement
        organization = spread.schemas.provision(organization_id, placement=given)
        assert organization.placement == ("eu" if there else placement)
        assert_is_in_one_place(cells, organization_id, organization.placement)
        write(spread, organization_id)
    spread.placements["eu"].schemas.spares.discard(only_stale=False)


def test_what_is_dropped_elsewhere_is_gone_after_the_next_call(
    cells: Cells, spread: Tenancy, dying: Dialogue
) -> None:
    for organization_id in kill_at_each_point(dying, "drop", made(spread)):
        with suppress(OrganizationNotFound):
            spread.schemas.drop(organization_id, confirm=organization_id, force=True)
        assert (cells.where(organization_id), cells.location(organization_id)) == ([], None)
        assert spread.schemas.provision(organization_id, placement="default").is_active


def test_a_change_of_id_elsewhere_is_done_or_not(
    cells: Cells, spread: Tenancy, dying: Dialogue
) -> None:
    for old in kill_at_each_point(dying, "change_id", made(spread), "{}-new"):
        new = f"{old}-new"
        with suppress(OrganizationNotFound):
            spread.organizations.change_id(old, new)
        assert_is_in_one_place(cells, new, "eu")
        spread._directory.clear()
        assert count(spread, new) == 1
        # The old id is free, whatever the call that was killed has left of it.
        assert spread.schemas.provision(old, placement="default").placement == "default"
