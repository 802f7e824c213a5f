"""What a host imports from `orgtenancy.testing`, and what that loads."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from orgtenancy import testing


def test_every_public_name_is_there() -> None:
    assert sorted(testing.__all__) == sorted(testing._MODULES)
    for name in testing.__all__:
        assert not isinstance(getattr(testing, name), ModuleType)


def test_no_other_name_is_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        _ = testing.missing


@pytest.mark.slow
def test_a_name_loads_what_it_needs_and_no_more() -> None:
    code = (
        "import sys; from orgtenancy.testing import isolated; "
        "print([m for m in ('hypothesis', 'pytest', 'jwt', 'httpx') if m in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert loaded.stdout.strip() == "[]"
