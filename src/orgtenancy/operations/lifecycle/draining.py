"""Waiting until no write of an organization is under way.

When the rights in a schema are gone, no transaction finds a table of it that it has not locked
yet: PostgreSQL looks at rights anew whenever it takes a lock. But a statement that runs goes on
to its end, a prepared one may go on in tables that its transaction has written to, and what was
written is committed. All of these hold a lock on each table that they write to, as transactions
that are prepared to commit do.
So whoever gets a `SHARE` lock on a table after the rights are gone knows that nobody writes to
it any more, nor will. Readers hold no lock that stands in its way.
"""

from __future__ import annotations

import time

from psycopg import sql
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import OperationalError

from orgtenancy.database.engines import Database
from orgtenancy.errors import OrganizationBusy
from orgtenancy.organizations import Organization
from orgtenancy.schemas import grants

_BATCH = 20  # tables locked at once

_TABLES = text(
    "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(:schema) "
    "AND relkind IN ('r', 'p') ORDER BY oid"
)

# query_canceled, by the timeout; lock_not_available; deadlock_detected
_STILL_WRITING = frozenset({"57014", "55P03", "40P01"})


def drain(
    database: Database, organization: Organization, timeout: float, *, operation: str
) -> None:
    """Wait until no write is under way in an organization whose rights are withdrawn.

    It locks no row of the registry meanwhile, so the organization can be opened again.

    Args:
        database: The placement.
        organization: Which organization.
        timeout: Seconds to wait at the most.
        operation: What the caller is about, for the error.

    Raises:
        OrganizationBusy: If writes are still under way then.
    """
    deadline = time.monotonic() + timeout
    quoted = sql.Identifier(organization.schema_name).as_string(None)
    with database.admin_engine.connect() as connection:
        with connection.begin():
            names = connection.scalars(_TABLES, {"schema": quoted}).all()
        for start in range(0, len(names), _BATCH):
            tables = [
                sql.Identifier(organization.schema_name, name)
                for name in names[start : start + _BATCH]
            ]
            try:
                _wait_for_writers(connection, tables, deadline - time.monotonic())
            except OperationalError as error:
                if getattr(error.orig, "sqlstate", None) not in _STILL_WRITING:
                    raise
                raise OrganizationBusy(
                    f"organization {organization.id!r} is {organization.status}, but somebody "
                    f"still writes in it after {timeout:g} s",
                    operation=operation,
                    organization_id=organization.id,
                    schema=organization.schema_name,
                    placement=organization.placement,
                ) from error


def _wait_for_writers(connection: Connection, tables: list[sql.Identifier], seconds: float) -> None:
    statement = sql.SQL("LOCK TABLE {} IN SHARE MODE").format(sql.SQL(", ").join(tables))
    milliseconds = f"{max(1, round(seconds * 1000))}ms"
    with connection.begin() as transaction:
        connection.execute(select(func.set_config("statement_timeout", milliseconds, True)))
        grants.execute(connection, [statement])
        transaction.rollback()
