"""One organization is switched: its rows live here from one commit on, and nowhere else.

In one transaction nobody writes its rows in the source, the last changes are brought along,
both sides are compared, and it is opened here. Whoever waited to write to the source is refused
after the commit; if it does not come to that, they go on as if nothing had been.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Connection

from orgtenancy.database.engines import Database
from orgtenancy.errors import AdoptionRefused
from orgtenancy.operations.adoption import fencing, journal
from orgtenancy.operations.adoption.catching_up import Seen, catch_up
from orgtenancy.operations.adoption.copying import ONE_MOMENT
from orgtenancy.operations.adoption.filling import (
    different_tables,
    whole_digests,
)
from orgtenancy.operations.adoption.mapping import AdoptionMapping
from orgtenancy.operations.adoption.resolving import Resolved
from orgtenancy.operations.data.digests import Digest, Digests, digests
from orgtenancy.operations.data.tables import enter, tables_of
from orgtenancy.operations.lifecycle.changing import hold
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import audit, store
from orgtenancy.schemas import grants
from orgtenancy.schemas.rights import set_rights
from orgtenancy.schemas.waiting import limit_lock_wait


@dataclass(frozen=True, slots=True)
class Brought:
    """What was brought along.

    Attributes:
        organization: As it is now.
        rows: How many rows it has.
        changed: How many were written or deleted.
        seconds: How long its writers waited; 0 if they did not.
    """

    organization: Organization
    rows: int
    changed: int
    seconds: float = 0.0


def refresh(
    connection: Connection,
    database: Database,
    mapping: AdoptionMapping,
    resolved: Resolved,
    key: str,
) -> Brought:
    """Bring a copy along to a later moment of the source, which goes on meanwhile.

    Raises:
        AdoptionRefused: If it is no fenced copy any more.
        AdoptionMismatch: If both sides differ all the same.
    """
    with connection.begin():
        grants.execute(connection, [ONE_MOMENT])
        limit_lock_wait(connection, database.settings.lifecycle_lock_timeout)
        entry, organization = _copied(connection, mapping.source, key)
        seen = _bring_along(connection, database, mapping, resolved, entry, organization)
    return Brought(organization, _rows(seen.digests), seen.changed)


def switch(
    connection: Connection,
    database: Database,
    mapping: AdoptionMapping,
    resolved: Resolved,
    key: str,
    *,
    keep_fenced: bool = False,
) -> Brought:
    """Switch an organization that was copied.

    Args:
        connection: A connection of the owner, in no transaction.
        database: Where the organization is.
        mapping: What is declared.
        resolved: What becomes of the source, in any fresh schema.
        key: How the source knows the organization.
        keep_fenced: Whether it stays closed here, until somebody lifts the fence.

    Raises:
        AdoptionRefused: If it is no fenced copy any more.
        AdoptionMismatch: If both sides differ all the same.
        sqlalchemy.exc.OperationalError: If others hold what it needs for too long.
    """
    with connection.begin():
        limit_lock_wait(connection, database.settings.lifecycle_lock_timeout)
        began = time.monotonic()
        journal.hold(connection, mapping.source, key)
        fencing.hold_shared(connection, resolved.tables)
        # Statements of this transaction see what was committed before the lock was given.
        entry, organization = _copied(connection, mapping.source, key)
        seen = _bring_along(connection, database, mapping, resolved, entry, organization)
        schema = organization.schema_name
        here = whole_digests(connection, resolved.here(schema), seen.digests, schema)
        if not keep_fenced:
            organization = _open(connection, database, organization)
        details = {"source": mapping.source, "key": key, "rows": _rows(seen.digests)}
        audit.record(connection, "switched", organization.id, details=details)
        journal.write_switched(connection, mapping.source, key, here)
    seconds = time.monotonic() - began
    return Brought(organization, _rows(seen.digests), seen.changed, seconds)


def revert(
    connection: Connection, database: Database, mapping: AdoptionMapping, key: str
) -> Organization:
    """Give the rows of a switched organization back to the source.

    Args:
        connection: A connection of the owner, in no transaction.
        database: Where the organization is.
        mapping: What is declared.
        key: How the source knows the organization.

    Raises:
        AdoptionRefused: If anything was written here since the switch: it would be lost.
        sqlalchemy.exc.OperationalError: If others hold what it needs for too long.
    """
    with connection.begin():
        limit_lock_wait(connection, database.settings.lifecycle_lock_timeout)
        journal.hold(connection, mapping.source, key)
        entry = journal.find(connection, mapping.source, key)
        if entry is None or entry.organization is None or entry.switched_at is None:
            raise AdoptionRefused(f"organization {key!r} of the source is not switched")
        organization = hold(connection, entry.organization.id).organization
        if organization.status is not OrganizationStatus.FENCED:
            raise _refused(organization, "it is not fenced")
        schema = organization.schema_name
        enter(connection, schema, database.settings.extensions_schema)
        here = digests(connection, tables_of(connection, schema))
        # A table that was not there then had no rows.
        then = {**dict.fromkeys(here, Digest(rows=0, checksum=0)), **entry.switched_digests}
        if written := different_tables(then, here):
            reason = f"written since it was switched: {', '.join(written)}"
            raise _refused(organization, reason)
        journal.write_switched(connection, mapping.source, key, None)
        details = {"source": mapping.source, "key": key}
        audit.record(connection, "switch_reverted", organization.id, details=details)
    return organization


def _copied(connection: Connection, source: str, key: str) -> tuple[journal.Entry, Organization]:
    """Lock an organization that is copied and not switched, and return it."""
    entry = journal.find(connection, source, key)
    if entry is None or entry.organization is None:
        raise AdoptionRefused(f"organization {key!r} of the source is not copied")
    organization = hold(connection, entry.organization.id).organization
    if entry.switched_at is not None:
        raise _refused(organization, "it is switched already")
    if organization.status is not OrganizationStatus.FENCED:
        reason = f"it is {organization.status}, and a copy is fenced until it is switched"
        raise _refused(organization, reason)
    return entry, organization


def _bring_along(
    connection: Connection,
    database: Database,
    mapping: AdoptionMapping,
    resolved: Resolved,
    entry: journal.Entry,
    organization: Organization,
) -> Seen:
    schema = organization.schema_name
    enter(connection, schema, database.settings.extensions_schema)
    moment = journal.now(connection)
    tables = resolved.here(schema)
    seen = catch_up(connection, tables, entry.key, schema, entry)
    journal.write_seen(connection, mapping.source, entry.key, seen.source, seen.digests, moment)
    return seen


def _rows(found: Digests) -> int:
    return sum(digest.rows for digest in found.values())


def _open(connection: Connection, database: Database, organization: Organization) -> Organization:
    set_rights(connection, database, organization, is_open=True)
    opened = store.change_status(
        connection, organization.id, OrganizationStatus.ACTIVE, status_reason=None
    )
    if opened is None:  # the row is locked and was checked
        raise RuntimeError(f"organization {organization.id!r} was not opened")
    return opened


def _refused(organization: Organization, reason: str) -> AdoptionRefused:
    return AdoptionRefused(
        f"organization {organization.id!r} cannot be brought along: {reason}",
        organization_id=organization.id,
        schema=organization.schema_name,
        placement=organization.placement,
        findings=(reason,),
    )
