"""Hearing of changes to the registry as they are committed."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from threading import Event, Lock, Thread

import psycopg
from psycopg import sql
from sqlalchemy import URL

from orgtenancy.database.engines import connect_options
from orgtenancy.naming import CONTROL_PLACEMENT

#: Hears of changes to organizations: the id.
CHANNEL = "orgtenancy_organizations"

_POLL = 0.5  # seconds between looks at the stop signal
_MAX_DELAY = 30.0  # seconds between attempts to reconnect

logger = logging.getLogger("orgtenancy.registry")


class ChangeListener:
    """A thread with one connection that listens to channels.

    It is an accelerator: look-ups are bounded in age without it, so a server that cannot
    be reached, or a pooler that does not serve `LISTEN`, costs freshness and nothing else.

    Args:
        url: The app's login; `LISTEN` needs no right.
        handlers: By channel, what is called with the payload of its notifications: quick
            work, since one thread does it for all of them.
        on_gap: Called after connecting, when changes may have been missed.
        connect_timeout: Seconds to wait for the server, and so for `stop` at the most.
        placement: Whose registry it is.
    """

    def __init__(
        self,
        url: URL,
        handlers: Mapping[str, Callable[[str], None]],
        on_gap: Callable[[], None],
        *,
        connect_timeout: int,
        placement: str = CONTROL_PLACEMENT,
    ) -> None:
        self._url = url
        self._placement = placement
        self._handlers = handlers
        self._on_gap = on_gap
        self._connect_timeout = connect_timeout
        self._stop = Event()
        self._lock = Lock()
        self._thread: Thread | None = None
        self._process: int | None = None

    def start(self) -> None:
        """Start listening, unless this process already does."""
        if self._process == os.getpid():  # threads do not survive a fork
            return
        with self._lock:
            if self._process == os.getpid():
                return
            self._stop = Event()
            self._thread = Thread(
                target=self._run, args=(self._stop,), name="orgtenancy-listener", daemon=True
            )
            self._process = os.getpid()
            self._thread.start()

    def ask_to_stop(self) -> None:
        """Let it stop listening soon, and do not wait."""
        self._stop.set()

    def stop(self) -> None:
        """Stop listening, and wait until the connection is closed."""
        with self._lock:
            thread, self._thread = self._thread, None
            owned, self._process = self._process == os.getpid(), None
        self._stop.set()
        if owned and thread is not None:
            thread.join()

    def _run(self, stop: Event) -> None:
        delay = _POLL
        while not stop.is_set():
            try:
                with self._connect() as connection:
                    for channel in self._handlers:
                        connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                    self._on_gap()
                    delay = _POLL
                    while not stop.is_set():
                        for notification in connection.notifies(timeout=_POLL):
                            self._handlers[notification.channel](notification.payload)
            except psycopg.Error as error:
                logger.warning(
                    "not listening for changes to the registry of placement %r: %s",
                    self._placement,
                    error,
                )
                stop.wait(delay)
                delay = min(delay * 2, _MAX_DELAY)

    def _connect(self) -> psycopg.Connection:
        options = connect_options(self._url, connect_timeout=self._connect_timeout)
        return psycopg.Connection.connect(autocommit=True, **options)
