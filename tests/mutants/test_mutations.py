"""The list of mutations fits the code: each takes away something that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.__main__ import MUTATIONS
from tests.mutants.mutation import Mutation

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.guard)
def test_every_mutation_takes_away_something_that_is_there(mutation: Mutation) -> None:
    compile(mutation.applied(), mutation.file, "exec", dont_inherit=True)
    assert all((TESTS / test.partition("::")[0]).exists() for test in mutation.tests)


def test_every_mutation_is_another_one() -> None:
    assert len({m.guard for m in MUTATIONS}) == len(MUTATIONS) >= 25
    assert len({(m.file, m.before, m.after) for m in MUTATIONS}) == len(MUTATIONS)
