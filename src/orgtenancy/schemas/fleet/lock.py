"""One runner at a time for each placement."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import URL, Connection, text

from orgtenancy.database.engines import connect_options

# Of the two numbers of an advisory lock this is the first: "orgt" as a big-endian integer.
_SPACE = int.from_bytes(b"orgt", "big")


class PlacementLock:
    """An advisory lock, held by a transaction that stays open.

    The transaction pins its server connection, so that a pooler in transaction mode keeps
    the lock. It holds no snapshot and no row, so that nothing waits for it: neither a vacuum
    nor a `CREATE INDEX CONCURRENTLY`. When the runner dies,
    the server notices, and the lock is free.

    Args:
        url: The owner.
        placement: The server's name.
        connect_timeout: Seconds to wait for the server.
    """

    def __init__(self, url: URL, placement: str, *, connect_timeout: int) -> None:
        self._options = connect_options(url, connect_timeout=connect_timeout)
        self._key = lock_key(placement)
        self._connection: psycopg.Connection[Any] | None = None

    def acquire(self) -> bool:
        """Take the lock if it is free, and return whether this object has it now.

        Raises:
            psycopg.OperationalError: If the server cannot be reached.
        """
        # Simple queries only, none with parameters and none prepared: a portal of the extended
        # protocol stays open until the transaction ends, and holds its snapshot.
        connection = psycopg.Connection.connect(**{**self._options, "prepare_threshold": None})
        try:
            connection.execute("SET LOCAL idle_in_transaction_session_timeout TO 0")
            if connection.info.server_version >= 170000:
                connection.execute("SET LOCAL transaction_timeout TO 0")
            row = connection.execute(
                sql.SQL("SELECT pg_try_advisory_xact_lock({}, {})").format(_SPACE, self._key)
            ).fetchone()
            if row is not None and row[0]:
                self.release()
                self._connection = connection
                return True
        except BaseException:
            connection.close()
            raise
        connection.close()
        return False

    def is_held(self) -> bool:
        """Ask the server whether the lock is still there, which also keeps the line alive."""
        if self._connection is None:
            return False
        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            self.release()
            return False
        return True

    def release(self) -> None:
        """Let others have it."""
        if self._connection is not None:
            with suppress(psycopg.Error):  # it may be lost
                self._connection.rollback()  # the server notices a close only some time later
            self._connection.close()
            self._connection = None


def lock_key(placement: str) -> int:
    """Return the second number of a placement's lock."""
    digest = hashlib.blake2b(placement.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big", signed=True)


def is_held_by_anybody(connection: Connection, placement: str) -> bool:
    """Return whether somebody works on a placement, without taking the lock."""
    statement = text(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        "AND classid = :space AND objid::bigint = (CAST(:key AS bigint) & 4294967295) "
        "AND objsubid = 2)"
    )
    key = {"space": _SPACE, "key": lock_key(placement)}
    return bool(connection.scalar(statement, key))
