"""How the placements are: within reach, open or draining, and how many organizations they hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from orgtenancy.database.engines import Database
from orgtenancy.database.placements import Placements
from orgtenancy.errors import ConfigurationError
from orgtenancy.naming import CONTROL_PLACEMENT
from orgtenancy.organizations import OrganizationStatus
from orgtenancy.registry.tables import organizations, placements
from orgtenancy.schemas.grants import server_version

_MAX_AGE = 5.0  # seconds for which it is remembered how a placement is
_OPEN = "open"


@dataclass(frozen=True, slots=True)
class Health:
    """How a placement is.

    Attributes:
        organizations: How many it holds, those that were purged left out; None if it is not
            within reach.
        server_version: The major version of its PostgreSQL, if it is within reach.
        error: Why it is not within reach, or None.
    """

    organizations: int | None = None
    server_version: int | None = None
    error: str | None = None

    @property
    def is_reachable(self) -> bool:
        """Whether it answers."""
        return self.error is None


def examine(database: Database) -> Health:
    """Ask a placement how it is."""
    try:
        return _ask(database)
    except DBAPIError as error:
        if error.connection_invalidated:  # an idle one, of before a restart of the server
            return examine(database)
        return Health(error=" ".join(str(error.orig).split()))
    except ConfigurationError as error:  # without an admin_url
        return Health(error=str(error))


def examine_all(databases: Placements) -> Mapping[str, Health]:
    """Ask all placements at once: one that is down makes nobody wait for the others."""
    found = list(databases)
    with ThreadPoolExecutor(len(found), "orgtenancy-placements") as threads:
        return dict(zip((one.name for one in found), threads.map(examine, found), strict=True))


def states(control: Database) -> Mapping[str, str]:
    """Return which placements were added, each with its state."""
    with control.admin_engine.begin() as connection:
        return {row.name: row.state for row in connection.execute(select(placements))}


class Counts:
    """How placements are, remembered for a few seconds. Threads share it.

    What this process adds meanwhile is counted. Other processes are heard of when it is asked
    anew: so several of them may pass a limit by what they add at the same time.

    Args:
        databases: The placements.
        clock: Seconds that only go up.
    """

    def __init__(self, databases: Placements, clock: Callable[[], float] = time.monotonic) -> None:
        self._databases = databases
        self._clock = clock
        self._lock = Lock()
        self._asking = Lock()
        self._found: Mapping[str, Health] = {}
        self._states: Mapping[str, str] = {}
        self._until = 0.0

    def get(self) -> tuple[Mapping[str, Health], Mapping[str, str]]:
        """Return how the placements are, and which were added, with their state."""
        # One thread asks, which may have to wait for a server that is down: meanwhile the
        # others go by what is known, if anything is.
        if self._clock() >= self._until and self._asking.acquire(blocking=not self._found):
            try:
                if self._clock() >= self._until:
                    self._ask()
            finally:
                self._asking.release()
        with self._lock:
            return self._found, self._states

    def add(self, name: str) -> None:
        """Count an organization that this process has made."""
        with self._lock:
            known = self._found.get(name)
            if known is not None and known.organizations is not None:
                more = replace(known, organizations=known.organizations + 1)
                self._found = {**self._found, name: more}

    def forget(self) -> None:
        """Ask anew the next time."""
        self._until = 0.0

    def _ask(self) -> None:
        began = self._clock()
        states_by_name, found = states(self._databases.control), examine_all(self._databases)
        now = self._clock()
        with self._lock:
            self._states, self._found = states_by_name, found
            self._until = now + max(_MAX_AGE, 3 * (now - began))


def is_open(states_by_name: Mapping[str, str], name: str) -> bool:
    """Return whether a placement was added, and is not being drained."""
    # The control server is there before anything is added.
    return states_by_name.get(name, _OPEN if name == CONTROL_PLACEMENT else None) == _OPEN


def _ask(database: Database) -> Health:
    statement = select(func.count()).where(organizations.c.status != OrganizationStatus.PURGED)
    with database.admin_engine.begin() as connection:
        return Health(int(connection.scalar(statement) or 0), server_version(connection))
