"""The steps of a move, each one transaction that may be called again.

Whoever was taken for dead and goes on finds out here: every step locks the row that it is about,
and leaves it alone if it is not in the state, or not of the role, that the move knows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from psycopg import sql
from sqlalchemy import Connection, delete, func, insert, or_, select, text, update

from orgtenancy.database.engines import Database
from orgtenancy.errors import TransitionRefused
from orgtenancy.naming import REGISTRY_SCHEMA, spare_schema_name
from orgtenancy.operations.moving.journal import Move
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import audit, store
from orgtenancy.registry.tables import organization_from, organizations, spares
from orgtenancy.schemas import grants, objects
from orgtenancy.schemas.rights import set_rights
from orgtenancy.schemas.waiting import limit_lock_wait, patiently

_S = OrganizationStatus

#: The statuses in which an organization can be moved.
MOVABLE = frozenset({_S.ACTIVE, _S.SUSPENDED, _S.ARCHIVED, _S.PURGED})

_HAS_SCHEMA = text("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = :schema)")

_MOVE = "move"
_LOCK_TIMEOUT = 1.0  # seconds that a step waits for a lock
_LEFT_OVER = "moved"  # the settings of a spare that nobody claims


def check_is_movable(organization: Organization, *, is_being_purged: bool) -> None:
    """Make sure that the status of an organization allows a move.

    Raises:
        TransitionRefused: If it does not.
    """
    if organization.status in MOVABLE and not (
        is_being_purged and organization.status is not _S.PURGED
    ):
        return
    state = "being purged" if is_being_purged else str(organization.status)
    raise TransitionRefused(
        f"move is refused: organization {organization.id!r} is {state}, and would have to be "
        f"{', '.join(sorted(MOVABLE))}",
        operation=_MOVE,
        status=organization.status,
        organization_id=organization.id,
        schema=organization.schema_name,
        placement=organization.placement,
    )


def read_row(database: Database, organization_id: str) -> Mapping[str, Any] | None:
    """Return the whole row of an organization, with what only the registry knows."""
    known = organizations.table_valued()
    statement = select(func.to_jsonb(known)).where(organizations.c.id == organization_id)
    with database.admin_engine.begin() as connection:
        row: Mapping[str, Any] | None = connection.scalar(statement)
    return row


def fence(database: Database, move: Move) -> Organization | None:
    """Shut an organization on the source, as the last part of a move begins.

    Args:
        database: The source.
        move: The move, with the row of the organization.

    Returns:
        The organization, fenced; None if its row is another one now.
    """
    row = move.organization or {}

    def work() -> Organization | None:
        with database.admin_engine.begin() as connection:
            limit_lock_wait(connection, _LOCK_TIMEOUT)
            found = store.find(connection, move.organization_id, lock=True)
            if found is None or found.role_name != move.source_role:
                raise move.failed("it was dropped meanwhile")
            if found.moving_to == move.target:
                return found
            current = connection.scalar(
                select(func.to_jsonb(organizations.table_valued())).where(
                    organizations.c.id == found.id
                )
            )
            if current != row:
                return None
            # What tells of its status stays: it has it again when the move has come to its end.
            fenced = _update(
                connection,
                found,
                status=_S.FENCED if found.status is not _S.PURGED else _S.PURGED,
                moving_to=move.target,
                status_changed_at=func.now(),
            )
            set_rights(connection, database, found, is_open=False)
            details = {"from": found.status, "to": fenced.status, "moving_to": move.target}
            audit.record(connection, "fenced", found.id, details=details)
            return fenced

    return patiently(move.organization_id, _MOVE, work)


def unfence(database: Database, move: Move) -> Organization | None:
    """Give an organization on the source the status back that it had before the fence.

    One that is not fenced becomes another one than the move knows, for a mover that was taken
    for dead and is about to fence it.

    Returns:
        The organization, or None if this move did not fence it.
    """
    row = move.organization or {}

    def work() -> Organization | None:
        with database.admin_engine.begin() as connection:
            limit_lock_wait(connection, _LOCK_TIMEOUT)
            found = store.find(connection, move.organization_id, lock=True)
            if found is None or found.role_name != move.source_role:
                return None
            if found.moving_to != move.target:
                _update(connection, found)
                return None
            status = OrganizationStatus(row["status"])
            again = _update(
                connection, found, status=status, moving_to=None, status_changed_at=func.now()
            )
            set_rights(connection, database, found, is_open=again.is_active)
            details = {"from": found.status, "to": again.status}
            audit.record(connection, "unfenced", found.id, details=details)
            return again

    return patiently(move.organization_id, _MOVE, work)


def check_has_room(database: Database, move: Move) -> None:
    """Make sure that nothing on the target has the names that an organization is to have there.

    Raises:
        MoveFailed: If something has: it could not take its place once it is said to be there.
    """
    row = move.organization or {}
    schema = str(row["schema_name"])
    taken = select(organizations.c.id).where(
        or_(organizations.c.id == move.organization_id, organizations.c.schema_name == schema)
    )
    with database.admin_engine.begin() as connection:
        has_row = connection.execute(taken).first() is not None
        if has_row or connection.scalar(_HAS_SCHEMA, {"schema": schema}):
            raise move.failed(
                f"the id {move.organization_id!r}, or the schema {schema!r}, is there already"
            )


def take_place(
    connection: Connection, database: Database, move: Move, details: Mapping[str, Any]
) -> None:
    """Make the copy the organization, on the target, once it is said to be there.

    Args:
        connection: A connection of the owner there, in a transaction.
        database: The target.
        move: The move.
        details: What the audit is to tell of it.
    """
    row = dict(move.organization or {})
    status, schema = OrganizationStatus(row["status"]), str(row["schema_name"])
    there = store.find(connection, move.organization_id, lock=True)
    if there is not None and there.role_name == move.target_role:
        return
    if status is not _S.PURGED:
        copy = connection.scalar(
            delete(spares)
            .where(spares.c.role_name == move.target_role, spares.c.move_number == move.number)
            .returning(spares.c.schema_name)
        )
        if copy is None:
            raise move.failed("its copy is gone")
        rename = sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(
            sql.Identifier(copy), sql.Identifier(schema)
        )
        grants.execute(connection, [rename])
    row |= {"role_name": move.target_role, "placement": database.name, "moving_to": None}
    _insert(connection, row)
    now = _update(
        connection, Organization.model_validate(row), status_changed_at=func.clock_timestamp()
    )
    set_rights(connection, database, now, is_open=now.is_active)
    told = {"from": move.source, "to": move.target, "status": now.status, **details}
    audit.record(connection, "moved", move.organization_id, details=told)


def give_way(connection: Connection, database: Database, move: Move) -> None:
    """Let an organization go from the source: its schema is nobody's from now on.

    Args:
        connection: A connection of the owner there, in a transaction.
        database: The source.
        move: The move.
    """
    found = store.find(connection, move.organization_id, lock=True)
    if found is None or found.role_name != move.source_role:
        return
    connection.execute(delete(organizations).where(organizations.c.id == found.id))
    if found.status is not _S.PURGED:
        schema = spare_schema_name(move.source_role)
        connection.execute(
            insert(spares).values(
                role_name=move.source_role,
                schema_name=schema,
                placement=database.name,
                settings_digest=_LEFT_OVER,
                move_number=move.number,
            )
        )
        rename = sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(
            sql.Identifier(found.schema_name), sql.Identifier(schema)
        )
        grants.execute(connection, [rename])
    store.announce(connection, found.id)
    details = {"from": move.source, "to": move.target}
    audit.record(connection, "moved", found.id, details=details)


def drop_unowned(database: Database, move: Move, role: str) -> None:
    """Drop a schema of a move that belongs to nobody, a little at a time.

    Args:
        database: The placement that it is on.
        move: The move.
        role: The schema's role.

    Raises:
        OrganizationBusy: If others hold something in it for too long.
    """
    while patiently(move.organization_id, _MOVE, lambda: _drop_some(database, move, role)):
        pass


def _drop_some(database: Database, move: Move, role: str) -> bool:
    """Drop some objects, or in the end what is left; return whether there is more."""
    one_by_one = database.has_citus
    with database.admin_engine.begin() as connection:
        limit_lock_wait(connection, _LOCK_TIMEOUT)
        is_it = spares.c.role_name == role, spares.c.move_number == move.number
        schema = connection.scalar(select(spares.c.schema_name).where(*is_it).with_for_update())
        if schema is None:
            return False
        statements = objects.drop_statements(connection, schema, database.settings.drop_batch_size)
        if statements:
            grants.execute(connection, statements, one_by_one=one_by_one)
            return True
        last = objects.final_drop_statements(connection, schema, role)
        grants.execute(connection, last, one_by_one=one_by_one)
        connection.execute(delete(spares).where(*is_it))
        return False


def _update(connection: Connection, organization: Organization, **values: Any) -> Organization:
    row = connection.execute(
        update(organizations)
        .where(organizations.c.id == organization.id)
        .values(updated_at=func.now(), **values)
        .returning(*organizations.c)
    ).one()
    store.announce(connection, organization.id)
    return organization_from(row)


def _insert(connection: Connection, row: Mapping[str, Any]) -> None:
    """Insert a whole row, with all that `to_jsonb` gave on another server."""
    statement = sql.SQL(
        "INSERT INTO {table} SELECT (jsonb_populate_record(NULL::{table}, {row}::jsonb)).*"
    ).format(
        table=sql.Identifier(REGISTRY_SCHEMA, organizations.name), row=sql.Literal(json.dumps(row))
    )
    grants.execute(connection, [statement])
