"""The PostgreSQL of a test run: one server for all its processes, a database for each."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from orgtenancy import embedded
from orgtenancy.embedded import _locks

# Nothing of it outlives the run.
_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",
}


def open_server(run: str | None = None, worker: str | None = None) -> embedded.EmbeddedServer:
    """Return a server with a database of its own for this process.

    It is on the server of `DATABASE_URL`, else on an embedded one, which the workers of a run
    share: the first that needs it starts it, and the last one stops it.

    Args:
        run: What names the run; None if this is its only process.
        worker: What names this process in it.
    """
    if run is None or worker is None or os.environ.get("DATABASE_URL"):
        return embedded.server()
    return embedded.server(_folder(run), database=f"test_{worker}", settings=_FAST)


def remove_server(run: str) -> None:
    """Remove what the workers of a run have left of their server.

    Args:
        run: What names the run.
    """
    folder = _folder(run)
    if not folder.exists():
        return
    if _locks.is_held(folder / "running"):  # whoever was to stop it was killed
        embedded.server(folder).stop()
    shutil.rmtree(folder, ignore_errors=True)


def _folder(run: str) -> Path:
    return Path(tempfile.gettempdir()) / f"orgtenancy-run-{run}"
