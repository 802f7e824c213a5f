"""Whether the organizations' rights fit their statuses, and purges that wait for somebody."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from orgtenancy.operations.doctor.report import Finding, listed, ok, problem, warning
from orgtenancy.schemas import SchemaManager
from orgtenancy.settings import IsolationLevel

_REPAIR = "run `orgtenancy drift repair --apply`, which gives and takes what the status says"

# USAGE on the schema is what opens it: also for everybody, or by another role.
_MISFITS = text(
    """
    SELECT o.id, o.status, o.status = 'active' AS is_open
    FROM orgtenancy.organizations o
    JOIN pg_namespace n ON n.nspname = o.schema_name
    JOIN pg_roles r ON r.rolname = CASE WHEN :without_roles THEN :login ELSE o.role_name END
    WHERE o.status NOT IN ('provisioning', 'purged')
        AND has_schema_privilege(r.oid, n.oid, 'USAGE') <> (o.status = 'active')
    ORDER BY o.id COLLATE "C"
    """
)
_PURGES = text(
    """
    SELECT id, purge_started_at IS NOT NULL AS is_begun FROM orgtenancy.organizations
    WHERE status <> 'purged'
        AND (purge_started_at IS NOT NULL OR (status = 'archived' AND purge_after <= now()))
    ORDER BY id COLLATE "C"
    """
)


def check_rights(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Look whether what is closed is shut, and what is active is open."""
    database = schemas.builder.database
    without_roles = database.settings.isolation is IsolationLevel.SEARCH_PATH
    rows = connection.execute(
        _MISFITS, {"login": database.url.username, "without_roles": without_roles}
    ).all()
    if closed := [f"{row.id} ({row.status})" for row in rows if not row.is_open]:
        yield problem(
            "rights by status",
            f"their roles may still use the schemas of {listed(closed)}",
            _REPAIR,
        )
    if active := [row.id for row in rows if row.is_open]:
        yield problem(
            "rights by status",
            f"active, and shut out of their schemas: {listed(active)}",
            _REPAIR,
        )
    if not rows:
        yield ok("rights by status", "each schema is open or shut as its status says")


def check_purges(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Look for purges that are due, and for those that did not come to their end."""
    rows = connection.execute(_PURGES).all()
    if begun := [row.id for row in rows if row.is_begun]:
        yield warning(
            "purges",
            f"begun and not finished, unless somebody is at it now: {listed(begun)}",
            "`orgtenancy org purge-due` goes on with it, or `org drop` if that was begun",
        )
    if due := [row.id for row in rows if not row.is_begun]:
        yield warning(
            "purges",
            f"{len(due)} archived organizations are past their grace period: {listed(due)}",
            "run `orgtenancy org purge-due`",
        )
    if not rows:
        yield ok("purges", "none is due, and none was left half-way")
