"""The catalogue of leaks is held, by each way to work."""

from __future__ import annotations

import pytest

from orgtenancy import Tenancy
from orgtenancy.testing.isolation import LEAKS, Leak, Verdict, prove


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.name)
def test_every_leak_of_the_catalogue_is_held(tenancy: Tenancy, leak: Leak) -> None:
    (finding,) = prove(tenancy, [leak]).findings
    assert finding.verdict is Verdict.HELD, finding
