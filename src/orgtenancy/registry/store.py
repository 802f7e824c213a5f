"""Changes to the registry, made by its owner.

Every function takes a connection in a transaction and leaves it open: the registry
changes together with what it describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from orgtenancy.naming import REGISTRY_SCHEMA
from orgtenancy.organizations import TRANSITIONS, Organization, OrganizationStatus
from orgtenancy.pagination import Page, PageRequest, decode_cursor, encode_cursor
from orgtenancy.registry.listener import CHANNEL
from orgtenancy.registry.tables import organization_from, organizations

_ORDER = f"{REGISTRY_SCHEMA}.organizations"


def reserve(
    connection: Connection,
    *,
    organization_id: str,
    name: str,
    schema: str,
    role: str,
    placement: str,
    attributes: Mapping[str, Any],
) -> None:
    """Insert an organization that is being provisioned, unless there is one already.

    Any unique key makes it one: with the primary key alone as the arbiter, PostgreSQL
    reports a concurrent insert as a violation of the schema's name, now and then.
    """
    connection.execute(
        insert(organizations)
        .values(
            id=organization_id,
            name=name,
            schema_name=schema,
            role_name=role,
            placement=placement,
            status=OrganizationStatus.PROVISIONING,
            attributes=dict(attributes),
        )
        .on_conflict_do_nothing()
    )


def find(
    connection: Connection, organization_id: str, *, lock: bool = False
) -> Organization | None:
    """Return an organization, locked until the transaction ends if asked, or None."""
    statement = select(organizations).where(organizations.c.id == organization_id)
    row = connection.execute(statement.with_for_update() if lock else statement).one_or_none()
    return None if row is None else organization_from(row)


def list_page(
    connection: Connection, page: PageRequest, status: OrganizationStatus | None
) -> Page[Organization]:
    """Return a page of the organizations, ordered by id."""
    # Byte order, whatever the database's collation: the order of a cursor must not change.
    key = organizations.c.id.collate("C")
    statement = select(organizations).order_by(key).limit(page.limit + 1)
    if status is not None:
        statement = statement.where(organizations.c.status == status)
    if page.cursor is not None:
        statement = statement.where(key > decode_cursor(_ORDER, page.cursor, 1, types=[str])[0])
    rows = connection.execute(statement).all()
    items = tuple(map(organization_from, rows[: page.limit]))
    more = len(rows) > page.limit
    return Page(items=items, next_cursor=encode_cursor(_ORDER, [items[-1].id]) if more else None)


def activate(
    connection: Connection, organization_id: str, revisions: Mapping[str, str]
) -> Organization | None:
    """Open a provisioned organization at these revisions; None if it was not provisioning."""
    return _change(
        connection, organization_id, OrganizationStatus.ACTIVE, revisions=dict(revisions)
    )


def change_status(
    connection: Connection, organization_id: str, status: OrganizationStatus
) -> Organization | None:
    """Move an organization to a status, if its present one allows it, else return None."""
    return _change(connection, organization_id, status)


def remove(connection: Connection, organization_id: str, status: OrganizationStatus) -> bool:
    """Delete an organization's row if it has this status, and return whether it did."""
    result = connection.execute(
        delete(organizations).where(
            organizations.c.id == organization_id, organizations.c.status == status
        )
    )
    announce(connection, organization_id)
    return result.rowcount == 1


def announce(connection: Connection, organization_id: str) -> None:
    """Tell all processes, at commit, that an organization changed."""
    connection.execute(select(func.pg_notify(CHANNEL, organization_id)))


def _change(
    connection: Connection, organization_id: str, status: OrganizationStatus, **values: Any
) -> Organization | None:
    sources = [source for source, targets in TRANSITIONS.items() if status in targets]
    row = connection.execute(
        update(organizations)
        .where(organizations.c.id == organization_id, organizations.c.status.in_(sources))
        .values(status=status, updated_at=func.now(), **values)
        .returning(*organizations.c)
    ).one_or_none()
    announce(connection, organization_id)
    return None if row is None else organization_from(row)
