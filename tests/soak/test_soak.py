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
    # Something was done, and something went wrong; how much depends on the machine.
    assert min(outcome.done[act] for act in ("read", "write", "stream", "copy_in")) > 0
    assert outcome.errors.keys() & {"AdminShutdown", "OperationalError"}
    assert {"restart", "crash and restart"} <= outcome.chaos.keys()
    assert outcome.rows > 0
    assert 0 < outcome.connections <= outcome.allowed


# What the evidence says, and after how many seconds at most. Only at the end is it seen that
# what was committed is not there.
FOUND = {
    "keep-the-scope": (" worked as ", 90),
    "forget-after-a-rollback": ("unexpected: ", 90),
    "reuse-what-was-left": ("met 'left behind'", 90),
    "lose-commits": ("acknowledged rows", 3),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_bug_is_found(plant: str) -> None:
    evidence, seconds = FOUND[plant]
    outcome = run(Plan(seconds=seconds, organizations=6, processes=1, restarts=0, plant=plant))
    assert any(evidence in told for told in outcome.violations), outcome
