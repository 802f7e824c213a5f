"""One organization is copied: made, filled, compared and noted, in one transaction.

Its snapshot is one moment of the source, which goes on meanwhile. The organization is fenced
from the beginning: nobody works in it before it is switched.
"""

from __future__ import annotations

from psycopg import sql
from sqlalchemy import Connection, insert

from orgtenancy.naming import new_role_name, schema_name
from orgtenancy.operations.adoption import journal
from orgtenancy.operations.adoption.filling import fill
from orgtenancy.operations.adoption.mapping import AdoptionMapping
from orgtenancy.operations.adoption.organizations import SourceOrganization
from orgtenancy.operations.adoption.resolving import Resolved
from orgtenancy.operations.data.tables import enter
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import audit, store
from orgtenancy.registry.tables import organizations
from orgtenancy.schemas import grants
from orgtenancy.schemas.building import SchemaBuilder
from orgtenancy.schemas.rights import set_rights

#: Of a transaction that looks at one moment of the source.
ONE_MOMENT = sql.SQL("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def copy(
    connection: Connection,
    builder: SchemaBuilder,
    mapping: AdoptionMapping,
    resolved: Resolved,
    one: SourceOrganization,
) -> int:
    """Copy an organization, and return how many rows it has.

    Args:
        connection: A connection of the owner, in no transaction.
        builder: Makes schemas.
        mapping: What is declared.
        resolved: What becomes of the source, in any fresh schema.
        one: The organization; nothing of it is here yet.

    Raises:
        AdoptionMismatch: If what is here then is not what the source has.
        sqlalchemy.exc.DBAPIError: If its rows cannot be here. Nothing of it remains.
    """
    with connection.begin():
        grants.execute(connection, [ONE_MOMENT])
        made = _make_fenced(connection, builder, one)
        enter(connection, made.schema_name, builder.database.settings.extensions_schema)
        moment = journal.now(connection)
        tables = resolved.here(made.schema_name)
        read, here = fill(connection, tables, one.key, made.schema_name)
        journal.write_copied(
            connection, mapping.source, one.key, made, mapping.digest, read, here, moment
        )
        rows = sum(digest.rows for digest in here.values())
        details = {"source": mapping.source, "key": one.key, "rows": rows}
        audit.record(connection, "copied", one.id, details=details)
    return rows


def _make_fenced(
    connection: Connection, builder: SchemaBuilder, one: SourceOrganization
) -> Organization:
    """Make an organization that nobody can work in yet."""
    role = new_role_name(str(builder.database.url.database))
    connection.execute(
        insert(organizations).values(
            id=one.id,
            name=one.name,
            schema_name=schema_name(one.id),
            role_name=role,
            placement=builder.database.name,
            status=OrganizationStatus.PROVISIONING,
        )
    )
    create_role = builder.create_role(connection, role)
    builder.build(connection, schema_name(one.id), role, create_role)
    grants.execute(connection, [store.activation(role, dict(builder.revisions.heads))])
    fenced = store.change_status(
        connection, one.id, OrganizationStatus.FENCED, status_reason="it is being adopted"
    )
    if fenced is None:  # the row is this transaction's own
        raise RuntimeError(f"organization {one.id!r} was not fenced")
    set_rights(connection, builder.database, fenced, is_open=False)
    return fenced
