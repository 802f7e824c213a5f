"""Which placement a policy chooses, and which ones it may choose from."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from orgtenancy import Placement, Tenancy, by_attribute, fewest, weighted
from orgtenancy.errors import ConfigurationError, PlacementNotFound, PlacementUnavailable
from orgtenancy.schemas.placing import Candidate
from tests.placements.cells import Cells, down, new_id

SMALL = Candidate("small", 10, 1.0, {"region": "eu"})
LARGE = Candidate("large", 15, 2.0, {"region": "eu"})
FAR = Candidate("far", 0, 1.0, {"region": "us"})


def test_the_policies() -> None:
    assert fewest({}, [LARGE, SMALL]) == "small"
    assert weighted({}, [SMALL, LARGE]) == "large"
    assert weighted({}, [Candidate("b", 0), Candidate("a", 0)]) == "a"
    in_region = by_attribute("region")
    assert in_region({"region": "us"}, [SMALL, LARGE, FAR]) == "far"
    assert in_region({"region": "eu"}, [SMALL, LARGE, FAR]) == "large"
    assert by_attribute("region", among=fewest)({"region": "eu"}, [SMALL, LARGE]) == "small"
    assert by_attribute("region", default="us")({}, [SMALL, FAR]) == "far"
    for attributes in ({}, {"region": "mars"}):
        with pytest.raises(PlacementUnavailable, match="region"):
            in_region(attributes, [SMALL, FAR])


@pytest.mark.slow
def test_new_organizations_are_shared_out_by_weight(bare_cells: Cells) -> None:
    placements = bare_cells.placements(default={"weight": 0}, us={"weight": 2})
    with bare_cells.tenancy(placements=placements) as tenancy:
        tenancy.install()
        made = [tenancy.schemas.provision(f"o{n}").placement for n in range(6)]
    assert (made.count("eu"), made.count("us")) == (2, 4)


def test_one_may_be_placed_by_name_also_where_none_would_be_chosen(spread: Tenancy) -> None:
    assert spread.schemas.provision(new_id(), placement="eu").placement == "eu"
    assert spread.schemas.provision(new_id(), placement="default").placement == "default"
    with pytest.raises(PlacementNotFound) as caught:
        spread.schemas.provision(new_id(), placement="mars")
    assert caught.value.placement == "mars"
    assert str(caught.value).startswith("placement 'mars'")


def test_a_policy_of_the_host_gets_attributes_and_candidates(cells: Cells) -> None:
    seen = []

    def choose(attributes: Mapping[str, Any], candidates: Sequence[Candidate]) -> str:
        seen.append((attributes, {one.name for one in candidates}))
        return str(attributes["home"])

    with cells.tenancy(place=choose) as tenancy:
        made = tenancy.schemas.provision(new_id(), attributes={"home": "eu"})
        assert made.placement == "eu"
        with pytest.raises(PlacementNotFound):
            tenancy.schemas.provision(new_id(), attributes={"home": "mars"})
    assert seen[0] == ({"home": "eu"}, {"default", "eu"})


@pytest.mark.slow
def test_a_limit_is_told_before_it_is_reached_and_not_passed(
    bare_cells: Cells, caplog: pytest.LogCaptureFixture
) -> None:
    placements = bare_cells.placements(default={"weight": 0}, eu={"max_organizations": 10})
    del placements["us"]
    with bare_cells.tenancy(placements=placements) as tenancy:
        tenancy.install()
        with caplog.at_level(logging.WARNING, "orgtenancy.placements"):
            for n in range(8):
                tenancy.schemas.provision(f"o{n}")
            assert not caplog.messages
            tenancy.schemas.provision("o8")
        assert caplog.messages == ["placement 'eu' holds 9 of at most 10 organizations"]
        (found,) = [one for one in tenancy.placements.list() if one.name == "eu"]
        assert (found.organizations, found.is_nearly_full) == (9, True)
        tenancy.schemas.provision("o9")
        for given in (None, "eu"):
            with pytest.raises(PlacementUnavailable, match="is full: it holds 10 of at most 10"):
                tenancy.schemas.provision("o10", placement=given)
        tenancy.schemas.drop("o3", confirm="o3", force=True)
        tenancy.schemas.provision("o0")  # it is there
    with bare_cells.tenancy(placements=placements) as another:
        another.schemas.provision("o10")


@pytest.mark.slow
def test_one_that_was_not_added_or_is_down_gets_no_organizations(bare_cells: Cells) -> None:
    both = bare_cells.placements(default={"weight": 0})
    few = {name: both[name] for name in ("default", "eu")}
    with bare_cells.tenancy(placements=few) as tenancy:
        tenancy.install()
    with bare_cells.tenancy(placements=both) as tenancy:
        assert tenancy.schemas.provision("a").placement == "eu"
        with pytest.raises(PlacementUnavailable, match="placements add us"):
            tenancy.schemas.provision("b", placement="us")
        assert [one.state for one in tenancy.placements.list()] == ["open", "open", "not added"]
        added = tenancy.placements.add("us")
        assert (added.state, added.is_reachable, added.organizations) == ("open", True, 0)
        assert tenancy.schemas.provision("b").placement == "us"
        with down(bare_cells["us"]):
            found = {one.name: one for one in tenancy.placements.list()}
            assert (found["us"].is_reachable, found["us"].organizations) == (False, None)
            assert "not currently accepting connections" in str(found["us"].error)
            assert {tenancy.schemas.provision(f"c{n}").placement for n in range(3)} == {"eu"}
            with pytest.raises(PlacementUnavailable, match="cannot be reached"):
                tenancy.schemas.provision("d", placement="us")


@pytest.mark.slow
def test_a_database_is_one_placement_and_no_other(bare_cells: Cells) -> None:
    with bare_cells.tenancy() as tenancy:
        tenancy.install()
        tenancy.install()
    given = bare_cells.placements()
    twice = {**given, "mars": given["eu"]}
    with (
        bare_cells.tenancy(placements=twice) as tenancy,
        pytest.raises(ConfigurationError, match="'mars' is placement 'eu' already"),
    ):
        tenancy.install()


@pytest.mark.parametrize(
    ("placements", "message"),
    [
        ({"a/b": Placement(url="postgresql://a@localhost/a")}, "no name"),
        ({"": Placement(url="postgresql://a@localhost/a")}, "no name"),
        ({"eu": Placement()}, "no url"),
        ({"default": Placement(url="postgresql://a@localhost/a")}, "control server"),
    ],
)
def test_placements_that_cannot_be(placements: dict[str, Placement], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Tenancy("postgresql://a@localhost/a", placements=placements)


def test_a_placement_shows_no_password() -> None:
    placement = Placement(url="postgresql://app:secret@localhost/a", admin_url="x:secret")
    assert "secret" not in repr(placement) + str(placement)
