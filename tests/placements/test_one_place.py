"""An id is on one placement and no other, whoever asks for it at the same time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import cycle, islice, product
from threading import Barrier

import pytest

from orgtenancy import Tenancy
from orgtenancy.errors import OrganizationBusy, OrganizationExists, OrganizationNotFound
from orgtenancy.registry import locations
from tests.placements.cells import Cells, new_id

THREADS = 8


@pytest.fixture
def tenancies(cells: Cells) -> Iterator[list[Tenancy]]:
    """As many as processes would have, each with connections of its own."""
    with ExitStack() as stack:
        yield [stack.enter_context(cells.tenancy()) for _ in range(2)]


def race(tenancies: list[Tenancy], ids: list[str]) -> None:
    """Make each id on each of the placements, and on any, all at the same moment."""
    jobs = list(islice(cycle(product([None, "default", "eu"], tenancies)), THREADS))
    barrier = Barrier(THREADS)

    def work(job: tuple[str | None, Tenancy]) -> None:
        placement, tenancy = job
        for organization_id in ids:
            barrier.wait(20)
            with suppress(OrganizationExists):
                made = tenancy.schemas.provision(organization_id, placement=placement)
                assert placement in (None, made.placement)

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(work, jobs))


def assert_each_is_in_one_place(cells: Cells, ids: list[str]) -> set[str]:
    used = set()
    for organization_id in ids:
        (name,) = cells.where(organization_id)
        assert cells.location(organization_id) == (None if name == "default" else name)
        used.add(name)
    return used


@pytest.mark.slow
def test_calls_on_both_placements_at_once_make_one_organization(
    cells: Cells, tenancies: list[Tenancy]
) -> None:
    ids = [new_id() for _ in range(12)]
    race(tenancies, ids)
    assert assert_each_is_in_one_place(cells, ids) == {"default", "eu"}
    for organization_id in ids:
        assert tenancies[0].schemas.get(organization_id).is_active


@pytest.mark.slow
def test_also_when_they_are_dropped_and_renamed_meanwhile(
    cells: Cells, tenancies: list[Tenancy]
) -> None:
    ids = [new_id() for _ in range(6)]
    refusals = (OrganizationExists, OrganizationNotFound, OrganizationBusy)

    def work(seed: int) -> None:
        chance, tenancy = random.Random(seed), tenancies[seed % 2]
        for _ in range(60):
            one, other = chance.sample(ids, 2)
            try:
                match chance.choice(["make", "make", "drop", "rename"]):
                    case "make":
                        placement = chance.choice(["default", "eu", None])
                        tenancy.schemas.provision(one, placement=placement)
                    case "drop":
                        tenancy.schemas.drop(one, confirm=one, force=True)
                    case "rename":
                        tenancy.organizations.change_id(one, other)
            except refusals:
                continue
            except Exception as error:
                # What was dropped while it was made, or found shut as it was dropped.
                if type(error).__name__ not in ("OrganizationUnavailable", "TransitionRefused"):
                    raise

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(work, range(THREADS)))
    for organization_id in ids:
        assert len(cells.where(organization_id)) <= 1
        tenancies[0].schemas.provision(organization_id)
    assert_each_is_in_one_place(cells, ids)


def test_the_database_itself_refuses_a_second_place(cells: Cells, tenancies: list[Tenancy]) -> None:
    tenancy = tenancies[0]
    here, there = new_id(), new_id()
    tenancy.schemas.provision(here, placement="default")
    tenancy.schemas.provision(there, placement="eu")
    with pytest.raises(OrganizationExists, match="on placement 'default'") as caught:
        tenancy.placements["eu"].schemas.provision(here)
    assert caught.value.placement == "default"
    with pytest.raises(OrganizationExists, match="on placement 'eu'") as caught:
        tenancy.placements["default"].schemas.provision(there)
    assert caught.value.placement == "eu"
    control = tenancy._database
    with control.admin_engine.begin() as connection:
        assert locations.find(connection, here) is None
        assert locations.find(connection, there) == "eu"
