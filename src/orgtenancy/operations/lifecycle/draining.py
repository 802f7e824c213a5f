"""Waiting until no write of an organization is under way.

When the rights in a schema are gone, no transaction finds a table of it that it has not locked
yet: PostgreSQL looks at rights anew whenever it takes a lock. But a statement that runs goes on
to its end, a prepared one may go on in tables that its transaction has written to, and what was
written is committed. All of these hold a lock on each table that they write to, as transactions
that are prepared to commit do.
So whoever gets a `SHARE` lock on a table after the rights are gone knows that nobody writes to
it any more, nor will. Readers hold no lock that stands in its way.

One table at a time: whoever waited for a table with another one in hand could wait for a writer
who wants that one next, and PostgreSQL would end either the fence or the writer as a deadlock.
A cascade may still reach a table that was looked at already, by the owner's rights; it comes
from a table that its transaction had locked before, and that one is waited for.
"""

from __future__ import annotations

import time

from psycopg import sql
from sqlalchemy import Connection, bindparam, func, select, text
from sqlalchemy.exc import DBAPIError

from orgtenancy.database.engines import Database
from orgtenancy.errors import OrganizationBusy
from orgtenancy.organizations import Organization
from orgtenancy.registry.tables import organizations
from orgtenancy.schemas import grants

# Milliseconds to wait for a lock at a time. Whoever wants to write waits behind who waits for
# it; nobody does while the organization is shut, but it may be opened again.
_TURN = 200.0

# By their numbers: a suspended organization may be migrated or get another id meanwhile.
_TABLES = text(
    "SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace(:schema) "
    "AND relkind IN ('r', 'p') ORDER BY oid"
)
_NAME = text(
    "SELECT nspname, relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace "
    "WHERE pg_class.oid = :table"
)
_SINCE = select(organizations.c.status_changed_at).where(
    organizations.c.role_name == bindparam("role")
)

# query_canceled, by the timeout; lock_not_available; deadlock_detected; and undefined_table
# and invalid_schema_name, where it was renamed since we looked, or is gone.
_LATER = frozenset({"57014", "55P03", "40P01", "42P01", "3F000"})


def drain(
    database: Database, organization: Organization, timeout: float, *, operation: str
) -> None:
    """Wait until no write is under way in an organization whose rights are withdrawn.

    It locks no row of the registry meanwhile, so the organization can be opened again.

    Args:
        database: The placement.
        organization: Which organization, as it is since it was closed.
        timeout: Seconds to wait at the most.
        operation: What the caller is about, for the error.

    Raises:
        OrganizationBusy: If writes are still under way then, or somebody changed its status
            meanwhile: what was looked at before says nothing any more.
    """
    deadline = time.monotonic() + timeout
    quoted = sql.Identifier(organization.schema_name).as_string(None)
    with database.admin_engine.connect() as connection:
        with connection.begin():
            tables = connection.scalars(_TABLES, {"schema": quoted}).all()
        for table in tables:
            while not _is_drained(connection, table, deadline):
                _check_is_as_it_was(connection, organization, operation)
                if time.monotonic() >= deadline:
                    reason = f"but somebody still writes in it after {timeout:g} s"
                    raise _busy(organization, operation, reason)
        _check_is_as_it_was(connection, organization, operation)


def _is_drained(connection: Connection, table: int, deadline: float) -> bool:
    """Wait a moment for those who write to a table, whatever it is called by now."""
    rest = min(max(1.0, (deadline - time.monotonic()) * 1000), _TURN)
    with connection.begin() as transaction:
        connection.execute(select(func.set_config("statement_timeout", f"{rest:.0f}ms", True)))
        name = connection.execute(_NAME, {"table": table}).one_or_none()
        if name is None:
            return True
        # Its partitions are tables of their own here.
        lock = sql.SQL("LOCK TABLE ONLY {} IN SHARE MODE").format(sql.Identifier(*name))
        try:
            grants.execute(connection, [lock])
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _LATER:
                raise
            return False
        finally:
            transaction.rollback()
    return True


def _check_is_as_it_was(connection: Connection, organization: Organization, operation: str) -> None:
    with connection.begin():
        since = connection.scalar(_SINCE, {"role": organization.role_name})
    if since != organization.status_changed_at:
        raise _busy(organization, operation, "and somebody changed that meanwhile")


def _busy(organization: Organization, operation: str, reason: str) -> OrganizationBusy:
    return OrganizationBusy(
        f"organization {organization.id!r} was {organization.status}, {reason}",
        operation=operation,
        organization_id=organization.id,
        schema=organization.schema_name,
        placement=organization.placement,
    )
