"""Making an organization: a spare that is claimed, or everything anew.

A claim is one short transaction, which touches no role and no grant. Without a spare there
are two transactions. The first reserves the id, so that everyone sees that the organization
is on its way. The second locks that row and does everything else, DDL included, up to the
status `active`; a crash before its commit leaves the reservation alone, which the next call
for the same id completes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.errors import DuplicateSchema
from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError

from orgtenancy.errors import ProvisioningFailed
from orgtenancy.naming import new_role_name, schema_name
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import store
from orgtenancy.registry.directory import ensure_active
from orgtenancy.schemas.building import SchemaBuilder
from orgtenancy.schemas.spares import claim

# Every failed attempt of another call takes the reservation of all of them along.
_MAX_ATTEMPTS = 100


def provision(
    builder: SchemaBuilder,
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
    schema, name = schema_name(organization_id), organization_id if name is None else name
    _ = builder.path  # a broken module is found before anything is reserved
    database = builder.database
    try:
        claimed = claim(builder, organization_id, name=name, schema=schema, attributes=attributes)
    except ProgrammingError as error:
        if not isinstance(error.orig, DuplicateSchema):
            raise
        raise ProvisioningFailed(
            f"organization {organization_id!r} could not be provisioned: {error}",
            organization_id=organization_id,
            schema=schema,
            placement=database.name,
        ) from error
    if claimed is not None:
        return claimed
    engine = database.admin_engine
    for _ in range(_MAX_ATTEMPTS):
        with database.brief_admin_connection() as connection:
            # One statement, and so one round trip.
            connection.execution_options(isolation_level="AUTOCOMMIT")
            store.reserve(
                connection,
                organization_id=organization_id,
                name=name,
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
                    organization = _build(connection, builder, organization)
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
    connection: Connection, builder: SchemaBuilder, organization: Organization
) -> Organization:
    role = organization.role_name
    create_role = builder.create_role(connection, role)
    builder.build(connection, organization.schema_name, role, create_role)
    active = store.activate(connection, organization.id, builder.revisions.heads)
    if active is None:  # cannot be: the row is locked
        raise ProvisioningFailed("the reservation vanished", organization_id=organization.id)
    return active
