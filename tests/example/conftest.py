"""One demo for all tests that only use it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.example.demo import Demo, running


@pytest.fixture(scope="session")
def demo() -> Iterator[Demo]:
    """A running demo."""
    with running() as demo:
        yield demo
