"""One demo for all tests that only use it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.example.demo import Demo, running


@contextmanager
def open_folder() -> Iterator[Path]:
    """Make a folder that `nobody` can enter, which pytest's own does not allow."""
    with tempfile.TemporaryDirectory(prefix="demo-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for all that a demo makes on disk."""
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def demo() -> Iterator[Demo]:
    """A running demo."""
    with open_folder() as folder, running(place=folder) as demo:
        yield demo
