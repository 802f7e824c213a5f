"""Where backups are written to and read from: files, folders and streams.

A file or folder gets its name when all of it is on the disk; under that name there is never a
half one. Nobody but its owner may read it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, TypeAlias, cast

from orgtenancy.errors import BackupDamaged, BackupForeign
from orgtenancy.operations.backup.encryption import Key, encrypt

#: A path, or a stream of bytes that stays open.
Target: TypeAlias = str | os.PathLike[str] | BinaryIO
Source: TypeAlias = str | os.PathLike[str] | BinaryIO

#: The file of a folder that names the others.
MAIN = "backup.tar"
ENCRYPTED = ".age"

_PARTIAL = ".partial"


class Opened(Protocol):
    """A backup that can be read from its beginning, again and again."""

    @property
    def name(self) -> str:
        """What it is called, for people."""

    def open(self, part: str | None = None) -> IO[bytes]:
        """Open its main archive, or a part of it; whoever does closes it."""


class HashedFile:
    """What is written to a file, and what it adds up to.

    Attributes:
        size: Bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was written, in hex."""
        return self._digest.hexdigest()

    def write(self, piece: bytes) -> int:
        """Write bytes."""
        self._digest.update(piece)
        self.size += len(piece)
        return self._file.write(piece)

    def flush(self) -> None:
        """Hand to the system what was written."""
        self._file.flush()


def put(
    pieces: Generator[bytes, None, None], target: BinaryIO | HashedFile, key: Key | None
) -> None:
    """Write pieces to a file, encrypted if there is a key."""
    with closing(pieces):  # a COPY that goes on would keep its connection
        if key is not None:
            encrypt(pieces, cast("BinaryIO", target), key)
            return
        for piece in pieces:
            target.write(piece)


@contextmanager
def new_file(path: Path) -> Iterator[HashedFile]:
    """Return a block that fills a new file.

    Raises:
        FileExistsError: If there is one of that name.
    """
    _refuse_existing(path)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PARTIAL}")
    try:
        with open(partial, "xb", opener=_for_owner_only) as file:
            yield HashedFile(file)
            file.flush()
            os.fsync(file.fileno())
        _refuse_existing(path)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Return a block that fills a new folder, with `new_file`.

    Raises:
        FileExistsError: If there is something of that name.
    """
    _refuse_existing(path)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PARTIAL}")
    try:
        partial.mkdir(mode=0o700)
        yield partial
        _refuse_existing(path)
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _sync_folder(path.parent)


def remove_partial(folder: Path) -> None:
    """Remove what writers left in a folder that were killed; nobody may write into it now."""
    for partial in folder.glob(f".*{_PARTIAL}"):
        shutil.rmtree(partial) if partial.is_dir() else partial.unlink(missing_ok=True)


@contextmanager
def opened(source: Source) -> Iterator[Opened]:
    """Return a block in which a backup can be read.

    A stream that cannot be read twice is kept in a temporary file, as it is, encrypted or not.

    Raises:
        FileNotFoundError: If there is none.
        BackupForeign: If it is a folder without a backup in it.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        yield _Folder(path) if path.is_dir() else _File(path)
    elif source.seekable():
        yield _Stream(source, source.tell())
    else:
        with tempfile.TemporaryFile() as file:
            shutil.copyfileobj(source, file)
            yield _Stream(cast("BinaryIO", file), 0)


class _File:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)

    def open(self, part: str | None = None) -> IO[bytes]:
        if part is not None:
            raise BackupForeign(f"{self.name} is one file of a folder that is a backup")
        return self._path.open("rb")


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)

    def open(self, part: str | None = None) -> IO[bytes]:
        name = part or MAIN
        for file in (self._path / name, self._path / f"{name}{ENCRYPTED}"):
            if file.is_file():
                return file.open("rb")
        if part is not None:
            raise BackupDamaged(f"{self.name} is damaged: {part} is missing")
        raise BackupForeign(f"{self.name} is no backup: there is no {MAIN} in it")


class _Stream:
    """A stream that is read from where it stands."""

    name = "the stream"

    def __init__(self, stream: BinaryIO, start: int) -> None:
        self._stream = stream
        self._start = start

    def open(self, part: str | None = None) -> IO[bytes]:
        if part is not None:
            raise BackupForeign("the stream is one file of a folder that is a backup")
        self._stream.seek(self._start)
        return cast("IO[bytes]", _Unclosed(self._stream))


class _Unclosed:
    """A stream whose owner closes it."""

    def __init__(self, stream: BinaryIO) -> None:
        self.read: Callable[..., bytes] = stream.read

    def __enter__(self) -> _Unclosed:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        return None


def _for_owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _refuse_existing(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise FileExistsError(f"{path} is there already: a backup replaces nothing")


def _sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
