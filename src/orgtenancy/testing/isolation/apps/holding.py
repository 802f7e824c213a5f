"""Holding a request in the middle of its work: in the database, where it is easily seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg import sql
from sqlalchemy import URL

from orgtenancy import Tenancy
from orgtenancy.database.engines import connect_options
from orgtenancy.naming import schema_name
from orgtenancy.testing.isolation.marks import NotApplicable

# An app that waits for the database in its event loop holds up the kit, too: let it go then.
_LONGEST = "10s"

_TABLES = """
    SELECT c.oid, c.relname FROM pg_class c
    WHERE c.relnamespace = to_regnamespace(quote_ident(%s)) AND c.relkind IN ('r', 'p')
    ORDER BY c.relname
"""
# Another database of the server may have tables with the same oids.
_LOCKS = """
    SELECT DISTINCT pid FROM pg_locks
    WHERE relation = ANY(%s) AND pid <> pg_backend_pid()
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_WAITING = _LOCKS + " AND NOT granted"
_WORKING = _LOCKS


class Hold:
    """Locks on all tables of an organization: whoever works in it waits.

    Args:
        tenancy: Whose organization.
        holder: The owner's connection that has the locks.
        watcher: Another one.
        tables: The tables' oids.
    """

    def __init__(
        self,
        tenancy: Tenancy,
        holder: psycopg.Connection,
        watcher: psycopg.Connection,
        tables: list[int],
    ) -> None:
        self._tenancy = tenancy
        self._holder = holder
        self._watcher = watcher
        self._tables = tables

    def is_waited_for(self) -> bool:
        """Whether somebody waits."""
        return bool(self._waiting())

    def cancel_statements(self) -> None:
        """End the statements that wait, as a statement timeout does."""
        self._signal(sql.SQL("SELECT pg_cancel_backend(%s)"))

    def end_connections(self) -> None:
        """End the connections of those who wait, as a server does that restarts."""
        self._signal(sql.SQL("SELECT pg_terminate_backend(%s)"))

    def release(self) -> None:
        """Let them work."""
        # The server may have ended the transaction itself.
        with suppress(psycopg.Error):
            self._holder.rollback()

    def _waiting(self) -> list[int]:
        return [pid for (pid,) in self._watcher.execute(_WAITING, (self._tables,))]

    def _signal(self, statement: sql.SQL) -> None:
        for pid in self._waiting():
            try:
                self._watcher.execute(statement, (pid,))
            except psycopg.errors.InsufficientPrivilege:
                self._signal_as_app(statement, pid)

    def _signal_as_app(self, statement: sql.SQL, pid: int) -> None:
        try:
            with _connected(self._tenancy, self._tenancy._database.url) as connection:
                connection.execute(statement, (pid,))
        except psycopg.errors.InsufficientPrivilege:
            raise NotApplicable("neither login may end the other one's statements") from None


@contextmanager
def holding(tenancy: Tenancy, organization: str) -> Iterator[Hold]:
    """Lock the tables of an organization in a block."""
    schema = schema_name(organization)
    admin_url = tenancy._database.admin_url
    with (
        _connected(tenancy, admin_url) as holder,
        _connected(tenancy, admin_url, autocommit=True) as watcher,
    ):
        tables = holder.execute(_TABLES, (schema,)).fetchall()
        names = sql.SQL(", ").join(sql.Identifier(schema, name) for _, name in tables)
        # Not the options of a session: a pooler refuses those.
        limit = sql.SQL("SET LOCAL idle_in_transaction_session_timeout = {}")
        holder.execute(limit.format(sql.Literal(_LONGEST)))
        holder.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names))
        hold = Hold(tenancy, holder, watcher, [oid for oid, _ in tables])
        try:
            yield hold
        finally:
            hold.release()


def end_work_in(tenancy: Tenancy, organization: str) -> None:
    """End the connections that still work with an organization's tables.

    What an app keeps open for good would hold up whoever empties or drops them.
    """
    with _connected(tenancy, tenancy._database.admin_url, autocommit=True) as connection:
        tables = [oid for oid, _ in connection.execute(_TABLES, (schema_name(organization),))]
        for (pid,) in connection.execute(_WORKING, (tables,)).fetchall():
            # The app's own login's are closed with its pools.
            with suppress(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT pg_terminate_backend(%s)", (pid,))


@contextmanager
def _connected(
    tenancy: Tenancy, url: URL | None, *, autocommit: bool = False
) -> Iterator[psycopg.Connection]:
    if url is None:
        raise NotApplicable("this needs the owner of the schemas: give Tenancy an admin_url")
    options = connect_options(url, connect_timeout=tenancy.settings.connect_timeout)
    # A pooler in transaction mode may not keep what was prepared.
    connection = psycopg.connect(**options, autocommit=autocommit, prepare_threshold=None)
    try:
        yield connection
    finally:
        connection.close()
