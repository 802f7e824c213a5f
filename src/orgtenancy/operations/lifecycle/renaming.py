"""What an organization is called, and by whom: its display name, labels, id and source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import sql
from sqlalchemy import Connection, func, or_, select, update
from sqlalchemy.exc import DBAPIError

from orgtenancy.database.engines import Database
from orgtenancy.errors import OrganizationExists
from orgtenancy.naming import schema_name, validate_organization_id
from orgtenancy.operations.lifecycle.changing import ACTIONS, Changed, hold, transaction_for
from orgtenancy.organizations import Organization
from orgtenancy.registry import audit, members, store
from orgtenancy.registry.locations import ELSEWHERE
from orgtenancy.registry.tables import organization_from, organizations
from orgtenancy.schemas import grants

# unique_violation and duplicate_schema: somebody was faster; or it is on another placement
_TAKEN = frozenset({"23505", "42P06", ELSEWHERE})


def rename(database: Database, organization_id: str, name: str) -> Changed:
    """Give an organization another display name; nothing, if it has it already."""
    with transaction_for(database, "rename", organization_id) as connection:
        held = hold(connection, organization_id)
        held.check("rename")
        before = held.organization
        if before.name == name:
            return Changed(before, before)
        after = _update(connection, organization_id, name=name)
        details = {"from": before.name, "to": name}
        audit.record(connection, ACTIONS["rename"], organization_id, details=details)
    return Changed(before, after)


def set_attributes(
    database: Database, organization_id: str, attributes: Mapping[str, Any]
) -> Changed:
    """Replace the host's labels; nothing, if they are these already."""
    with transaction_for(database, "set_attributes", organization_id) as connection:
        held = hold(connection, organization_id)
        held.check("set_attributes")
        before = held.organization
        if before.attributes == attributes:
            return Changed(before, before)
        after = _update(connection, organization_id, attributes=dict(attributes))
        # Their names only: a value may be what the audit should not keep for ever.
        details = {"names": sorted(attributes)}
        audit.record(connection, ACTIONS["set_attributes"], organization_id, details=details)
    return Changed(before, after)


def link(database: Database, organization_id: str, source: str) -> Changed:
    """Note where an organization that was made by hand is known too; nothing, if it is noted.

    Its status does not matter: what is noted changes nothing for those who work in it.
    """
    with transaction_for(database, "link", organization_id) as connection:
        held = hold(connection, organization_id)
        before = held.organization
        if before.source is not None:
            return Changed(before, before)
        after = _update(connection, organization_id, source=source)
        audit.record(connection, ACTIONS["link"], organization_id, details={"source": source})
    return Changed(before, after)


def change_id(database: Database, organization_id: str, new_id: str) -> Changed:
    """Give an organization another id, and its schema the name that goes with it.

    Raises:
        InvalidOrganizationId: If one of the ids breaks a naming rule.
        OrganizationNotFound: If the registry does not have it.
        OrganizationExists: If the new id, or its schema, is there already.
        TransitionRefused: If its status does not allow it.
        OrganizationBusy: If others hold it for too long.
    """
    validate_organization_id(new_id)
    new_schema = schema_name(new_id)
    with transaction_for(database, "change_id", organization_id) as connection:
        held = hold(connection, organization_id)
        before = held.organization
        if new_id == organization_id:
            return Changed(before, before)
        held.check("change_id")
        store.hold_id(connection, before)
        try:
            # Nested: what is refused inside must not hide the reason.
            with connection.begin_nested():
                _refuse_if_taken(connection, new_id, new_schema)
                # The row before the schema, as a claim does: two that want the same id would
                # else wait for each other.
                # Its source knows it under the old id, and would take the new one for gone.
                after = _update(
                    connection, organization_id, id=new_id, schema_name=new_schema, source=None
                )
                rename_schema = sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(
                    sql.Identifier(before.schema_name), sql.Identifier(new_schema)
                )
                grants.execute(connection, [rename_schema])
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _TAKEN:
                raise
            raise _taken(new_id, new_schema) from error
        with database.on_control(connection) as control:
            members.move_all(control, organization_id, new_id)
        store.announce(connection, new_id)
        action = ACTIONS["change_id"]
        audit.record(connection, action, organization_id, details={"to": new_id})
        audit.record(connection, action, new_id, details={"from": organization_id})
    return Changed(before, after)


def _refuse_if_taken(connection: Connection, new_id: str, new_schema: str) -> None:
    taken = select(organizations.c.id).where(
        or_(organizations.c.id == new_id, organizations.c.schema_name == new_schema)
    )
    if connection.execute(taken).first() is not None:
        raise _taken(new_id, new_schema)


def _taken(new_id: str, new_schema: str) -> OrganizationExists:
    return OrganizationExists(
        f"the id {new_id!r}, or the schema {new_schema!r}, is there already",
        organization_id=new_id,
        schema=new_schema,
    )


def _update(connection: Connection, organization_id: str, **values: Any) -> Organization:
    row = connection.execute(
        update(organizations)
        .where(organizations.c.id == organization_id)
        .values(updated_at=func.now(), **values)
        .returning(*organizations.c)
    ).one()
    store.announce(connection, organization_id)
    return organization_from(row)
