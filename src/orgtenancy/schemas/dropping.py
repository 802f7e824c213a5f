"""Dropping an organization, in steps that cannot exhaust the server's locks.

Dropping a table locks it, its indexes, its TOAST table and all tables it is tied to; a
whole schema in one transaction can pass `max_locks_per_transaction`. So what it holds
goes in batches, each in a transaction of its own, and role, schema and registry row with
the last one. The organization is archived and shut out first: killed at any point, it is
closed, known to the registry, and another call finishes it.

Every batch locks the organization's row: calls at the same time take turns, and one that
lags behind does not touch an organization that was made anew under the same id.
"""

from __future__ import annotations

from psycopg import sql
from sqlalchemy import Connection, text

from orgtenancy.database.engines import Database
from orgtenancy.errors import DropRefused, OrganizationNotFound
from orgtenancy.naming import validate_organization_id
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import store
from orgtenancy.schemas import grants, objects
from orgtenancy.settings import IsolationLevel

_OPEN = frozenset({OrganizationStatus.ACTIVE, OrganizationStatus.FENCED})

_CLOSED = frozenset({OrganizationStatus.ARCHIVED, OrganizationStatus.PURGED})


def drop(database: Database, organization_id: str, *, confirm: str, force: bool) -> None:
    """Delete an organization with all its data.

    Raises:
        InvalidOrganizationId: If the id breaks a naming rule.
        DropRefused: If `confirm` is not the id, or the organization is open for work
            and `force` was not given.
        OrganizationNotFound: If the registry does not have it.
    """
    validate_organization_id(organization_id)
    if confirm != organization_id:
        raise DropRefused(
            f"to drop organization {organization_id!r}, repeat its id as `confirm`",
            organization_id=organization_id,
        )
    organization = _close(database, organization_id, force=force)
    while _drop_batch(database, organization):
        pass
    with database.admin_engine.begin() as connection:
        if (current := _find_closed(connection, organization)) is None:
            return  # a call beside this one was faster
        statements = objects.final_drop_statements(
            connection, organization.schema_name, organization.role_name
        )
        grants.execute(connection, statements, one_by_one=database.has_citus)
        store.remove(connection, organization_id, current.status)


def _close(database: Database, organization_id: str, *, force: bool) -> Organization:
    """Archive the organization and shut its role out, in one transaction."""
    with database.admin_engine.begin() as connection:
        organization = store.find(connection, organization_id, lock=True)
        if organization is None:
            raise OrganizationNotFound(
                f"no organization {organization_id!r}", organization_id=organization_id
            )
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
        without_roles = database.settings.isolation is IsolationLevel.SEARCH_PATH
        role = str(database.url.username) if without_roles else organization.role_name
        if grants.role_exists(connection, role) and connection.scalar(
            text("SELECT to_regnamespace(:schema) IS NOT NULL"),
            {"schema": _quoted(organization.schema_name)},
        ):
            grants.execute(connection, grants.withdraw_schema(organization.schema_name, role))
    return organization


def _way_to_archived(status: OrganizationStatus) -> tuple[OrganizationStatus, ...]:
    if status in _CLOSED:
        return ()
    if status in (OrganizationStatus.PROVISIONING, OrganizationStatus.FENCED):
        return (OrganizationStatus.ACTIVE, OrganizationStatus.ARCHIVED)
    return (OrganizationStatus.ARCHIVED,)


def _find_closed(connection: Connection, organization: Organization) -> Organization | None:
    """Return the organization as it is now, locked, or None if it is gone or another.

    Raises:
        DropRefused: If it was opened again in the meantime.
    """
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


def _drop_batch(database: Database, organization: Organization) -> bool:
    """Drop some objects of the schema, and return whether there were any."""
    with database.admin_engine.begin() as connection:
        if _find_closed(connection, organization) is None:
            return False
        statements = objects.drop_statements(
            connection, organization.schema_name, database.settings.drop_batch_size
        )
        if statements:
            grants.execute(connection, statements, one_by_one=database.has_citus)
        return bool(statements)


def _quoted(identifier: str) -> str:
    return sql.Identifier(identifier).as_string(None)
