"""One consistent view of an organization's rows, while others go on writing.

Every table is locked before the snapshot is taken: readers and writers do not notice such a
lock, and a migration waits for its end. So what the catalogs say of a table, which PostgreSQL
reads as of now, is what the snapshot holds of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from psycopg import sql
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import ProgrammingError

from orgtenancy.database.engines import Database
from orgtenancy.errors import OrganizationBusy, OrganizationNotFound
from orgtenancy.operations.data.tables import Table, enter, query_relations, tables_of
from orgtenancy.organizations import Organization
from orgtenancy.schemas import grants
from orgtenancy.schemas.waiting import patiently

R = TypeVar("R")

_MAX_ATTEMPTS = 10
_UNDEFINED_TABLE = "42P01"

_BEGIN = sql.SQL("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
# How long an attempt waits for a lock.
_LIMIT = sql.SQL("SET LOCAL lock_timeout TO '1s'")

_NAMES = query_relations("""
    SELECT relname FROM relations WHERE relkind IN ('r', 'p') AND NOT relispartition
    ORDER BY relname
""")
_SCHEMA_EXISTS = text("SELECT to_regnamespace(:schema) IS NOT NULL")


@contextmanager
def snapshot(
    connection: Connection,
    organization: Organization,
    extensions_schema: str | None = None,
    *,
    operation: str,
) -> Iterator[list[Table]]:
    """Return a block that is one read-only transaction in an organization's schema.

    Args:
        connection: A connection of the owner, in no transaction.
        organization: Whose rows.
        extensions_schema: A schema with extensions, in the path.
        operation: What the caller is about, for the error.

    Returns:
        The tables, as `tables_of` does.

    Raises:
        OrganizationNotFound: If its schema is not there.
        OrganizationBusy: If others hold a table for too long.
    """
    try:
        tables = patiently(
            organization.id,
            operation,
            lambda: _begin(connection, organization, extensions_schema, operation),
        )
        yield tables
    finally:
        connection.rollback()


class Together:
    """Workers with connections of their own, which see what one transaction sees.

    Made by `working_together`.
    """

    def __init__(
        self, engine: Engine, threads: ThreadPoolExecutor, enter_snapshot: Callable[..., None]
    ) -> None:
        self._engine = engine
        self._threads = threads
        self._enter_snapshot = enter_snapshot

    def submit(self, work: Callable[[Connection], R]) -> Future[R]:
        """Do a piece of work in a thread, with a connection in the snapshot."""
        return self._threads.submit(self._run, work)

    def _run(self, work: Callable[[Connection], R]) -> R:
        with self._engine.connect() as connection:
            try:
                self._enter_snapshot(connection)
                return work(connection)
            finally:
                connection.rollback()


@contextmanager
def working_together(
    database: Database, connection: Connection, organization: Organization, workers: int
) -> Iterator[Together]:
    """Return a block with workers that see what a transaction sees; it ends after their work.

    Work that was not begun is left undone if the block ends by an error.

    Args:
        database: The placement.
        connection: A connection in a `snapshot`, which stays open.
        organization: Whose.
        workers: How many, each in a thread.
    """
    name = str(connection.scalar(text("SELECT pg_export_snapshot()")))

    def enter_snapshot(other: Connection) -> None:
        grants.execute(other, [_BEGIN, sql.SQL("SET TRANSACTION SNAPSHOT {}").format(name)])
        enter(other, organization.schema_name, database.settings.extensions_schema)

    with ThreadPoolExecutor(workers, "orgtenancy-snapshot") as threads:
        try:
            yield Together(database.side_engine, threads, enter_snapshot)
        finally:
            threads.shutdown(cancel_futures=True)


def _begin(
    connection: Connection,
    organization: Organization,
    extensions_schema: str | None,
    operation: str,
) -> list[Table]:
    """Begin the transaction, with all tables of the schema locked."""
    schema = organization.schema_name
    for _ in range(_MAX_ATTEMPTS):
        connection.rollback()
        names = _table_names(connection, organization)
        connection.rollback()
        try:
            # None of these statements takes the snapshot: the first query does.
            grants.execute(connection, [_BEGIN, _LIMIT, *_locks(schema, names)])
        except ProgrammingError as error:
            if getattr(error.orig, "sqlstate", None) != _UNDEFINED_TABLE:
                raise
            continue  # dropped since
        enter(connection, schema, extensions_schema)
        if set(_table_names(connection, organization)) == set(names):
            return tables_of(connection, schema)
    raise OrganizationBusy(
        f"the tables of organization {organization.id!r} are changing: {operation} it later",
        operation=operation,
        organization_id=organization.id,
        schema=schema,
        placement=organization.placement,
    )


def _locks(schema: str, names: Sequence[str]) -> list[sql.Composable]:
    if not names:
        return []
    tables = sql.SQL(", ").join(sql.Identifier(schema, name) for name in names)
    return [sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(tables)]


def _table_names(connection: Connection, organization: Organization) -> Sequence[str]:
    given = {"schema": sql.Identifier(organization.schema_name).as_string(None)}
    if not connection.scalar(_SCHEMA_EXISTS, given):
        raise OrganizationNotFound(
            f"organization {organization.id!r} has no schema {organization.schema_name!r} there",
            organization_id=organization.id,
            schema=organization.schema_name,
            placement=organization.placement,
        )
    return connection.scalars(_NAMES, given).all()
