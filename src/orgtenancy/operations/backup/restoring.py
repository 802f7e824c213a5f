"""Restoring: an organization made of a backup, in one transaction.

All of the backup is read and proven before anything is touched. Its schema is then made at the
revisions it was at, filled, compared with what was backed up, and brought to the newest
revisions. Killed anywhere, nothing of it is there, and the next call begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from orgtenancy.errors import BackupMismatch, OrganizationExists
from orgtenancy.naming import REGISTRY_SCHEMA, new_role_name, schema_name
from orgtenancy.operations.backup.encryption import Key
from orgtenancy.operations.backup.manifest import BackupTable, Manifest
from orgtenancy.operations.backup.places import Opened, Source, opened
from orgtenancy.operations.backup.reading import check, rows
from orgtenancy.operations.data.copying import copy_in
from orgtenancy.operations.data.digests import digests
from orgtenancy.operations.data.filling import filling
from orgtenancy.operations.data.tables import (
    Table,
    analyze,
    empty,
    enter,
    refresh_views,
    sequences_of,
    set_sequences,
    tables_of,
)
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import audit, store
from orgtenancy.schemas.building import SchemaBuilder
from orgtenancy.schemas.manager import SchemaManager
from orgtenancy.schemas.rights import set_rights

#: What the audit calls it: an archived organization that comes back is `restored`.
ACTION = "restored_from_backup"

# Whoever could work in it may do so again; nobody else.
_OPEN = frozenset({OrganizationStatus.ACTIVE, OrganizationStatus.FENCED})

# duplicate_schema and unique_violation
_TAKEN = frozenset({"42P06", "23505"})
# data_exception, integrity_constraint_violation, protocol_violation
_UNFIT = ("22", "23", "08P")


def restore(
    schemas: SchemaManager,
    source: Source,
    *,
    placement: str | None = None,
    organization_id: str | None = None,
    name: str | None = None,
    key: Key | None = None,
    migrate: bool = True,
) -> Organization:
    """Make an organization of a backup.

    Args:
        schemas: Makes its schema.
        source: The backup.
        placement: Where it is to be; the tenancy's policy chooses if None.
        organization_id: Its id, if not that of the one which was backed up.
        name: Its display name, if another one.
        key: The secret key, if the backup is encrypted.
        migrate: Whether to bring it to the newest revisions.

    Raises:
        BackupError: If the backup is not taken; the subclass tells why.
        OrganizationExists: If the id, or its schema, is there already.
        RevisionNotFound: If a revision that it was at is none of the modules'.
    """
    with opened(source) as place:
        manifest = check(place, key)
        target = manifest.organization.id if organization_id is None else organization_id
        schema = schema_name(target)
        revisions = schemas.revisions
        stamps = frozenset(manifest.stamps)
        path = revisions.fresh_path(stamps)
        rest = revisions.fresh_path(before=stamps) if migrate else None
        with (
            schemas.making(target, manifest.organization.attributes, placement) as builder,
            _refusals(target, schema),
            builder.database.admin_engine.begin() as connection,
        ):
            role = new_role_name(str(builder.database.url.database))
            _refuse_existing(connection, target)
            before = builder.create_role(connection, role)
            builder.build(connection, schema, role, before, path=path)
            _fill(connection, builder, schema, manifest, place, key)
            if rest:
                builder.bring(connection, rest)
                stamps = rest.after
            row = _row_of(manifest, target, name) | {
                "schema_name": schema,
                "role_name": role,
                "placement": builder.database.name,
                "revisions": dict(revisions.revisions_at(stamps)),
            }
            # The last of all: who provisions meanwhile would wait for it.
            organization = store.add(connection, **row)
            if not organization.is_active:
                set_rights(connection, builder.database, organization, is_open=False)
            details = {
                "from": manifest.organization.id,
                "taken_at": manifest.taken_at.isoformat(),
                "rows": manifest.rows,
            }
            audit.record(connection, ACTION, target, details=details)
    return organization


def _fill(
    connection: Connection,
    builder: SchemaBuilder,
    schema: str,
    manifest: Manifest,
    place: Opened,
    key: Key | None,
) -> None:
    """Fill a schema that was just made, and compare it with what was backed up."""
    enter(connection, schema, builder.database.settings.extensions_schema)
    tables = _matched(manifest, tables_of(connection, schema), place.name)
    unknown = manifest.sequences.keys() - sequences_of(connection, schema).keys()
    if unknown:
        raise _mismatch(place.name, [f"there is no sequence {name}" for name in sorted(unknown)])
    empty(connection, tables)  # revisions may have written rows
    by_name = {table.name: table for table in tables}
    sizes = [(by_name[table.name], table.size) for table in manifest.tables]
    one_by_one = builder.database.has_citus
    with (
        filling(connection, schema, sizes, one_by_one=one_by_one),
        closing(rows(place, key, manifest)) as content,
    ):
        for table, pieces in content:
            into = by_name[table.name]
            copy_in(connection, into, pieces, binary=table.format == "binary")
    found = digests(connection, tables)
    others = [t.name for t in manifest.tables if found[t.name] != t.digest]
    if others:
        raise _mismatch(place.name, [f"the rows of {name} are others" for name in others])
    set_sequences(connection, schema, manifest.sequences)
    refresh_views(connection, schema)
    analyze(connection, tables)


def _matched(manifest: Manifest, tables: Sequence[Table], name: str) -> list[Table]:
    """Return the tables of the schema, with columns in the order of the backup."""
    theirs, ours = {t.name: t for t in manifest.tables}, {t.name: t for t in tables}
    wrong = [f"there is no table {name}" for name in theirs.keys() - ours.keys()]
    wrong += [f"table {name} is not in the backup" for name in ours.keys() - theirs.keys()]
    for table in theirs.keys() & ours.keys():
        wrong.extend(_differences(theirs[table], ours[table]))
    if wrong:
        raise _mismatch(name, sorted(wrong))
    return [_reordered(ours[table.name], table) for table in manifest.tables]


def _differences(theirs: BackupTable, ours: Table) -> Iterator[str]:
    were = {column.name: (column.type, column.is_generated) for column in theirs.columns}
    are = {column.name: (column.type, column.is_generated) for column in ours.columns}
    for name in sorted(were.keys() | are.keys()):
        if were.get(name) != are.get(name):
            was, is_ = (found[name][0] if name in found else "missing" for found in (were, are))
            yield f"{theirs.name}.{name} was {was} and is {is_}"


def _reordered(table: Table, theirs: BackupTable) -> Table:
    columns = {column.name: column for column in table.columns}
    return replace(table, columns=tuple(columns[column.name] for column in theirs.columns))


def _row_of(manifest: Manifest, organization_id: str, name: str | None) -> dict[str, Any]:
    """Return what the registry gets to know of the organization."""
    was = manifest.organization
    row: dict[str, Any] = {
        "id": organization_id,
        "name": was.name if name is None else name,
        "attributes": dict(was.attributes),
        "status": OrganizationStatus.ACTIVE,
    }
    if organization_id == was.id:
        row |= {"source": was.source, "created_at": was.created_at}
        if was.status not in _OPEN:
            row["status"] = OrganizationStatus.SUSPENDED
            row["status_reason"] = was.status_reason or f"it was {was.status} when it was backed up"
    return row


def _refuse_existing(connection: Connection, organization_id: str) -> None:
    found = store.find(connection, organization_id)
    if found is not None:
        raise OrganizationExists(
            f"organization {organization_id!r} is there, and {found.status}: restore the backup "
            "under another id",
            organization_id=organization_id,
            schema=found.schema_name,
            placement=found.placement,
        )


@contextmanager
def _refusals(organization_id: str, schema: str) -> Iterator[None]:
    """Tell what the database says of a backup as an error of ours."""
    try:
        yield
    except (DBAPIError, psycopg.Error) as error:
        cause: Any = error.orig if isinstance(error, DBAPIError) else error
        state = getattr(cause, "sqlstate", None) or ""
        if state in _TAKEN and _is_about_organizations(cause):
            raise OrganizationExists(
                f"the id {organization_id!r}, or the schema {schema!r}, is there already",
                organization_id=organization_id,
                schema=schema,
            ) from error
        if state.startswith(_UNFIT):
            raise BackupMismatch(
                # Without DETAIL, which has values.
                f"the rows of the backup do not fit: {cause.diag.message_primary}",
                organization_id=organization_id,
                schema=schema,
            ) from error
        raise


def _is_about_organizations(error: Any) -> bool:
    return bool(error.sqlstate == "42P06" or error.diag.schema_name == REGISTRY_SCHEMA)


def _mismatch(name: str, reasons: Iterable[str]) -> BackupMismatch:
    return BackupMismatch(f"{name} cannot be restored here: {'; '.join(reasons)}")
