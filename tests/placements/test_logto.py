"""Logto's organizations on several placements."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orgtenancy import OrganizationStatus, Tenancy
from orgtenancy.testing import FakeLogto
from tests.logto.times import Clock
from tests.logto.worlds import World
from tests.placements.cells import Cells, write

pytestmark = pytest.mark.slow


@pytest.fixture
def tenancy(bare_cells: Cells) -> Iterator[Tenancy]:
    placements = bare_cells.placements(default={"weight": 0})
    with bare_cells.tenancy(placements=placements) as tenancy:
        tenancy.install()
        yield tenancy


@pytest.fixture
def world(tenancy: Tenancy) -> Iterator[World]:
    with FakeLogto() as fake, Clock().api(fake, page_size=10) as api:
        yield World(fake, tenancy, api)


def test_what_is_in_logto_is_made_kept_archived_and_restored_where_it_is(
    world: World, bare_cells: Cells
) -> None:
    ids = [world.data.create_organization(f"Org {n}") for n in range(6)]
    assert world.sync().run().done == {"provision": 6}
    assert {one.placement for one in world.here().values()} == {"eu", "us"}
    assert world.sync().run().done == {}
    world.data.update_organization(ids[0], name="Acme")
    world.data.delete_organization(ids[1])
    assert world.sync().run().done == {"rename": 1, "archive": 1}
    for organization_id in ids:
        (placement,) = bare_cells.where(organization_id)
        assert placement == world.tenancy.schemas.get(organization_id).placement
    world.data.create_organization("Org 1", organization_id=ids[1])
    assert world.sync().run().done == {"restore": 1}
    moved = world.tenancy.organizations.move(ids[0], to="default")
    assert (moved.name, moved.source) == ("Acme", "logto")
    assert world.sync().run().done == {}
    world.data.delete_organization(ids[0])
    assert world.sync().run().done == {"archive": 1}
    assert world.tenancy.schemas.get(ids[0]).status is OrganizationStatus.ARCHIVED
    write(world.tenancy, ids[1])
