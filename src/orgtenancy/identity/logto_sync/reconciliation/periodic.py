"""Comparing all organizations with the identity provider's now and then, in one process."""

from __future__ import annotations

import asyncio
import logging
from threading import Event, Thread
from typing import Protocol, Self

from sqlalchemy import func, select

from orgtenancy.database.engines import Database
from orgtenancy.errors import ConfigurationError
from orgtenancy.identity.logto_sync.failures import message_of
from orgtenancy.identity.logto_sync.names import SYNC_ACTION
from orgtenancy.registry.tables import audit
from orgtenancy.schemas.fleet.lock import PlacementLock

_MAX_PAUSE = 60.0  # seconds between looks at whether it is time
_PATIENCE = 10.0  # seconds that a stop waits for one that is under way

logger = logging.getLogger("orgtenancy.logto")


class Sync(Protocol):
    """Compares all organizations with the identity provider's."""

    def run(self) -> object:
        """Make them alike, and write `logto.sync` into the audit; it can be killed anywhere."""
        ...

    def refresh_members(self, organization_id: str) -> None:
        """Read anew who is a member of one organization."""
        ...


class PeriodicSync:
    """Runs a reconciliation now and then, in a thread, and in one process at a time.

    Who runs it is whoever gets a lock of the database, and only if the audit has none that is
    younger than `every`, by the same login. A process that dies lets go of the lock.

    Args:
        database: The control server.
        sync: What to run.
        every: Seconds between two of them.

    Raises:
        ConfigurationError: If there is no `admin_url`.
    """

    def __init__(self, database: Database, sync: Sync, every: float) -> None:
        if database.admin_url is None:
            raise ConfigurationError("a reconciliation needs the owner of the schemas")
        self._database = database
        self._sync = sync
        self._every = every
        self._lock = PlacementLock(
            database.admin_url, SYNC_ACTION, connect_timeout=database.settings.connect_timeout
        )
        self._stop = Event()
        self._thread = Thread(target=self._run, name="orgtenancy-logto-sync", daemon=True)

    def run_if_due(self) -> bool:
        """Run it if it is time and nobody else does, and return whether it was run."""
        if self._seconds_left() > 0 or not self._lock.acquire():
            return False
        try:
            # Asked again: somebody may have come to the end just before the lock was free.
            if self._seconds_left() > 0:
                return False
            self._sync.run()
        finally:
            self._lock.release()
        return True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            logger.warning("a reconciliation is under way, and ends with the process")

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self.__exit__, *exc_info)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.run_if_due()
                pause = min(max(self._seconds_left(), 1.0), _MAX_PAUSE)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next one may succeed
                logger.warning("the reconciliation with Logto failed: %s", message_of(error))
                pause = self._every
            self._stop.wait(pause)

    def _seconds_left(self) -> float:
        """Return in how many seconds the next one is due, by the server's clock.

        Only what this login wrote counts: the app's login may add to the audit too, and could
        put the next one off for ever.
        """
        age = func.extract("epoch", func.clock_timestamp() - audit.c.recorded_at)
        last = (
            select(age)
            .where(
                audit.c.action == SYNC_ACTION,
                audit.c.result == "done",
                audit.c.recorded_by == func.session_user(),
            )
            .order_by(audit.c.id.desc())
            .limit(1)
        )
        with self._database.admin_engine.begin() as connection:
            found = connection.scalar(last)
        return 0.0 if found is None else self._every - float(found)
