"""What the owner does to the clients meanwhile."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter, deque
from collections.abc import Callable
from itertools import count
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from orgtenancy import Organization, Tenancy, embedded
from orgtenancy.errors import OrganizationBusy

#: The name that the workers' connections have.
APPLICATION = "orgtenancy-soak"
_EXTRA = 25  # organizations made during the run that are there at a time
_SHUT = 4  # organizations that are shut at a time
_BACKENDS = (
    "FROM pg_stat_activity WHERE application_name = :application AND pid <> pg_backend_pid()"
)
_END = text(
    "SELECT pg_terminate_backend(pid) FROM (SELECT pid " + _BACKENDS + " ORDER BY random() "
    "LIMIT :number) chosen"
)
_CANCEL = text(
    "SELECT pg_cancel_backend(pid) FROM (SELECT pid " + _BACKENDS + " AND state = 'active' "
    "ORDER BY random() LIMIT :number) chosen"
)


class Server:
    """A server of the run's own, which can be restarted."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._handle = self._start()
        self.url, self.admin_url = self._handle.url, self._handle.admin_url

    def _start(self) -> embedded.EmbeddedServer:
        settings = {
            # What was acknowledged must survive a crash of the server, not of the machine.
            "synchronous_commit": "on",
            "fsync": "off",
            "max_connections": "200",
            "max_locks_per_transaction": "256",
        }
        return embedded.server(self._directory, settings=settings)

    def restart(self, *, crash: bool) -> None:
        """Stop it, with its clients at work, and start it again."""
        if crash:
            pid = (self._directory / "data" / "postmaster.pid").read_text().split()[0]
            os.kill(int(pid), signal.SIGQUIT)
        self._handle.stop()
        self._handle = self._start()
        assert self._handle.url == self.url

    def stop(self) -> None:
        self._handle.stop()


class Chaos:
    """The owner, who ends connections and changes organizations.

    Args:
        tenancy: The owner's.
        server: What is restarted.
        organizations: Those there are; it does not purge them.
        tell: Tells the workers of organizations that come and go.
        violate: Called with the evidence where something is wrong.
    """

    def __init__(
        self,
        tenancy: Tenancy,
        server: Server,
        organizations: list[Organization],
        tell: Callable[[str], None],
        violate: Callable[[str], None],
    ) -> None:
        self.done: Counter[str] = Counter()
        self.purged: set[str] = set()
        self._tenancy = tenancy
        self._server = server
        self._organizations = organizations
        self._tell = tell
        self._violate = violate
        self._dice = random.Random(0)
        self._names = count()
        self._extra: deque[str] = deque()
        self._suspended: deque[str] = deque()

    def act(self) -> None:
        """Do one thing, at random."""
        acts: dict[Callable[[], None], int] = {
            self.end_connections: 5,
            self.cancel_statements: 5,
            self.suspend: 3,
            self.fence: 3,
            self.make_and_purge: 3,
        }
        [act] = self._dice.choices(list(acts), list(acts.values()))
        self._count(act.__name__, act)

    def restart(self, *, crash: bool) -> None:
        """Restart the server."""
        self._server.restart(crash=crash)
        self._tenancy._database.admin_engine.dispose()
        self.done["crash and restart" if crash else "restart"] += 1

    def settle(self) -> None:
        """Open what is shut."""
        while self._suspended:
            self._tenancy.organizations.resume(self._suspended.popleft())

    def end_connections(self) -> None:
        self._ask_of_backends(_END, self._dice.randint(1, 3))

    def cancel_statements(self) -> None:
        self._ask_of_backends(_CANCEL, 3)

    def suspend(self) -> None:
        """Suspend one, look that nothing more is written, and resume another one."""
        if len(self._suspended) >= _SHUT:
            self._tenancy.organizations.resume(self._suspended.popleft())
            self.done["resume"] += 1
        organization = self._any()
        self._suspended.append(organization.id)
        self._tenancy.organizations.suspend(organization.id, wait=10)
        self._see_that_it_rests(organization)

    def fence(self) -> None:
        """Fence one for a moment, in which nothing is written."""
        organization = self._any()
        try:
            self._tenancy.organizations.fence(organization.id, wait=10)
            self._see_that_it_rests(organization)
        finally:
            self._tenancy.organizations.unfence(organization.id)

    def make_and_purge(self) -> None:
        """Claim a spare for a new one; archive and purge the one that was made first."""
        organization = self._tenancy.schemas.provision(f"new-{next(self._names)}")
        self._extra.append(organization.id)
        self._tell(f"add {organization.id}")
        if len(self._extra) > _EXTRA:
            oldest = self._extra.popleft()
            self.purged.add(oldest)
            self._tell(f"remove {oldest}")
            self._tenancy.organizations.archive(oldest)
            self._tenancy.organizations.purge(oldest, confirm=oldest, now=True)
            self.done["purge"] += 1

    def backends(self) -> list[int]:
        """Return the server's processes for the workers."""
        with self._tenancy._database.admin_engine.connect() as connection:
            query = text("SELECT pid " + _BACKENDS)
            return list(connection.scalars(query, {"application": APPLICATION}))

    def _count(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
            self.done[name] += 1
        except OrganizationBusy:
            self.done[f"{name}: busy"] += 1

    def _any(self) -> Organization:
        return self._dice.choice([o for o in self._organizations if o.id not in self._suspended])

    def _see_that_it_rests(self, organization: Organization) -> None:
        before = self._rows(organization)
        time.sleep(0.05)
        after = self._rows(organization)
        if after != before:
            self._violate(f"{organization.id} was written while shut: {before} -> {after} rows")

    def _rows(self, organization: Organization) -> int:
        with self._tenancy._database.admin_engine.connect() as connection:
            query = f'SELECT count(*) FROM "{organization.schema_name}".notes'
            return int(connection.exec_driver_sql(query).scalar_one())

    def _ask_of_backends(self, query: object, number: int) -> None:
        with self._tenancy._database.admin_engine.begin() as connection:
            connection.execute(query, {"application": APPLICATION, "number": number})  # type: ignore[call-overload]


def patiently(action: Callable[[], None], attempts: int = 5) -> None:
    """Do something that a connection lost meanwhile may fail once."""
    for attempt in range(attempts):
        try:
            return action()
        except DBAPIError as error:
            if not error.connection_invalidated or attempt == attempts - 1:
                raise
    return None
