"""Giving organizations a status as a transition does it: its row and its rights at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from orgtenancy import OrganizationStatus
from tests.schemas.databases import FreshDatabase, dsn

ACTIVE = OrganizationStatus.ACTIVE
SUSPENDED = OrganizationStatus.SUSPENDED
FENCED = OrganizationStatus.FENCED
ARCHIVED = OrganizationStatus.ARCHIVED

#: In all of them the organization's role is shut out.
CLOSED = (SUSPENDED, FENCED, ARCHIVED)


def set_status(
    database: FreshDatabase,
    organization_id: str,
    status: OrganizationStatus,
    *,
    purge_after: datetime | None = None,
    purge_started: bool = False,
) -> None:
    """Move an organization to a status, from whichever it has."""
    if status is ARCHIVED and purge_after is None:
        purge_after = datetime.now(UTC) + timedelta(days=30)
    values: dict[str, Any] = {
        "status": status.value,
        "archived_from": "active" if status is ARCHIVED else None,
        "purge_after": purge_after,
        "purge_started_at": datetime.now(UTC) if purge_started else None,
    }
    columns = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in values
    )
    with psycopg.connect(dsn(database.admin_url)) as connection:
        row = connection.execute(
            sql.SQL(
                "UPDATE orgtenancy.organizations SET {}, updated_at = now(), "
                "status_changed_at = now() WHERE id = %(id)s RETURNING schema_name, "
                "coalesce((SELECT rolname::text FROM pg_roles WHERE rolname = role_name), "
                "%(login)s), pg_notify('orgtenancy_organizations', id)"
            ).format(columns),
            {**values, "id": organization_id, "login": database.url.username},
        ).fetchone()
        assert row is not None, f"no organization {organization_id!r}"
        words = ("GRANT", "TO") if status is ACTIVE else ("REVOKE", "FROM")
        connection.execute(
            sql.SQL("{} USAGE ON SCHEMA {} {} {}").format(
                sql.SQL(words[0]),
                sql.Identifier(row[0]),
                sql.SQL(words[1]),
                sql.Identifier(row[1]),
            )
        )


def is_open(database: FreshDatabase, organization_id: str) -> bool:
    """Return whether an organization's role may use its schema."""
    ((found,),) = database.ask(
        "SELECT has_schema_privilege(coalesce((SELECT rolname::text FROM pg_roles "
        "WHERE rolname = role_name), %s), schema_name, 'USAGE') "
        "FROM orgtenancy.organizations WHERE id = %s",
        database.url.username,
        organization_id,
    )
    return bool(found)
