"""Reading a backup, with nothing taken for true that is not proven to its end."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from itertools import groupby

from pydantic import ValidationError

from orgtenancy.errors import BackupDamaged, BackupForeign, BackupMismatch
from orgtenancy.operations.backup.archive import ArchiveReader, Readable
from orgtenancy.operations.backup.encryption import MAGIC, Key, decrypted
from orgtenancy.operations.backup.manifest import (
    FORMAT,
    FORMAT_VERSION,
    BackupTable,
    Manifest,
)
from orgtenancy.operations.backup.pieces import decompressor
from orgtenancy.operations.backup.places import Opened, Source, opened

#: The first member, and the last one before the seal.
HEADER_NAME = "backup.json"
MANIFEST_NAME = "manifest.json"

_DATA = "data/"


def verify(source: Source, *, key: Key | None = None) -> Manifest:
    """Read all of a backup, and return what is in it. It needs no server.

    Args:
        source: A file, a folder, or a stream.
        key: The secret key, if it is encrypted.

    Raises:
        FileNotFoundError: If it is not there.
        BackupForeign: If it is no backup.
        BackupDamaged: If it is not whole, or not as it was written.
        BackupKeyRefused: If there is no key, or none that opens it.
        BackupMismatch: If a newer release wrote it.
    """
    with opened(source) as place:
        return check(place, key)


def check(place: Opened, key: Key | None) -> Manifest:
    """Read all of a backup, and return what is in it, as `verify` does."""
    decompress = decompressor(place.name)
    with ExitStack() as stack:
        reader = _Reader(place, key, stack)
        for _, content in reader.data():
            decompress(content)
        return reader.checked_manifest()


def rows(
    place: Opened, key: Key | None, manifest: Manifest
) -> Generator[tuple[BackupTable, Iterator[bytes]], None, None]:
    """Yield the tables of a backup with their rows, as `COPY` takes them.

    What was yielded is proven only when the iterator has come to its end.

    Args:
        place: The backup.
        key: The secret key, if it is encrypted.
        manifest: What `check` gave.

    Raises:
        BackupDamaged: If it is not what was checked.
    """
    tables = {manifest.folders[table.name]: table for table in manifest.tables}
    decompress = decompressor(place.name)
    with ExitStack() as stack:
        reader = _Reader(place, key, stack)
        for folder, members in groupby(reader.data(), lambda member: member[0]):
            if folder not in tables:
                raise BackupDamaged(f"{place.name} is not what it was a moment ago")
            yield tables[folder], (decompress(content) for _, content in members)
        reader.checked_manifest()


class _Reader:
    """Reads the archives of a backup once, from the beginning to the end."""

    def __init__(self, place: Opened, key: Key | None, stack: ExitStack) -> None:
        self._place, self._key, self._stack = place, key, stack
        self._pieces: dict[str, int] = {}
        self._manifest: Manifest | None = None

    def data(self) -> Iterator[tuple[str, bytes]]:
        """Yield the folders of tables, and compressed pieces of their rows."""
        main = self._open(None)
        members = main.members()
        self._check_header(*next(members, ("", b"")))
        yield from self._data_of(members)
        for part, sha256 in (main.seal.parts if main.seal else {}).items():
            # Its name becomes one of a file.
            if self._manifest is None or part not in self._part_names(self._manifest):
                raise self._damaged(f"{part!r} does not belong to it")
            archive = self._open(part)
            yield from self._data_of(archive.members())
            if archive.seal is None or archive.seal.sha256 != sha256:
                raise self._damaged(f"{part} is that of another backup")

    def checked_manifest(self) -> Manifest:
        """Return the manifest, after all data was read.

        Raises:
            BackupDamaged: If it says other things than what was read.
        """
        if self._manifest is None:
            raise self._damaged("it has no manifest")
        folders = self._manifest.folders
        # Around no rows `COPY` writes a frame in its binary form, and nothing as text.
        needed = {folders[t.name] for t in self._manifest.tables if t.rows or t.format == "binary"}
        if not needed <= self._pieces.keys() <= set(folders.values()):
            raise self._damaged("its manifest tells of other tables than there are rows of")
        return self._manifest

    def _data_of(self, members: Iterator[tuple[str, bytes]]) -> Iterator[tuple[str, bytes]]:
        for name, content in members:
            if name == MANIFEST_NAME and self._manifest is None:
                self._manifest = self._parsed(content)
                continue
            folder = name.removeprefix(_DATA).rpartition("/")[0]
            number = self._pieces.get(folder, 0) + 1
            is_next = number == 1 or next(reversed(self._pieces)) == folder
            if not is_next or name != piece_name(folder, number):
                raise self._damaged(f"{name!r} stands where it should not")
            self._pieces[folder] = number
            yield folder, content

    def _open(self, part: str | None) -> ArchiveReader:
        name = self._place.name if part is None else f"{self._place.name}/{part}"
        file = self._stack.enter_context(self._place.open(part))
        begin = file.read(len(MAGIC))
        stream: Readable = _Rejoined(begin, file)
        if begin == MAGIC:
            stream = self._stack.enter_context(decrypted(stream, self._key, name))
        return ArchiveReader(stream, name)

    def _check_header(self, name: str, content: bytes) -> None:
        try:
            found = json.loads(content) if name == HEADER_NAME else None
        except ValueError:
            found = None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise BackupForeign(f"{self._place.name} is no backup of orgtenancy")
        version = found.get("version")
        if version != FORMAT_VERSION:
            raise BackupMismatch(
                f"{self._place.name} has the form {version!r} of backups, and this release reads "
                f"only {FORMAT_VERSION}: another release wrote it"
            )

    def _parsed(self, content: bytes) -> Manifest:
        try:
            return Manifest.model_validate_json(content)
        except ValidationError as error:
            raise self._damaged("its manifest cannot be read") from error

    def _part_names(self, manifest: Manifest) -> set[str]:
        return set(map(part_name, manifest.folders.values()))

    def _damaged(self, why: str) -> BackupDamaged:
        return BackupDamaged(f"{self._place.name} is damaged: {why}")


class _Rejoined:
    """What was read of a file already, and the rest of it."""

    def __init__(self, begin: bytes, rest: Readable) -> None:
        self._begin, self._rest = begin, rest

    def read(self, size: int = -1, /) -> bytes:
        if not self._begin:
            return self._rest.read(size)
        end = len(self._begin) if size < 0 else size
        found, self._begin = self._begin[:end], self._begin[end:]
        return found


def part_name(folder: str) -> str:
    """Return the name of the archive with the rows of one table, where each has its own."""
    return f"{folder}.tar"


def piece_name(folder: str, number: int) -> str:
    """Return the name of a member with rows."""
    return f"{_DATA}{folder}/{number:06}.zst"
