"""Whatever people do, in whatever order: the repositories answer as the rules say."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import time
from collections.abc import Callable
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from orgtenancy import Organization, Tenancy
from orgtenancy.repository import AsyncOrganizationAwareRepository, OrganizationAwareRepository
from tests.community import test_twins
from tests.community.machine.callers import REPOSITORIES, AsyncCaller, Caller, SyncCaller
from tests.community.machine.machine import OPERATIONS, CommunityMachine, Statistics

#: What the slow test takes, in seconds.
BUDGET = float(os.environ.get("ORGTENANCY_MACHINE_SECONDS", "300"))

_SETTINGS = settings(
    # Shrinking runs for minutes; with `ORGTENANCY_MACHINE_SHRINK=0` a failure is told as it is.
    phases=[Phase.generate] if os.environ.get("ORGTENANCY_MACHINE_SHRINK") == "0" else list(Phase),
    deadline=None,
    database=None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def organizations(tenancy: Tenancy) -> tuple[Organization, Organization]:
    """Two organizations that all examples work in, one after the other."""
    first, second = (tenancy.schemas.provision(f"t{uuid4().hex[:12]}") for _ in range(2))
    return first, second


@pytest.fixture
def callers(tenancy: Tenancy, event_loop_runner: asyncio.Runner) -> dict[str, Caller]:
    return {"sync": SyncCaller(tenancy), "async": AsyncCaller(tenancy, event_loop_runner)}


Machine = Callable[[str], type[CommunityMachine]]


@pytest.fixture
def machine(
    tenancy: Tenancy,
    organizations: tuple[Organization, Organization],
    callers: dict[str, Caller],
) -> Machine:
    def make(kind: str) -> type[CommunityMachine]:
        members = {
            "tenancy": tenancy,
            "organizations": organizations,
            "caller": callers[kind],
            "statistics": Statistics(),
        }
        return type("Machine", (CommunityMachine,), members)

    return make


def test_the_machine_knows_every_method() -> None:
    bases = {*dir(OrganizationAwareRepository), *dir(AsyncOrganizationAwareRepository)}
    by_class = {name: kind for kind, name in REPOSITORIES.items()}
    for repository in test_twins.REPOSITORIES:
        own = test_twins.public_names(repository) - bases - test_twins.NOT_AWAITED
        kind = by_class[repository.__name__]
        assert {f"{kind}.{name}" for name in own} <= set(OPERATIONS)


@pytest.mark.parametrize(("kind", "examples"), [("sync", 8), ("async", 2)])
def test_the_repositories_answer_as_the_rules_say(
    kind: str, examples: int, machine: Machine
) -> None:
    chosen = machine(kind)
    budget = settings(_SETTINGS, max_examples=examples, stateful_step_count=40, derandomize=True)
    run_state_machine_as_test(chosen, settings=budget)
    _report(kind, chosen.statistics)


@pytest.mark.slow
def test_the_repositories_answer_as_the_rules_say_for_long(machine: Machine) -> None:
    machines = {"sync": machine("sync"), "async": machine("async")}
    began = time.monotonic()
    first = int(os.environ.get("ORGTENANCY_MACHINE_SEED", random.SystemRandom().randrange(2**32)))

    def missing() -> set[str]:
        seen = (chosen.statistics.outcomes for chosen in machines.values())
        return set(OPERATIONS) - {
            name for name, outcome in itertools.chain(*seen) if outcome == "ok"
        }

    for number in itertools.count(first):
        elapsed = time.monotonic() - began
        # Nothing is proven by what never happened: a slow machine gets more time.
        if elapsed > BUDGET and (BUDGET < 250 or not missing() or elapsed > 3 * BUDGET):
            break
        kind = "async" if number % 3 == 0 else "sync"
        print(f"{kind}: ORGTENANCY_MACHINE_SEED={number}")
        budget = settings(_SETTINGS, max_examples=40, stateful_step_count=80)
        run_state_machine_as_test(seed(number)(machines[kind]), settings=budget)
    for kind, chosen in machines.items():
        _report(kind, chosen.statistics)
    if BUDGET >= 250:
        assert not missing()


def _report(kind: str, statistics: Statistics) -> None:
    print(f"\n{kind}: {statistics.examples} examples, {statistics.steps} steps")
    for name in OPERATIONS:
        outcomes = {o: n for (op, o), n in sorted(statistics.outcomes.items()) if op == name}
        print(f"  {name}: {', '.join(f'{o} {n}' for o, n in outcomes.items())}")
