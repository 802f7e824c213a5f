"""Dropping an organization, in steps that cannot exhaust the server's locks.

Dropping a table locks it, its indexes, its TOAST table and all tables it is tied to; a
whole schema in one transaction can pass `max_locks_per_transaction`. So the tables go
in batches, each in a transaction of its own, and role, schema and registry row with the
last one. The organization is archived and shut out first: killed at any point, it is
closed, known to the registry, and another call finishes it.
"""

from __future__ import annotations

from psycopg import sql
from sqlalchemy import text

from orgtenancy.database.engines import Database
from orgtenancy.errors import DropRefused, OrganizationNotFound
from orgtenancy.naming import validate_organization_id
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import store
from orgtenancy.schemas import grants
from orgtenancy.settings import IsolationLevel

_OPEN = frozenset({OrganizationStatus.ACTIVE, OrganizationStatus.FENCED})

# What CASCADE would not reach from a table, or would reach one object at a time.
_RELATIONS = text(
    """
    SELECT c.relname, c.relkind::text
    FROM pg_class c
    WHERE c.relnamespace = to_regnamespace(:schema) AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    ORDER BY c.relkind = 'S', c.relispartition, c.relname
    LIMIT :limit
    """
)
_KINDS = {
    "r": sql.SQL("TABLE"),
    "p": sql.SQL("TABLE"),
    "v": sql.SQL("VIEW"),
    "m": sql.SQL("MATERIALIZED VIEW"),
    "f": sql.SQL("FOREIGN TABLE"),
    "S": sql.SQL("SEQUENCE"),
}


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
        if store.find(connection, organization_id, lock=True) is None:
            return  # a call beside this one was faster
        schema, role = sql.Identifier(organization.schema_name), organization.role_name
        statements: list[sql.Composable] = [
            sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema)
        ]
        if grants.role_exists(connection, role):
            name = sql.Identifier(role)
            # An owner that is no superuser needs the role's rights to take them away.
            version = grants.server_version(connection)
            statements.append(grants.inherit(role, version))
            statements.append(sql.SQL("DROP OWNED BY {}").format(name))
            statements.append(sql.SQL("DROP ROLE {}").format(name))
        grants.execute(connection, statements)
        store.remove(connection, organization_id, OrganizationStatus.ARCHIVED)


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
    if status is OrganizationStatus.ARCHIVED:
        return ()
    if status in (OrganizationStatus.PROVISIONING, OrganizationStatus.FENCED):
        return (OrganizationStatus.ACTIVE, OrganizationStatus.ARCHIVED)
    return (OrganizationStatus.ARCHIVED,)


def _drop_batch(database: Database, organization: Organization) -> bool:
    """Drop some relations of the schema, and return whether there were any."""
    with database.admin_engine.begin() as connection:
        rows = connection.execute(
            _RELATIONS,
            {
                "schema": _quoted(organization.schema_name),
                "limit": database.settings.drop_batch_size,
            },
        ).all()
        if rows:
            grants.execute(
                connection,
                [
                    sql.SQL("DROP {} IF EXISTS {} CASCADE").format(
                        _KINDS[row.relkind],
                        sql.Identifier(organization.schema_name, row.relname),
                    )
                    for row in rows
                ],
            )
        return bool(rows)


def _quoted(identifier: str) -> str:
    return sql.Identifier(identifier).as_string(None)
