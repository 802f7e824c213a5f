"""Export: the rows of an organization for those whose they are, as JSON Lines or CSV.

Nothing reads it back: it is for people and their own programs. A backup is what is restored.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, TypeAlias, cast

from psycopg import sql
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, text

from orgtenancy.database.engines import Database
from orgtenancy.operations.backup.manifest import replace_unfit
from orgtenancy.operations.backup.places import Target, new_file, new_folder
from orgtenancy.operations.backup.writing import ensure_whole
from orgtenancy.operations.data.copying import columns_of, copy_blocks
from orgtenancy.operations.data.snapshots import snapshot
from orgtenancy.operations.data.tables import Table
from orgtenancy.organizations import Organization, OrganizationId

ExportFormat: TypeAlias = Literal["jsonl", "csv"]

#: What the audit calls it.
ACTION = "exported"

_INDEX = "export.json"
_ZIP = ".zip"
_NOW = text("SELECT statement_timestamp()")

# COPY writes a backslash as two, and white space between the parts of a `json` value by a letter.
_escapes = re.compile(rb"\\(.)")
_UNESCAPED = {b"\\": b"\\", b"n": b" ", b"r": b" ", b"t": b" "}

_OpenFile: TypeAlias = Callable[[str], AbstractContextManager["_Writable"]]


class _Writable(Protocol):
    def write(self, piece: bytes, /) -> int:
        """Write bytes."""


class ExportedTable(BaseModel):
    """A table in an export.

    Attributes:
        name: Its name.
        file: The file with its rows.
        rows: How many.
        columns: Their types, by the columns' names.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    file: str
    rows: int
    columns: Mapping[str, str]


class Export(BaseModel):
    """What was exported; the file `export.json` says the same.

    Attributes:
        organization_id: Of which organization.
        name: Its display name.
        format: How the rows are written.
        taken_at: When, by the server's clock: all of it is as of one moment.
        tables: The tables.
    """

    model_config = ConfigDict(frozen=True)

    organization_id: OrganizationId
    name: str
    format: ExportFormat
    taken_at: datetime
    tables: tuple[ExportedTable, ...]


def export(
    database: Database,
    organization: Organization,
    target: Target,
    *,
    format: ExportFormat = "jsonl",  # noqa: A002 - the word for it
) -> Export:
    """Write the rows of an organization for people, and return what was written.

    Args:
        database: The organization's placement.
        organization: Which organization.
        target: A folder that is not there yet, a file that ends with `.zip`, or a stream that
            gets what would be in such a file.
        format: `jsonl`, a file of JSON objects for each table, one a line; or `csv`, with a
            header, where NULL is empty and an empty text is `""`.

    Raises:
        OrganizationNotFound: If its schema is not there.
        OrganizationUnavailable: If its data is being dropped.
        OrganizationBusy: If others hold a table for too long.
        FileExistsError: If there is something of that name.
    """
    extensions = database.settings.extensions_schema
    with (
        database.admin_engine.connect() as connection,
        snapshot(connection, organization, extensions, operation="export") as tables,
        _opened(target) as open_file,
    ):
        ensure_whole(database, connection, organization, "export")
        taken_at = connection.execute(_NOW).scalar_one()
        exported = []
        for table, file in zip(tables, _file_names(tables, format), strict=True):
            with open_file(file) as sink:
                rows = _write_rows(connection, table, format, sink)
            columns = {column.name: column.type for column in table.copied}
            exported.append(ExportedTable(name=table.name, file=file, rows=rows, columns=columns))
        found = Export(
            organization_id=organization.id,
            name=organization.name,
            format=format,
            taken_at=taken_at,
            tables=tuple(exported),
        )
        with open_file(_INDEX) as sink:
            sink.write(found.model_dump_json(indent=1).encode())
    return found


def _write_rows(connection: Connection, table: Table, form: ExportFormat, target: _Writable) -> int:
    """Write the rows of a table, and return how many they were."""
    rows = sql.SQL("SELECT {} FROM {}").format(columns_of(table), table.rows)
    if form == "csv":
        statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, HEADER, ENCODING 'UTF8')")
    else:
        statement = sql.SQL("COPY (SELECT row_to_json(r) FROM ({}) r) TO STDOUT (ENCODING 'UTF8')")
    count = 0

    def counted() -> Generator[bytes, None, None]:
        nonlocal count
        count = yield from copy_blocks(connection, statement.format(rows))

    with closing(counted()) as blocks:
        for block in blocks:
            target.write(block if form == "csv" else _escapes.sub(_unescaped, block))
    return count


def _unescaped(found: re.Match[bytes]) -> bytes:
    return _UNESCAPED[found[1]]


def _file_names(tables: Sequence[Table], form: ExportFormat) -> list[str]:
    names: list[str] = []
    for table in tables:
        name = replace_unfit("_", table.name)
        while f"{name}.{form}" in names:
            name += "_"
        names.append(f"{name}.{form}")
    return names


@contextmanager
def _opened(target: Target) -> Iterator[_OpenFile]:
    """Return a block with what opens new files in a target."""
    if not isinstance(target, (str, os.PathLike)):
        with _zipped(target) as open_file:
            yield open_file
        target.flush()
    elif (path := Path(target)).suffix == _ZIP:
        with new_file(path) as file, _zipped(cast("BinaryIO", file)) as open_file:
            yield open_file
    else:
        with new_folder(path) as folder:
            yield lambda name: new_file(folder / name)


@contextmanager
def _zipped(target: BinaryIO) -> Iterator[_OpenFile]:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        yield lambda name: archive.open(name, "w", force_zip64=True)
