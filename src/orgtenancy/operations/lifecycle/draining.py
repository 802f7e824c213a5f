"""Waiting until no write of an organization is under way.

When the rights in a schema are gone, no transaction writes to a table of it that it has not
locked yet: PostgreSQL locks a table, takes note of what changed in the catalogs, and then looks
at the rights. But a statement that runs goes on to its end, a prepared one may go on in tables
that its transaction has written to, and what was written is committed. All of these hold a lock
on each table that they write to until they end, as transactions that are prepared to commit do.
So where `pg_locks` shows none after the rights are gone, nobody writes any more, nor will.

To look makes nobody wait. A `SHARE` lock would say the same, but whoever waits for one stands in
the way of others, may be chosen as a deadlock's victim, and waits for autovacuum as well.
A cascade writes to a further table by the owner's rights; it comes from a table that its
transaction had locked before, and all are looked at together.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from psycopg import sql
from sqlalchemy import Connection, bindparam, select, text

from orgtenancy.database.engines import Database
from orgtenancy.errors import OrganizationBusy
from orgtenancy.organizations import Organization
from orgtenancy.registry.tables import organizations

_FIRST_PAUSE = 0.01  # seconds between two looks
_LONGEST_PAUSE = 0.2

# By their numbers: a suspended organization may be migrated or get another id meanwhile.
_TABLES = text(
    "SELECT oid FROM pg_class WHERE relnamespace = to_regnamespace(:schema) "
    "AND relkind IN ('r', 'p')"
)
# What vacuum and `CREATE INDEX CONCURRENTLY` hold is not among them: they write no rows.
_IS_WRITTEN_TO = text(
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'relation' AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND relation = ANY (:tables) AND mode IN ('RowExclusiveLock', "
    "'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'))"
)
_SINCE = select(organizations.c.status_changed_at).where(
    organizations.c.role_name == bindparam("role")
)


def drain(
    database: Database, organization: Organization, timeout: float, *, operation: str
) -> None:
    """Wait until no write is under way in an organization whose rights are withdrawn.

    It locks nothing meanwhile, so the organization can be opened again.

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
    pause = _FIRST_PAUSE
    quoted = sql.Identifier(organization.schema_name).as_string(None)
    with database.admin_engine.connect() as connection:
        with connection.begin():
            tables = connection.scalars(_TABLES, {"schema": quoted}).all()
        while _is_written_to(connection, tables):
            _check_is_as_it_was(connection, organization, operation)
            rest = deadline - time.monotonic()
            if rest <= 0:
                reason = f"but somebody still writes in it after {timeout:g} s"
                raise _busy(organization, operation, reason)
            time.sleep(min(pause, rest))
            pause = min(pause * 2, _LONGEST_PAUSE)
        _check_is_as_it_was(connection, organization, operation)


def _is_written_to(connection: Connection, tables: Sequence[int]) -> bool:
    with connection.begin():
        return bool(connection.scalar(_IS_WRITTEN_TO, {"tables": list(tables)}))


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
