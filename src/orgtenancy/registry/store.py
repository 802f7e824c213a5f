"""Changes to the registry, made by its owner.

Every function takes a connection in a transaction and leaves it open: the registry
changes together with what it describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from orgtenancy.context import current_actor, current_origin
from orgtenancy.naming import REGISTRY_SCHEMA
from orgtenancy.organizations import TRANSITIONS, Organization, OrganizationStatus
from orgtenancy.pagination import Page, PageRequest, decode_cursor, encode_cursor
from orgtenancy.registry.listener import CHANNEL
from orgtenancy.registry.tables import organization_from, organizations

_ORDER = f"{REGISTRY_SCHEMA}.organizations"

# Built once: to build a statement takes about as long as to run it.
_FIND = select(organizations).where(organizations.c.id == bindparam("key"))
_FIND_LOCKED = _FIND.with_for_update()

_ID = func.hashtext("orgtenancy id"), func.hashtext(bindparam("role"))
_KEEP_ID = select(func.pg_advisory_xact_lock_shared(*_ID))
_HOLD_ID = select(func.pg_advisory_xact_lock(*_ID))

#: The ids of the organizations that are open for work, ordered by their bytes.
ACTIVE = (
    select(organizations.c.id)
    .where(organizations.c.status == OrganizationStatus.ACTIVE)
    .order_by(organizations.c.id.collate("C"))
)


def find(
    connection: Connection, organization_id: str, *, lock: bool = False
) -> Organization | None:
    """Return an organization, locked until the transaction ends if asked, or None."""
    statement = _FIND_LOCKED if lock else _FIND
    row = connection.execute(statement, {"key": organization_id}).one_or_none()
    return None if row is None else organization_from(row)


def is_being_dropped(connection: Connection, organization: Organization) -> bool:
    """Return whether an organization is gone, or its data is being dropped."""
    statement = select(organizations.c.purge_started_at).where(
        organizations.c.id == organization.id,
        organizations.c.role_name == organization.role_name,
    )
    row = connection.execute(statement).one_or_none()
    return row is None or row.purge_started_at is not None


def schema_name_of(connection: Connection, role_name: str) -> str | None:
    """Return the schema of the organization with a role; None if there is none."""
    statement = select(organizations.c.schema_name).where(organizations.c.role_name == role_name)
    name: str | None = connection.scalar(statement)
    return name


def keep_id(connection: Connection, organization: Organization) -> None:
    """Let nobody change an organization's id, and its schema's name with it, for a transaction.

    PostgreSQL renames a schema whose tables are locked. Who holds this lock, and finds the name
    in the registry then, reads no other's schema by that name.
    """
    connection.execute(_KEEP_ID, {"role": organization.role_name})


def hold_id(connection: Connection, organization: Organization) -> None:
    """Wait until nobody keeps an organization's id, and let nobody begin to."""
    connection.execute(_HOLD_ID, {"role": organization.role_name})


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
    return Page(items=items, next_cursor=cursor_after(items[-1]) if more else None)


def cursor_after(organization: Organization) -> str:
    """Return the cursor of the page that begins after an organization."""
    return encode_cursor(_ORDER, [organization.id])


def add(connection: Connection, **values: Any) -> Organization:
    """Write the row of an organization that is there in full, and announce it.

    Raises:
        sqlalchemy.exc.IntegrityError: If its id, schema or role is another's.
    """
    row = connection.execute(insert(organizations).values(values).returning(*organizations.c)).one()
    organization = organization_from(row)
    announce(connection, organization.id)
    return organization


def lock_statement(role: str) -> sql.Composable:
    """Return the statement that locks an organization's row until the transaction ends."""
    return sql.SQL("SELECT FROM {} WHERE role_name = {} FOR UPDATE").format(
        sql.Identifier(REGISTRY_SCHEMA, organizations.name), role
    )


def activation(role: str, revisions: Mapping[str, str]) -> sql.Composable:
    """Return the statement that opens a provisioned organization, and gives `updated_at`.

    It fails with `OT001` if the organization is not being provisioned, and audits it if it is.
    """
    actor = current_actor()
    return sql.SQL("SELECT {}({}, {}, {}, {}) AS updated_at").format(
        sql.Identifier(REGISTRY_SCHEMA, "activate"),
        role,
        Jsonb(dict(revisions)),
        None if actor is None else actor.id,
        current_origin(),
    )


def change_status(
    connection: Connection, organization_id: str, status: OrganizationStatus, **values: Any
) -> Organization | None:
    """Move an organization to a status, if its present one allows it, else return None.

    Args:
        connection: A connection of the owner, in a transaction.
        organization_id: The organization.
        status: Where to.
        **values: Other columns of its row to change with it.
    """
    given = {f"new_{name}": value for name, value in values.items()}
    statement = _change_statement(status, *values)
    row = connection.execute(statement, {"key": organization_id, **given}).one_or_none()
    return None if row is None else organization_from(row)


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


def announcement(organization_id: str) -> sql.Composable:
    """Return the statement of `announce`, to be sent together with others."""
    return sql.SQL("SELECT pg_notify({}, {})").format(CHANNEL, organization_id)


@cache
def _change_statement(status: OrganizationStatus, *names: str) -> ReturningUpdate[Any]:
    """Return the guarded UPDATE to a status, which also announces the change."""
    sources = [source for source, targets in TRANSITIONS.items() if status in targets]
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
    return (
        update(organizations)
        .where(organizations.c.id == bindparam("key"), organizations.c.status.in_(sources))
        .values(status=status, updated_at=func.now(), status_changed_at=func.now(), **values)
        .returning(*organizations.c, func.pg_notify(CHANNEL, organizations.c.id))
    )
