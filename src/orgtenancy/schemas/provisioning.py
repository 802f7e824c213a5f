"""Making an organization: a spare that is claimed, or everything anew.

A claim is one short transaction, which touches no role and no grant. Where it finds no
spare it reserves the id, so that everyone sees that the organization is on its way. A second
transaction locks that row and does everything else, DDL included, up to the status `active`;
a crash before its commit leaves the reservation alone, which the next call for the same id
completes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import psycopg
from psycopg.errors import DuplicateSchema
from sqlalchemy import Connection

from orgtenancy.errors import ProvisioningFailed
from orgtenancy.naming import schema_name
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import store
from orgtenancy.registry.directory import ensure_active
from orgtenancy.registry.locations import elsewhere, is_elsewhere
from orgtenancy.schemas.building import SchemaBuilder
from orgtenancy.schemas.claiming import Claims
from orgtenancy.schemas.messages import run_transaction, transaction, value_of

logger = logging.getLogger("orgtenancy.schemas")

# Every failed attempt of another call takes the reservation of all of them along.
_MAX_ATTEMPTS = 100


def provision(
    builder: SchemaBuilder,
    claims: Claims,
    organization_id: str,
    *,
    name: str | None,
    attributes: Mapping[str, Any],
    source: str | None = None,
) -> tuple[Organization, bool]:
    """Make an organization, or return it if it is there already.

    Returns:
        The organization, and whether it was this call that made it.

    Raises:
        InvalidOrganizationId: If the id breaks a naming rule.
        OrganizationExists: If it is on another placement.
        ConfigurationError: If the modules' revisions are no tree with one head per module.
        OrganizationUnavailable: If it is there, but neither active nor provisioning.
        ProvisioningFailed: If its schema could not be made; nothing of it remains.
    """
    schema, name = schema_name(organization_id), organization_id if name is None else name
    _ = builder.path  # a broken module is found before anything is reserved
    database = builder.database
    engine = database.admin_engine
    for _ in range(_MAX_ATTEMPTS):
        try:
            claimed = claims.claim(
                organization_id, name=name, schema=schema, attributes=attributes, source=source
            )
        except DuplicateSchema as error:
            raise ProvisioningFailed(
                f"organization {organization_id!r} could not be provisioned: {error}",
                organization_id=organization_id,
                schema=schema,
                placement=database.name,
            ) from error
        except psycopg.Error as error:
            if not is_elsewhere(error):
                raise
            raise elsewhere(organization_id, str(error.diag.message_detail)) from error
        if claimed is not None and claimed.is_active:
            return claimed, True
        try:
            organization = None if claimed is None else _build_at_once(builder, claimed)
            made = organization is not None
            if organization is None:
                with engine.begin() as connection:
                    organization = store.find(connection, organization_id, lock=True)
                    if organization is None:  # another call's attempt failed, and took its row back
                        continue
                    if organization.status is OrganizationStatus.PROVISIONING:
                        organization = _build(connection, builder, organization)
                        made = True
        except Exception as error:  # a module's revision may raise anything
            with engine.begin() as connection:
                store.remove(connection, organization_id, OrganizationStatus.PROVISIONING)
            raise ProvisioningFailed(
                f"organization {organization_id!r} could not be provisioned: {error}",
                organization_id=organization_id,
                schema=schema,
                placement=database.name,
            ) from error
        return ensure_active(organization), made
    raise ProvisioningFailed(
        f"organization {organization_id!r} could not be provisioned: its reservation was taken "
        f"back {_MAX_ATTEMPTS} times, or another organization holds the schema {schema!r}",
        organization_id=organization_id,
        schema=schema,
        placement=database.name,
    )


def _build_at_once(builder: SchemaBuilder, organization: Organization) -> Organization | None:
    """Make the schema of a reservation, and open it, in one message.

    Returns:
        None if there is more to it: a revision needs a connection, another call is making it
        too, or something fails, which the longer way tells better.
    """
    role, revisions = organization.role_name, dict(builder.revisions.heads)
    with builder.database.admin_engine.connect() as connection:
        statements = builder.script(
            organization.schema_name,
            role,
            [store.lock_statement(role), *builder.create_role(connection, role)],
        )
        if statements is None:
            return None
        statements.append(store.activation(role, revisions).as_string(None))
        try:
            cursor = run_transaction(connection, transaction(statements))
        except psycopg.Error as error:
            logger.debug("provisioning %r at once: %s", organization.id, error)
            return None
        return _opened(organization, revisions, value_of(cursor, "updated_at"))


def _build(
    connection: Connection, builder: SchemaBuilder, organization: Organization
) -> Organization:
    """Make the schema, and open it, where the organization's row is locked."""
    role, revisions = organization.role_name, dict(builder.revisions.heads)
    create_role = builder.create_role(connection, role)
    builder.build(connection, organization.schema_name, role, create_role)
    activate = store.activation(role, revisions).as_string(None)
    return _opened(organization, revisions, connection.exec_driver_sql(activate).scalar_one())


def _opened(
    organization: Organization, revisions: Mapping[str, str], updated_at: datetime
) -> Organization:
    return organization.model_copy(
        update={
            "status": OrganizationStatus.ACTIVE,
            "revisions": dict(revisions),
            "updated_at": updated_at,
            "status_changed_at": updated_at,
        }
    )
