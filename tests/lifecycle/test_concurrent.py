"""Operations at the same time: never a transition that the table forbids."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orgtenancy import Tenancy
from orgtenancy.errors import OrganizationBusy, PurgeRefused, TransitionRefused
from orgtenancy.operations.lifecycle.changing import ACTIONS
from orgtenancy.organizations import LIFECYCLE, LifecycleEvent
from tests.lifecycle.worlds import (
    CALLS,
    S,
    assert_consistent,
    history,
    reach,
)
from tests.schemas.databases import FreshDatabase

OPERATIONS = {ACTIONS[operation]: operation for operation in LIFECYCLE}

# To purge ends it all, so it is rare; another id would be another organization.
operations = st.sampled_from(
    [o for o in LIFECYCLE if o not in ("purge", "change_id")] * 4 + ["purge"]
)
schedules = st.lists(st.lists(operations, min_size=1, max_size=5), min_size=2, max_size=8)


def run_all(tenancy: Tenancy, organization_id: str, schedule: list[list[str]]) -> Counter[str]:
    """Run each list in a thread of its own, all at once, and return what was told."""
    told: Counter[str] = Counter()
    barrier = Barrier(len(schedule))

    def note(event: LifecycleEvent) -> None:
        if event.organization.id == organization_id:
            told[event.kind] += 1

    for action in ACTIONS.values():
        if action not in ("attributes_set", "linked"):
            getattr(tenancy.organizations, f"on_{action}")(note)

    def live(names: list[str]) -> None:
        barrier.wait()
        for name in names:
            try:
                CALLS[name](tenancy.organizations, organization_id)
            except (TransitionRefused, PurgeRefused):
                continue
            except OrganizationBusy:
                if name != "fence":  # which somebody lifted while it drained
                    raise

    with ThreadPoolExecutor(len(schedule)) as threads:
        list(threads.map(live, schedule))
    return told


def replay(tenancy: Tenancy, organization_id: str) -> Counter[str]:
    """Check the audit against the table, in the order of its numbers, and count it."""
    status, counted = S.ACTIVE, Counter[str]()
    first, *entries = history(tenancy, organization_id)
    assert first.action == "provisioned"
    begun = False
    for entry in entries:
        if entry.action == "purge_started":
            assert status is S.ARCHIVED
            begun = True
            continue
        transition = LIFECYCLE[OPERATIONS[entry.action]]
        assert status in transition.sources, (status, entry)
        assert not begun or entry.action == "purged"
        counted[entry.action] += 1
        if transition.targets:
            assert entry.details["from"] == status
            status = S(entry.details["to"])
            assert status in transition.targets
    assert tenancy.organizations.get(organization_id).status is status
    return counted


@pytest.mark.slow
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(schedule=schedules)
def test_the_audit_replays_as_a_life_that_the_table_allows(
    database: FreshDatabase, schedule: list[list[str]]
) -> None:
    with database.tenancy() as tenancy:
        organization_id = reach(tenancy, S.ACTIVE)
        told = run_all(tenancy, organization_id, schedule)
        assert told == replay(tenancy, organization_id)
        assert_consistent(database, tenancy, organization_id)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "one", "other"),
    [
        (S.ACTIVE, "suspend", "fence"),
        (S.ACTIVE, "fence", "archive"),
        (S.ACTIVE, "suspend", "archive"),
        (S.ARCHIVED, "restore", "purge"),
        (S.SUSPENDED, "resume", "archive"),
    ],
)
def test_two_operations_that_exclude_each_other_do_not_both_happen(
    database: FreshDatabase, installed: Tenancy, source: S, one: str, other: str
) -> None:
    for _ in range(3):
        organization_id = reach(installed, source)
        told = run_all(installed, organization_id, [[one], [other], [one], [other]])
        assert told
        replay(installed, organization_id)
        assert_consistent(database, installed, organization_id)


def test_many_that_suspend_at_once_are_one_change(installed: Tenancy) -> None:
    organization_id = reach(installed, S.ACTIVE)
    told = run_all(installed, organization_id, [["suspend"]] * 8)
    assert told == {"suspended": 1}
    assert [e.action for e in history(installed, organization_id)] == ["provisioned", "suspended"]
