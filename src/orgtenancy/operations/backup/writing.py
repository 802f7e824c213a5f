"""Writing a backup: one snapshot of one organization."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from psycopg import sql
from pydantic import BaseModel
from sqlalchemy import Connection, text

from orgtenancy.database.engines import Database
from orgtenancy.errors import OrganizationBusy, OrganizationUnavailable
from orgtenancy.operations.backup.archive import ArchiveWriter
from orgtenancy.operations.backup.encryption import Key
from orgtenancy.operations.backup.manifest import (
    Header,
    Manifest,
    data_folders,
    describe_organization,
    describe_table,
)
from orgtenancy.operations.backup.pieces import compressed, split
from orgtenancy.operations.backup.places import (
    ENCRYPTED,
    MAIN,
    HashedFile,
    Target,
    new_file,
    new_folder,
    put,
)
from orgtenancy.operations.backup.reading import (
    HEADER_NAME,
    MANIFEST_NAME,
    part_name,
    piece_name,
)
from orgtenancy.operations.data.copying import copy_out
from orgtenancy.operations.data.digests import Digest, Digests, digests
from orgtenancy.operations.data.snapshots import Together, snapshot, working_together
from orgtenancy.operations.data.tables import Table, fetch, sequences_of
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import store
from orgtenancy.schemas.revisions.stamping import VERSION_TABLE

#: What errors call it.
OPERATION = "back up"

_ABOUT = text(
    "SELECT current_setting('server_version'), statement_timestamp(), "
    "to_regclass(:versions) IS NOT NULL"
)
_ONE_PROCESS = text("SET LOCAL max_parallel_workers_per_gather TO 0")


def write(
    database: Database,
    organization: Organization,
    target: Target,
    *,
    key: Key | None = None,
    workers: int = 1,
) -> Manifest:
    """Write a backup of an organization, and return what is in it.

    What the rows add up to is computed beside the copying, over a connection of its own.

    Args:
        database: The organization's placement.
        organization: Which organization.
        target: Where to.
        key: For whom it is encrypted, if for anybody.
        workers: How many connections.

    Raises:
        OrganizationNotFound: If its schema is not there.
        OrganizationUnavailable: If its data is being dropped.
        OrganizationBusy: If others hold a table for too long.
        FileExistsError: If there is something of that name.
    """
    if workers > 1 and not isinstance(target, (str, os.PathLike)):
        raise ValueError("several workers write a folder: give the path of one")
    extensions = database.settings.extensions_schema
    with (
        database.admin_engine.connect() as connection,
        snapshot(connection, organization, extensions, operation=OPERATION) as tables,
        working_together(database, connection, organization, workers) as together,
    ):
        ensure_whole(database, connection, organization)
        taken = Taken(connection, organization, tables)
        sums = together.submit(lambda other: _add_up(other, tables))
        if isinstance(target, (str, os.PathLike)):
            path = Path(target)
            if workers > 1:
                return _write_folder(taken, together, sums, path, key)
            with new_file(path) as file:
                return taken.write(lambda: taken.describe(sums.result()), file, key)
        manifest = taken.write(lambda: taken.describe(sums.result()), target, key)
        target.flush()
        return manifest


def _add_up(connection: Connection, tables: Sequence[Table]) -> dict[str, Digest]:
    """Return what the rows add up to, by one process: beside the copying, which takes longer."""
    connection.execute(_ONE_PROCESS)
    return digests(connection, tables)


def ensure_whole(
    database: Database,
    connection: Connection,
    organization: Organization,
    operation: str = OPERATION,
) -> None:
    """Make sure that all tables are its own, and were there when they were locked.

    From then on its id and the name of its schema stay, until the transaction ends.

    Args:
        database: Its placement.
        connection: A connection in its `snapshot`.
        organization: Which organization.
        operation: What the caller is about, for the error.

    Raises:
        OrganizationUnavailable: If it is gone, or its data is being dropped.
        OrganizationBusy: If its id was changed meanwhile.
    """
    where: dict[str, Any] = {
        "organization_id": organization.id,
        "schema": organization.schema_name,
        "placement": organization.placement,
    }
    store.keep_id(connection, organization)
    with database.admin_engine.begin() as other:
        name = store.schema_name_of(other, organization.role_name)
        is_dropped = store.is_being_dropped(other, organization)
    if name not in (None, organization.schema_name):
        raise OrganizationBusy(
            f"the id of organization {organization.id!r} was changed: {operation} it again",
            operation=operation,
            **where,
        )
    if is_dropped:
        raise OrganizationUnavailable(
            f"the data of organization {organization.id!r} is being dropped",
            status=OrganizationStatus.PURGED,
            **where,
        )


@dataclass(frozen=True)
class Taken:
    """What a snapshot holds of an organization.

    Attributes:
        connection: A connection in the snapshot.
        organization: Whose.
        tables: Its tables.
    """

    connection: Connection
    organization: Organization
    tables: Sequence[Table]

    def describe(self, sums: Digests) -> Manifest:
        """Return what a backup says of itself.

        Args:
            sums: What the rows of the tables add up to.
        """
        schema = self.organization.schema_name
        versions = sql.Identifier(schema, VERSION_TABLE)
        about = self.connection.execute(_ABOUT, {"versions": versions.as_string(None)})
        server_version, taken_at, has_stamps = about.one()
        stamps = sql.SQL("SELECT version_num FROM {} ORDER BY 1").format(versions)
        found = fetch(self.connection, stamps) if has_stamps else []
        return Manifest(
            organization=describe_organization(self.organization),
            stamps=tuple(stamp for (stamp,) in found),
            revisions=self.organization.revisions,
            tables=tuple(describe_table(table, sums[table.name]) for table in self.tables),
            # Read after the snapshot was taken: none of them is behind the rows.
            sequences=sequences_of(self.connection, schema),
            server_version=server_version,
            taken_at=taken_at,
        )

    def write(
        self, manifest: Callable[[], Manifest], target: BinaryIO | HashedFile, key: Key | None
    ) -> Manifest:
        """Write it as one archive, and return what is in it.

        Args:
            manifest: Gives what the archive says of itself; called when the rows are written.
            target: Where to.
            key: For whom it is encrypted, if for anybody.
        """
        found: list[Manifest] = []

        def members() -> Iterator[tuple[str, bytes]]:
            yield _header(self.organization)
            yield from compressed(self._rows())
            found.append(manifest())
            yield _last(found[0])

        put(ArchiveWriter().write(members()), target, key)
        return found[0]

    def _rows(self) -> Generator[tuple[str, bytes], None, None]:
        for table, folder in zip(self.tables, _folders(self.tables), strict=True):
            yield from _rows(self.connection, table, folder)


def _write_folder(
    taken: Taken, together: Together, sums: Future[dict[str, Digest]], path: Path, key: Key | None
) -> Manifest:
    """Write a backup with a file for each table, by several workers."""
    with new_folder(path) as folder:
        parts = {
            name: together.submit(_part_writer(folder, name, table, key))
            for table, name in sorted(
                zip(taken.tables, _folders(taken.tables), strict=True),
                key=lambda part: -part[0].size,  # the largest take longest
            )
        }
        everything: list[Future[Any]] = [sums, *parts.values()]
        wait(everything, return_when=FIRST_EXCEPTION)
        seals = {part_name(name): parts[name].result() for name in sorted(parts)}
        manifest = taken.describe(sums.result())
        main = ArchiveWriter().write([_header(taken.organization), _last(manifest)], seals)
        _write_file(folder / MAIN, main, key)
    return manifest


def _part_writer(
    folder: Path, name: str, table: Table, key: Key | None
) -> Callable[[Connection], str]:
    """Return what writes the rows of a table, and returns the seal of their archive."""

    def write_part(connection: Connection) -> str:
        archive = ArchiveWriter()
        members = archive.write(compressed(_rows(connection, table, name)))
        _write_file(folder / part_name(name), members, key)
        return archive.sha256

    return write_part


def _write_file(path: Path, pieces: Generator[bytes, None, None], key: Key | None) -> None:
    name = path.name if key is None else f"{path.name}{ENCRYPTED}"
    with new_file(path.with_name(name)) as file:
        put(pieces, file, key)


def _folders(tables: Sequence[Table]) -> list[str]:
    return list(data_folders(table.name for table in tables).values())


def _header(organization: Organization) -> tuple[str, bytes]:
    return HEADER_NAME, _json(Header(organization_id=organization.id))


def _last(manifest: Manifest) -> tuple[str, bytes]:
    return MANIFEST_NAME, _json(manifest)


def _json(model: BaseModel) -> bytes:
    return model.model_dump_json(indent=1).encode()


def _rows(
    connection: Connection, table: Table, folder: str
) -> Generator[tuple[str, bytes], None, None]:
    """Yield the rows of a table in pieces, with the names of their members."""
    blocks = copy_out(connection, table, binary=table.is_portable)
    for number, piece in enumerate(split(blocks), 1):
        yield piece_name(folder, number), piece
