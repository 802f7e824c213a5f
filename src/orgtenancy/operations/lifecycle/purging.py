"""Purging: the data of an archived organization goes, and a tombstone stays.

The row of the registry stays, so that the id is not made anew by an event that comes late;
what was in it about the organization goes. Killed anywhere, the organization is archived or
purged, shut in any case, and the next call goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, func, or_, select

from orgtenancy.database.engines import Database
from orgtenancy.errors import PurgeRefused
from orgtenancy.operations.lifecycle.changing import Changed, hold, transaction_for
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import audit, store
from orgtenancy.registry.tables import organizations
from orgtenancy.schemas.dropping import drop_batches, drop_rest, find_closed, mark_begun
from orgtenancy.schemas.rights import set_rights
from orgtenancy.schemas.waiting import patiently


def purge(
    database: Database,
    organization_id: str,
    *,
    confirm: str,
    now: bool = False,
    at: datetime | None = None,
) -> Changed | None:
    """Drop an archived organization's data, once its grace period is over.

    Args:
        database: The placement.
        organization_id: Which organization.
        confirm: The same id again.
        now: Whether not to wait for the end of the grace period.
        at: What time it is, if not what the server says.

    Returns:
        None if another call purged it.

    Raises:
        InvalidOrganizationId: If the id breaks a naming rule.
        OrganizationNotFound: If the registry does not have it.
        TransitionRefused: If it is not archived.
        PurgeRefused: If a safeguard forbids it.
        OrganizationBusy: If others hold it, or something in it, for too long.
    """
    organization = _begin(database, organization_id, confirm=confirm, now=now, at=at)
    if organization is None:
        return None
    with audit.told_if_not_done(database, "purged", organization_id):
        dropped = drop_batches(database, organization, "purge")
        return patiently(organization_id, "purge", lambda: _finish(database, organization, dropped))


def due(connection: Connection, at: datetime | None, limit: int) -> Sequence[str]:
    """Return whose grace period is over, or whose purge was begun; who waits longest first.

    Args:
        connection: A connection of the owner.
        at: What time it is, if not what the server says.
        limit: How many at the most.
    """
    known = organizations.c
    statement = (
        select(known.id)
        .where(
            known.status == OrganizationStatus.ARCHIVED,
            or_(
                known.purge_after <= (func.now() if at is None else at),
                known.purge_started_at.is_not(None),
            ),
        )
        .order_by(known.purge_after, known.id)
        .limit(limit)
    )
    return connection.scalars(statement).all()


def _begin(
    database: Database, organization_id: str, *, confirm: str, now: bool, at: datetime | None
) -> Organization | None:
    """Shut an organization for good, and return it; None if it is purged already."""
    with transaction_for(database, "purge", organization_id) as connection:
        held = hold(connection, organization_id)
        organization = held.organization
        if confirm != organization_id:
            raise _refused(organization, "repeat its id as `confirm`")
        if organization.status is OrganizationStatus.PURGED:
            return None
        held.check("purge")
        if held.is_being_purged:
            return organization
        until = organization.purge_after
        if not now and until is not None and until > (held.clock if at is None else at):
            raise _refused(organization, f"it can be restored until {until}", until)
        mark_begun(connection, organization_id)
        set_rights(connection, database, organization, is_open=False)
        audit.record(connection, "purge_started", organization_id, details={"now": now})
        return organization


def _finish(database: Database, organization: Organization, dropped: int) -> Changed | None:
    with database.admin_engine.begin() as connection:
        before = find_closed(connection, organization)
        if before is None or before.status is OrganizationStatus.PURGED:
            return None
        drop_rest(connection, database, organization)
        after = store.change_status(
            connection,
            organization.id,
            OrganizationStatus.PURGED,
            name=organization.id,
            attributes={},
            revisions={},
            purge_after=None,
            archived_from=None,
        )
        if after is None:  # the registry's own guard; the row is locked and was checked
            raise RuntimeError(f"the purge of {organization.id!r} did not change its row")
        details = {"from": before.status, "to": after.status, "objects": dropped}
        audit.record(connection, "purged", organization.id, details=details)
    return Changed(before, after)


def _refused(
    organization: Organization, reason: str, purge_after: datetime | None = None
) -> PurgeRefused:
    return PurgeRefused(
        f"organization {organization.id!r} is not purged: {reason}",
        purge_after=purge_after,
        organization_id=organization.id,
        schema=organization.schema_name,
        placement=organization.placement,
    )
