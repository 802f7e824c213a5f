"""Making an organization: its registry row, role, schema, tables and rights.

Two transactions. The first reserves the id, so that everyone sees that the organization
is on its way. The second locks that row and does everything else, DDL included, up to
the status `active`; a crash before its commit leaves the reservation alone, which the
next call for the same id completes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import sql
from sqlalchemy import Connection

from orgtenancy.database.engines import Database
from orgtenancy.errors import ProvisioningFailed
from orgtenancy.naming import new_role_name, schema_name
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import store
from orgtenancy.registry.directory import ensure_active
from orgtenancy.schemas import grants
from orgtenancy.schemas.revisions import Revisions
from orgtenancy.settings import IsolationLevel

# Every failed attempt of another call takes the reservation of all of them along.
_MAX_ATTEMPTS = 100


def provision(
    database: Database,
    revisions: Revisions,
    organization_id: str,
    *,
    name: str | None,
    attributes: Mapping[str, Any],
) -> Organization:
    """Make an organization, or return it if it is there already.

    Raises:
        InvalidOrganizationId: If the id breaks a naming rule.
        ConfigurationError: If the modules' revisions are no tree with one head per module.
        OrganizationUnavailable: If it is there, but neither active nor provisioning.
        ProvisioningFailed: If its schema could not be made; nothing of it remains.
    """
    schema = schema_name(organization_id)
    _ = revisions.heads  # a broken module is found before anything is reserved
    engine = database.admin_engine
    for _ in range(_MAX_ATTEMPTS):
        with engine.begin() as connection:
            store.reserve(
                connection,
                organization_id=organization_id,
                name=organization_id if name is None else name,
                schema=schema,
                role=new_role_name(str(database.url.database)),
                placement=database.name,
                attributes=attributes,
            )
        try:
            with engine.begin() as connection:
                organization = store.find(connection, organization_id, lock=True)
                if organization is None:  # another call's attempt failed, and took its row back
                    continue
                if organization.status is OrganizationStatus.PROVISIONING:
                    organization = _build(connection, database, revisions, organization)
        except Exception as error:  # a module's revision may raise anything
            with engine.begin() as connection:
                store.remove(connection, organization_id, OrganizationStatus.PROVISIONING)
            raise ProvisioningFailed(
                f"organization {organization_id!r} could not be provisioned: {error}",
                organization_id=organization_id,
                schema=schema,
                placement=database.name,
            ) from error
        return ensure_active(organization)
    raise ProvisioningFailed(
        f"organization {organization_id!r} could not be provisioned: its reservation was taken "
        f"back {_MAX_ATTEMPTS} times, or another organization holds the schema {schema!r}",
        organization_id=organization_id,
        schema=schema,
        placement=database.name,
    )


def _build(
    connection: Connection, database: Database, revisions: Revisions, organization: Organization
) -> Organization:
    schema = organization.schema_name
    role, create_role = _grantee(connection, database, organization)
    grants.execute(
        connection,
        [
            *create_role,
            *grants.create_schema(schema, role),
            *grants.enter_schema(schema, database.settings.extensions_schema),
        ],
    )
    revisions.install(connection)
    if revisions.modules:
        grants.execute(connection, grants.protect_versions(schema, role))
    active = store.activate(connection, organization.id, revisions.heads)
    if active is None:  # cannot be: the row is locked
        raise ProvisioningFailed("the reservation vanished", organization_id=organization.id)
    return active


def _grantee(
    connection: Connection, database: Database, organization: Organization
) -> tuple[str, list[sql.Composable]]:
    """Return the role that gets the rights on the schema, and the statements that make it."""
    role, login = organization.role_name, str(database.url.username)
    match database.settings.isolation:
        case IsolationLevel.ROLE:
            return role, grants.create_role(role, login, grants.server_version(connection))
        case IsolationLevel.LOGIN:
            password = str(database.login_url(organization).password)
            return role, grants.create_login(connection, role, password)
        case IsolationLevel.SEARCH_PATH:
            return login, []
