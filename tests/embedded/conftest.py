"""Servers of a test live below one folder, and are gone when the test ends."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orgtenancy.embedded import _binaries
from orgtenancy.errors import EmbeddedServerError
from tests.embedded.support import processes


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder that `nobody` can enter, which pytest's own does not allow."""
    place = Path(tempfile.mkdtemp(prefix="ote-", dir="/tmp")).resolve()
    place.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("ORGTENANCY_EMBEDDED_MAJOR", raising=False)
    yield place
    left = processes(place)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(place)
    if left:
        pytest.fail(f"PostgreSQL processes are left: {left}")


@pytest.fixture(params=[18, 16, 15])
def major(request: pytest.FixtureRequest) -> int:
    """Each major version: 18 and 16 are in the wheel, 15 is Debian's."""
    number = int(request.param)
    try:
        _binaries.find(number)
    except EmbeddedServerError as exc:
        pytest.skip(str(exc))
    return number


@pytest.fixture
def root() -> None:
    """Skip where we may not become other users."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
