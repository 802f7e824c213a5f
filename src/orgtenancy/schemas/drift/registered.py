"""What the registry knows of the schemas of a placement, against what the server has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Connection,
    DateTime,
    Engine,
    Row,
    Text,
    cast,
    func,
    null,
    select,
    text,
    union_all,
)

from orgtenancy.naming import SCHEMA_PREFIX, SPARE_PREFIX, control_role_name, role_prefix
from orgtenancy.organizations import OrganizationStatus
from orgtenancy.registry.tables import organizations, spares
from orgtenancy.schemas.building import SchemaBuilder
from orgtenancy.schemas.drift.reports import Finding, FindingKind
from orgtenancy.schemas.revisions import Heads
from orgtenancy.settings import IsolationLevel

#: The statuses in which an organization's role is shut out of its schema.
CLOSED = frozenset(
    {OrganizationStatus.SUSPENDED, OrganizationStatus.FENCED, OrganizationStatus.ARCHIVED}
)

# After this time a reservation is no longer somebody's work in progress.
_UNFINISHED_AFTER = timedelta(minutes=10)

# Reading the stamps of a schema locks two relations until the transaction ends, and the
# server's lock table has room for about 6,000 by default.
_STAMPS_PER_TRANSACTION = 1_000

_UNKNOWN_SCHEMAS = text(
    """
    SELECT n.nspname FROM pg_namespace n
    WHERE (starts_with(n.nspname, :organization) OR starts_with(n.nspname, :spare))
        AND n.nspowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)
        AND NOT EXISTS (SELECT FROM orgtenancy.organizations o WHERE o.schema_name = n.nspname)
        AND NOT EXISTS (SELECT FROM orgtenancy.spares s WHERE s.schema_name = n.nspname)
    ORDER BY n.nspname
    """
)
_UNKNOWN_ROLES = text(
    """
    SELECT r.rolname FROM pg_roles r
    WHERE starts_with(r.rolname, :prefix) AND r.rolname <> :control
        AND NOT EXISTS (SELECT FROM orgtenancy.organizations o WHERE o.role_name = r.rolname)
        AND NOT EXISTS (SELECT FROM orgtenancy.spares s WHERE s.role_name = r.rolname)
    ORDER BY r.rolname
    """
)
_STAMPS = text(
    "SELECT schema_name, orgtenancy.heads_of(schema_name) "
    "FROM unnest(CAST(:schemas AS text[])) AS given (schema_name)"
)


@dataclass(frozen=True, slots=True)
class Registered:
    """A schema that the registry knows.

    Attributes:
        role_name: Its key.
        schema_name: Its name.
        organization_id: Whose it is, or None for a spare.
        revisions: The revision of each module, as the registry mirrors it.
        is_made: Whether the registry says that it is there.
        is_late: Whether it should have been made long ago, and is not.
        status: The organization's, or None for a spare, which is as one that is active.
        status_changed_at: When it got it.
    """

    role_name: str
    schema_name: str
    organization_id: str | None
    revisions: Mapping[str, str]
    is_made: bool
    is_late: bool
    status: OrganizationStatus | None
    status_changed_at: datetime | None

    @property
    def is_closed(self) -> bool:
        """Whether its role is to have no way in."""
        return self.status in CLOSED


def read_registry(
    connection: Connection, builder: SchemaBuilder, organization_ids: Sequence[str] | None
) -> list[Registered]:
    """Return what the registry has on a placement, in one query.

    Spares that were made with other settings are left out: they are not claimed. So are
    organizations that are purged, or half-way there: nothing is expected of them.

    Args:
        connection: A connection of the owner.
        builder: Makes the schemas of the placement.
        organization_ids: Only these, and no spares; None for all.
    """
    name, limit = builder.database.name, func.now() - _UNFINISHED_AFTER
    made = organizations.c.status != OrganizationStatus.PROVISIONING
    owned = select(
        organizations.c.role_name,
        organizations.c.schema_name,
        organizations.c.id.label("organization_id"),
        organizations.c.revisions,
        made.label("is_made"),
        (~made & (organizations.c.created_at < limit)).label("is_late"),
        organizations.c.status,
        organizations.c.status_changed_at,
    ).where(
        organizations.c.placement == name,
        organizations.c.status != OrganizationStatus.PURGED,
        organizations.c.purge_started_at.is_(None),
    )
    ready = spares.c.ready_at.is_not(None)
    spare = select(
        spares.c.role_name,
        spares.c.schema_name,
        cast(null(), Text),
        spares.c.revisions,
        ready,
        ~ready & (spares.c.created_at < limit),
        cast(null(), Text),
        cast(null(), DateTime(timezone=True)),
    ).where(spares.c.placement == name, spares.c.settings_digest == builder.settings_digest)
    if organization_ids is None:
        statement = union_all(owned, spare)
    else:
        statement = union_all(owned.where(organizations.c.id.in_(organization_ids)))
    rows = connection.execute(statement)
    return sorted(map(_registered, rows), key=lambda one: one.schema_name)


def _registered(row: Row[Any]) -> Registered:
    status = None if row.status is None else OrganizationStatus(row.status)
    return Registered(**{**row._asdict(), "status": status})


def read_stamps(engine: Engine, schemas: Sequence[str]) -> dict[str, Heads]:
    """Return the stamps in each schema; none where it, or their table, is not there."""
    found: dict[str, Heads] = {}
    for start in range(0, len(schemas), _STAMPS_PER_TRANSACTION):
        with engine.begin() as connection:
            part = list(schemas[start : start + _STAMPS_PER_TRANSACTION])
            rows = connection.execute(_STAMPS, {"schemas": part})
            found.update((name, frozenset(stamps)) for name, stamps in rows)
    return found


def find_unknown(connection: Connection, builder: SchemaBuilder) -> list[Finding]:
    """Return the schemas and roles of this library's making that the registry lacks."""
    database = str(builder.database.url.database)
    schemas = connection.scalars(
        _UNKNOWN_SCHEMAS, {"organization": SCHEMA_PREFIX, "spare": SPARE_PREFIX}
    )
    findings = [
        Finding(FindingKind.UNKNOWN_SCHEMA, name, detail="the registry does not have it")
        for name in schemas
    ]
    roles = connection.scalars(
        _UNKNOWN_ROLES,
        {"prefix": role_prefix(database), "control": control_role_name(database)},
    )
    findings += [
        Finding(FindingKind.UNKNOWN_ROLE, name, detail="the registry does not have it")
        for name in roles
    ]
    return findings


def find_missing_roles(
    connection: Connection, builder: SchemaBuilder, registered: Iterable[Registered]
) -> list[Finding]:
    """Return the roles that the registry has and the server lacks."""
    if builder.database.settings.isolation is IsolationLevel.SEARCH_PATH:
        return []
    wanted = {one.role_name: one for one in registered if one.is_made}
    query = text("SELECT rolname FROM pg_roles WHERE rolname = ANY (CAST(:names AS name[]))")
    there = set(connection.scalars(query, {"names": list(wanted)}))
    return [
        Finding(
            FindingKind.MISSING_ROLE,
            name,
            one.organization_id,
            f"the role of schema {one.schema_name}",
        )
        for name, one in wanted.items()
        if name not in there
    ]


def find_unfinished(registered: Iterable[Registered]) -> list[Finding]:
    """Return the reservations that nobody seems to work on."""
    return [
        Finding(
            FindingKind.UNFINISHED,
            one.schema_name,
            one.organization_id,
            "provisioning it again completes it"
            if one.organization_id
            else "filling the spares completes it",
        )
        for one in registered
        if one.is_late
    ]
