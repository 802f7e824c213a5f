"""The long run, short; and with bugs in it."""

from __future__ import annotations

import pytest

from tests.soak.plants import PLANTS
from tests.soak.running import Plan, run

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _server_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)


def test_nobody_sees_another_organizations_rows_whatever_goes_wrong() -> None:
    outcome = run(Plan(seconds=15, organizations=40, processes=2, restarts=2))
    assert outcome.violations == []
    # Something was done, and something went wrong.
    assert min(outcome.done[act] for act in ("read", "write", "stream", "copy_in")) > 10
    assert outcome.errors.keys() >= {"Planned", "QueryCanceled", "AdminShutdown"}
    assert {"restart", "crash and restart"} <= outcome.chaos.keys()
    assert outcome.rows > 100
    assert 0 < outcome.connections <= outcome.allowed


# After how many seconds, and what the evidence says. That an organization which is open lets
# nobody in is said once it has been open for ten.
FOUND = {
    "keep-the-scope": (5, " worked as "),
    "forget-after-a-rollback": (14, "unexpected: "),
    "reuse-what-was-left": (8, "met 'left behind'"),
    "lose-commits": (3, "acknowledged rows"),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_bug_is_found(plant: str) -> None:
    seconds, evidence = FOUND[plant]
    outcome = run(Plan(seconds=seconds, organizations=6, processes=1, restarts=0, plant=plant))
    assert any(evidence in told for told in outcome.violations), outcome
