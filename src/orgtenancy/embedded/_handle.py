"""What `server()` returns."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from orgtenancy.embedded import _exits
from orgtenancy.errors import EmbeddedServerError


class EmbeddedServer:
    """A PostgreSQL for development and tests, until it is stopped.

    It is a context manager; without one, it stops when the process ends.

    Attributes:
        url: URL of the application's login, which owns nothing and has no grants.
        admin_url: URL of the owner of everything.
        version: The server's version as one number, 180004 for 18.4.
        directory: The server's folder, or None for a server of `DATABASE_URL`.
    """

    def __init__(
        self,
        *,
        url: str,
        admin_url: str,
        version: int,
        directory: Path | None,
        release: Callable[[], None],
    ) -> None:
        self.url = url
        self.admin_url = admin_url
        self.version = version
        self.directory = directory
        self._release = release
        self._stopped = False
        self._lock = threading.RLock()
        self._process = os.getpid()
        _exits.add(self)

    def stop(self) -> None:
        """Leave the server; the last process to leave it stops it.

        A second call does nothing, nor does one in a forked child: the server is
        its parent's.

        Raises:
            EmbeddedServerError: The server does not stop, or does not clean up.
        """
        if self._process != os.getpid():
            return
        with _exits.uninterrupted(), self._lock:
            if self._stopped:
                return
            try:
                self._release()
            except OSError as exc:
                raise EmbeddedServerError(f"The embedded PostgreSQL cannot stop: {exc}") from exc
            self._stopped = True
            _exits.discard(self)

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = "stopped" if self._stopped else "running"
        return f"<EmbeddedServer {self.version} {self.directory or 'of DATABASE_URL'} {state}>"
