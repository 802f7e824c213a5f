"""The connections that a job works over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Connection, NullPool
from sqlalchemy.exc import DBAPIError, OperationalError, PendingRollbackError

from orgtenancy.database.engines import Database
from orgtenancy.errors import ConfigurationError
from orgtenancy.schemas.revisions.applying import session_options
from orgtenancy.schemas.revisions.places import Limits, Place

# What PostgreSQL asks to try again, or says as it goes down or comes up, and our own.
_RETRYABLE = frozenset(
    {
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "53300",  # too_many_connections
        "55006",  # object_in_use
        "55P03",  # lock_not_available
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
        "OT001",  # renamed or dropped since it was looked up: the next look knows
    }
)
_CONNECTION_EXCEPTION = "08"


class Worker:
    """One connection of the owner, renewed now and then.

    Args:
        database: The placement.
        renew_after: Schemas after which it connects anew: a backend keeps the catalog
            entries of each schema it touched.
    """

    def __init__(self, database: Database, *, renew_after: int) -> None:
        self._database = database
        self._renew_after = renew_after
        self._engine = database.make_admin_engine(poolclass=NullPool)
        self._connection: Connection | None = None
        self._used = 0

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend the connection, in no transaction."""
        if self._connection is None:
            self._connection = self._engine.connect()
            self._used = 0
        try:
            yield self._connection
        except BaseException:
            # Whatever state it is in: the next schema gets a new one.
            self.close()
            raise
        self._used += 1
        if self._used >= self._renew_after:
            self.close()

    @contextmanager
    def session(self, place: Place, limits: Limits) -> Iterator[Connection]:
        """Lend a connection of its own, whose path is a schema's for the whole session.

        Raises:
            ConfigurationError: If the server takes connections, but none with such a path:
                there is a pooler in between.
        """
        engine = self._database.make_admin_engine(
            poolclass=NullPool, options=session_options(place, limits)
        )
        try:
            connection = engine.connect()
        except OperationalError as error:
            with self._engine.connect():  # fails as well where the server is gone
                pass
            raise ConfigurationError(
                "a revision that takes no transaction needs a direct connection to the server; "
                f"what admin_url leads to refuses the options of its session: {error.orig}",
                schema=place.schema_name,
            ) from error
        with connection:
            yield connection

    def close(self) -> None:
        """Close the connection, without a word to a server that may be gone."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()


def cause_of(error: BaseException) -> psycopg.Error | None:
    """Return what the server or the driver said, whoever wrapped it."""
    # A connection was lost, and somebody on the way out tried to go on with it.
    while isinstance(error, PendingRollbackError) and error.__context__ is not None:
        error = error.__context__
    found = error.orig if isinstance(error, DBAPIError) else error
    return found if isinstance(found, psycopg.Error) else None


def should_retry(error: BaseException) -> bool:
    """Return whether another attempt may do better: a lock, or a connection, was missing."""
    cause = cause_of(error)
    if cause is None:
        return False
    if cause.sqlstate is None:  # the driver's own: it could not connect, or lost the server
        return isinstance(cause, psycopg.OperationalError)
    return cause.sqlstate in _RETRYABLE or cause.sqlstate.startswith(_CONNECTION_EXCEPTION)


def told(error: BaseException) -> str:
    """Return an error as one line for the journal."""
    cause = cause_of(error)
    if cause is None:
        return f"{type(error).__name__}: {error}".strip()
    state = f"{cause.sqlstate} " if cause.sqlstate else ""
    primary: Any = cause.diag.message_primary
    return f"{state}{primary or cause}".strip()
