"""Dropping an organization, in steps that cannot exhaust the server's locks.

Dropping a table locks it, its indexes, its TOAST table and all tables it is tied to; a
whole schema in one transaction can pass `max_locks_per_transaction`. So what it holds
goes in batches, each in a transaction of its own, and role, schema and registry row with
the last one. The organization is archived and shut out first: killed at any point, it is
closed, known to the registry, and another call finishes it.

Every batch locks the organization's row: calls at the same time take turns, and one that
lags behind does not touch an organization that was made anew under the same id. A migration
takes the tables first and the row last, so the two can meet: a batch waits only briefly for
a lock, and is tried again.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, update

from orgtenancy.database.engines import Database
from orgtenancy.errors import DropRefused, OrganizationBusy, OrganizationNotFound
from orgtenancy.naming import validate_organization_id
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import audit, members, store
from orgtenancy.registry.tables import organizations
from orgtenancy.schemas import grants, objects
from orgtenancy.schemas.rights import set_rights
from orgtenancy.schemas.waiting import limit_lock_wait, patiently

_OPEN = frozenset({OrganizationStatus.ACTIVE, OrganizationStatus.FENCED})

_CLOSED = frozenset({OrganizationStatus.ARCHIVED, OrganizationStatus.PURGED})

_LOCK_TIMEOUT = 1.0  # seconds that a batch waits for a lock


def drop(database: Database, organization_id: str, *, confirm: str, force: bool) -> None:
    """Delete an organization with all its data.

    Raises:
        InvalidOrganizationId: If the id breaks a naming rule.
        DropRefused: If `confirm` is not the id, or the organization is open for work
            and `force` was not given.
        OrganizationNotFound: If the registry does not have it.
        OrganizationBusy: If others hold it, or something in it, for too long.
    """
    validate_organization_id(organization_id)
    if confirm != organization_id:
        raise DropRefused(
            f"to drop organization {organization_id!r}, repeat its id as `confirm`",
            organization_id=organization_id,
        )
    organization = patiently(
        organization_id, "drop", lambda: _close(database, organization_id, force=force)
    )
    drop_batches(database, organization)

    def finish() -> None:
        with database.admin_engine.begin() as connection:
            if (current := find_closed(connection, organization)) is None:
                return  # a call beside this one was faster
            drop_rest(connection, database, organization)
            store.remove(connection, organization_id, current.status)
            audit.record(connection, "dropped", organization_id, details={"from": current.status})

    patiently(organization_id, "drop", finish)


def drop_batches(database: Database, organization: Organization, operation: str = "drop") -> int:
    """Drop what the schema of a closed organization holds, and return how many objects.

    Args:
        database: The placement.
        organization: Whose schema.
        operation: What the caller is about, for the error.

    Raises:
        DropRefused: If it was opened again in the meantime.
        OrganizationBusy: If others hold something in it for too long.
    """
    dropped = 0
    while count := patiently(
        organization.id, operation, lambda: _drop_batch(database, organization)
    ):
        dropped += count
    return dropped


def drop_rest(connection: Connection, database: Database, organization: Organization) -> None:
    """Drop an organization's empty schema, its role, and what is known of its members."""
    statements = objects.final_drop_statements(
        connection, organization.schema_name, organization.role_name
    )
    grants.execute(connection, statements, one_by_one=database.has_citus)
    with database.on_control(connection) as control:
        members.remove_all(control, organization.id)


def _close(database: Database, organization_id: str, *, force: bool) -> Organization:
    """Archive the organization and shut its role out, in one transaction."""
    with database.admin_engine.begin() as connection:
        limit_lock_wait(connection, _LOCK_TIMEOUT)
        organization = store.find(connection, organization_id, lock=True)
        if organization is None:
            raise OrganizationNotFound(
                f"no organization {organization_id!r}", organization_id=organization_id
            )
        check_is_staying(organization, "drop")
        if organization.status in _OPEN and not force:
            raise DropRefused(
                f"organization {organization_id!r} is {organization.status}: give `force=True` "
                "to drop it all the same",
                organization_id=organization_id,
                schema=organization.schema_name,
                placement=organization.placement,
            )
        for status in _way_to_archived(organization.status):
            store.change_status(connection, organization_id, status)
        if organization.status is not OrganizationStatus.PURGED:
            mark_begun(connection, organization_id)
        set_rights(connection, database, organization, is_open=False)
    return organization


def check_is_staying(organization: Organization, operation: str) -> None:
    """Make sure that an organization is not in the last part of a move.

    Raises:
        OrganizationBusy: If it is: what is done to it here would not be done there.
    """
    if organization.moving_to is not None:
        raise OrganizationBusy(
            f"organization {organization.id!r} is being moved to placement "
            f"{organization.moving_to!r}: {operation} it when that has come to its end",
            operation=operation,
            organization_id=organization.id,
            schema=organization.schema_name,
            placement=organization.placement,
        )


def mark_begun(connection: Connection, organization_id: str) -> None:
    """Write that an organization's data is being dropped: from here there is no way back."""
    known = organizations.c
    connection.execute(
        update(organizations)
        .where(known.id == organization_id)
        .values(
            purge_started_at=func.coalesce(known.purge_started_at, func.now()),
            purge_after=func.coalesce(known.purge_after, func.now()),
            updated_at=func.now(),
        )
    )
    store.announce(connection, organization_id)


def _way_to_archived(status: OrganizationStatus) -> tuple[OrganizationStatus, ...]:
    if status in _CLOSED:
        return ()
    if status in (OrganizationStatus.PROVISIONING, OrganizationStatus.FENCED):
        return (OrganizationStatus.ACTIVE, OrganizationStatus.ARCHIVED)
    return (OrganizationStatus.ARCHIVED,)


def find_closed(connection: Connection, organization: Organization) -> Organization | None:
    """Return the organization as it is now, locked, or None if it is gone or another.

    The transaction waits only briefly for a lock, this one and all that come.

    Raises:
        DropRefused: If it was opened again in the meantime.
    """
    limit_lock_wait(connection, _LOCK_TIMEOUT)
    current = store.find(connection, organization.id, lock=True)
    if current is None or current.role_name != organization.role_name:
        return None
    if current.status not in _CLOSED:
        raise DropRefused(
            f"organization {organization.id!r} was set to {current.status} while it was dropped",
            organization_id=organization.id,
            schema=organization.schema_name,
            placement=organization.placement,
        )
    return current


def _drop_batch(database: Database, organization: Organization) -> int:
    """Drop some objects of the schema, and return how many."""
    with database.admin_engine.begin() as connection:
        if find_closed(connection, organization) is None:
            return 0
        statements = objects.drop_statements(
            connection, organization.schema_name, database.settings.drop_batch_size
        )
        if statements:
            grants.execute(connection, statements, one_by_one=database.has_citus)
        return len(statements)
