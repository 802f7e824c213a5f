"""Working on what Logto's webhooks left in the inbox.

A worker claims an event by a lock on its row, in a transaction that stays open while the work
is done on other connections, and then writes what became of it. When the worker dies, the
server lets go of the lock, and somebody else does the work again; it can be done twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from threading import Event, Thread
from typing import Any, Self, cast

import psycopg
from psycopg import sql
from sqlalchemy import Connection
from sqlalchemy.pool import NullPool

from orgtenancy.errors import ConfigurationError, InvalidOrganizationId
from orgtenancy.identity.logto_sync.failures import told
from orgtenancy.identity.logto_sync.host import Host
from orgtenancy.identity.logto_sync.inbound.applying import Applier, Labels
from orgtenancy.identity.logto_sync.inbound.events import SUPERSEDED_BY, action_of
from orgtenancy.identity.logto_sync.names import SOURCE
from orgtenancy.identity.logto_sync.reconciliation.periodic import PeriodicSync, Sync
from orgtenancy.identity.logto_sync.settings import CLOCK_SKEW, LogtoSettings
from orgtenancy.registry import inbox
from orgtenancy.registry.inbox import InboxItem

_POLL = 2.0  # seconds between looks at the inbox, for what is to be tried again
_SLICE = 0.5  # seconds between looks at the stop signal
_MAX_DELAY = 30.0  # seconds between attempts to reconnect
_PRUNE_EVERY = 3600.0  # seconds

logger = logging.getLogger("orgtenancy.logto")


class LogtoWorker:
    """Does what Logto's webhooks say. A block, `with` or `async with`, for an app's lifespan.

    Inside the block a thread of this process works, on a connection of its own beside the
    pools'. Any number of processes may have one: they share the events. It works as the owner
    of the schemas.

    Args:
        host: The tenancy, with an `admin_url`.
        settings: How old webhooks may be, and how often all is compared.
        attributes: Returns an organization's labels from what Logto says of it, such as from
            its `customData`; labels that it does not return stay as they are. None takes over
            no labels.
        sync: Compares all organizations with Logto's: every `settings.sync_every` seconds, in
            one of the processes. Where `settings.sync_members` is set, it also reads the members
            of an organization when a webhook says that they changed, and not how.

    Attributes:
        worked_on: How many events it has worked on.

    Raises:
        ConfigurationError: If there is no `admin_url`, or events are kept for a shorter time
            than a webhook may be old: one that is sent twice would be done twice.
    """

    def __init__(
        self,
        host: Host,
        settings: LogtoSettings,
        *,
        attributes: Labels | None = None,
        sync: Sync | None = None,
    ) -> None:
        database = host.schemas.builder.database
        refresh = sync.refresh_members if sync is not None and settings.sync_members else None
        self._applier = Applier(host, attributes=attributes, refresh_members=refresh)
        self._listens = database.settings.listen
        self._retention = database.settings.inbox_retention
        if self._retention < timedelta(seconds=settings.webhook_max_age) + CLOCK_SKEW:
            raise ConfigurationError(
                "inbox_retention has to be longer than webhook_max_age and "
                f"{CLOCK_SKEW.total_seconds():g} s, so that a webhook which is sent twice is told "
                "by the first one"
            )
        # Not from the pool: what an event asks for takes connections of the pool while this
        # one waits, and many workers would wait for each other.
        self._engine = database.make_admin_engine(poolclass=NullPool)
        self._periodic = None
        if sync is not None and settings.sync_every > 0:
            self._periodic = PeriodicSync(database, sync, settings.sync_every)
        self.worked_on = 0
        self._stack = ExitStack()
        self._stop = Event()
        self._pruned_at = float("-inf")
        self._thread = Thread(target=self._run, name="orgtenancy-logto", daemon=True)

    def run_once(self) -> int:
        """Work until no event is due, and return how many were worked on."""
        return self.run_while(lambda: True)

    def run_while(self, go_on: Callable[[], bool]) -> int:
        """Work, as `run_once` does, as long as `go_on` says so before each event."""
        with self._engine.connect() as connection:
            return self._work(connection, go_on)

    def prune(self) -> int:
        """Delete events that were done `inbox_retention` ago, and return how many."""
        with self._engine.begin() as connection:
            return inbox.prune(connection, self._retention)

    def __enter__(self) -> Self:
        self._thread.start()
        if self._periodic is not None:
            self._stack.enter_context(self._periodic)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        self._stack.close()
        self._thread.join()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self.__exit__, *exc_info)

    def _run(self) -> None:
        delay = _SLICE
        while not self._stop.is_set():
            try:
                with self._engine.connect() as connection:
                    self._listen(connection)
                    while not self._stop.is_set():
                        self._work(connection, lambda: not self._stop.is_set())
                        self._prune_now_and_then()
                        delay = _SLICE
                        self._wait(connection)
            except Exception as error:  # noqa: BLE001 - nobody else would see the thread end
                logger.warning("Logto's events are not worked on, trying again: %s", told(error))
                self._stop.wait(delay)
                delay = min(delay * 2, _MAX_DELAY)

    def _listen(self, connection: Connection) -> None:
        if self._listens:
            statement = sql.SQL("LISTEN {}").format(sql.Identifier(inbox.INBOX_CHANNEL))
            with connection.begin():
                connection.exec_driver_sql(statement.as_string(None))

    def _wait(self, connection: Connection) -> None:
        """Wait until an event arrives, or some time has passed."""
        driver = _driver(connection)
        end = time.monotonic() + _POLL
        while not self._stop.is_set() and time.monotonic() < end:
            if not self._listens:
                self._stop.wait(_SLICE)
            elif list(driver.notifies(timeout=_SLICE, stop_after=1)):
                return

    def _prune_now_and_then(self) -> None:
        if time.monotonic() - self._pruned_at >= _PRUNE_EVERY:
            self.prune()
            self._pruned_at = time.monotonic()

    def _work(self, connection: Connection, go_on: Callable[[], bool]) -> int:
        count = 0
        while go_on() and self._work_on_next(connection):
            count += 1
            self.worked_on += 1
        return count

    def _work_on_next(self, connection: Connection) -> bool:
        """Work on the next event, and return whether there was one."""
        with connection.begin():
            item = inbox.claim_next(connection, SOURCE)
            if item is None:
                return False
            by = SUPERSEDED_BY.get(item.event, {})
            if by and inbox.is_superseded(connection, SOURCE, item, by=by):
                inbox.finish(connection, item, "superseded")
            else:
                _stay_open(connection)
                self._do(connection, item)
        return True

    def _do(self, connection: Connection, item: InboxItem) -> None:
        try:
            outcome, error = self._applier.apply(action_of(item.body), item)
        except InvalidOrganizationId as refusal:
            outcome, error = "failed", told(refusal)
        except Exception as failure:  # noqa: BLE001 - a handler of the host may raise anything
            logger.warning(
                "event %d (%s of %r) is tried again later: %s",
                item.id,
                item.event,
                item.subject,
                told(failure),
            )
            inbox.retry_later(connection, item, told(failure))
            return
        if outcome == "failed":
            logger.error("event %d (%s) cannot be worked on: %s", item.id, item.event, error)
        inbox.finish(connection, item, outcome, error)


def _stay_open(connection: Connection) -> None:
    """Let the transaction be idle for as long as the work on other connections takes.

    It also ends the query before, whose portal would hold a snapshot: `CREATE INDEX
    CONCURRENTLY` of a migration that the work starts would wait for this transaction, and so
    for itself. It must be the last one before the work.
    """
    statement = "SET LOCAL idle_in_transaction_session_timeout TO 0"
    if _driver(connection).info.server_version >= 170000:
        statement += "; SET LOCAL transaction_timeout TO 0"
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    driver: Any = connection.connection.driver_connection
    return cast("psycopg.Connection[Any]", driver)
