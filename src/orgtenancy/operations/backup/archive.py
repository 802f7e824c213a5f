"""The form of a backup: a tar that is sealed.

Its last member has the SHA-256 of every byte before it, so that a file is whole and unchanged,
or is not taken. It is an ordinary tar otherwise: `tar` opens it, and `zstd` the rows in it.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orgtenancy.errors import BackupDamaged, BackupForeign

#: The last member.
SEAL_NAME = "complete.json"

#: More bytes than any member has: what says it has more is damaged.
MAX_MEMBER_SIZE = 64 * 1024 * 1024

_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to so many bytes; none at the end."""


class Seal(BaseModel):
    """The last member of an archive.

    Attributes:
        sha256: Of all bytes before it, in hex.
        parts: The seals of the archives that belong to it, by the names of their files.
    """

    model_config = ConfigDict(frozen=True)

    sha256: str
    parts: Mapping[str, str] = Field(default_factory=dict)


class ArchiveWriter:
    """Writes one archive."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The SHA-256 of the members that were written, which is in the seal."""
        return self._digest.hexdigest()

    def write(
        self, members: Iterable[tuple[str, bytes]], parts: Mapping[str, str] | None = None
    ) -> Generator[bytes, None, None]:
        """Yield the bytes of an archive with these members, and its seal.

        Args:
            members: Their names, of up to 100 bytes, and contents.
            parts: The seals of what belongs to it.
        """
        for name, content in members:
            member = _member(name, content)
            self._digest.update(member)
            yield member
        seal = Seal(sha256=self.sha256, parts=parts or {})
        yield _seal_member(seal) + _END


class ArchiveReader:
    """Reads one archive, and takes nothing that is not exactly as it was written.

    Args:
        stream: Its bytes.
        name: What it is called, for errors.

    Attributes:
        seal: What its last member says, once that was read and found true.
    """

    def __init__(self, stream: Readable, name: str) -> None:
        self._stream = stream
        self._name = name
        self._digest = hashlib.sha256()
        self.seal: Seal | None = None

    def members(self) -> Iterator[tuple[str, bytes]]:
        """Yield the names and contents of the members but the last, in order.

        Raises:
            BackupForeign: If it does not begin as an archive.
            BackupDamaged: If it is not whole or not as it was written, at the latest after the
                last member.
        """
        name, content, raw = self._next(is_first=True)
        while name != SEAL_NAME:
            self._digest.update(raw)
            yield name, content
            name, content, raw = self._next()
        try:
            seal = Seal.model_validate_json(content)
        except ValidationError as error:
            raise self._damaged("its seal cannot be read") from error
        if seal.sha256 != self._digest.hexdigest() or raw != _seal_member(seal):
            raise self._damaged("its content is not what was written")
        if self._read(len(_END) + 1, is_last=True) != _END:
            raise self._damaged("it does not end where it should")
        self.seal = seal

    def _next(self, *, is_first: bool = False) -> tuple[str, bytes, bytes]:
        header = self._read(_BLOCK, is_last=is_first)
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except (tarfile.TarError, ValueError) as error:
            if is_first:
                raise BackupForeign(f"{self._name} is no backup of orgtenancy") from error
            raise self._damaged("a member's header cannot be read") from error
        if not info.isreg() or not 0 <= info.size <= MAX_MEMBER_SIZE:
            if is_first:
                raise BackupForeign(f"{self._name} is no backup of orgtenancy")
            raise self._damaged(f"member {info.name!r} is none of a backup")
        padded = self._read(_padded(info.size))
        return info.name, padded[: info.size], header + padded

    def _read(self, size: int, *, is_last: bool = False) -> bytes:
        """Read so many bytes; fewer only if these may be the last."""
        found = bytearray()
        while len(found) < size and (piece := self._stream.read(size - len(found))):
            found += piece
        if len(found) < size and not is_last:
            raise self._damaged("it was cut off")
        return bytes(found)

    def _damaged(self, why: str) -> BackupDamaged:
        return BackupDamaged(f"{self._name} is damaged: {why}")


def _seal_member(seal: Seal) -> bytes:
    return _member(SEAL_NAME, seal.model_dump_json(indent=1).encode())


def _member(name: str, content: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    info.mode = 0o600
    header = info.tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
    return b"".join((header, content, bytes(_padded(info.size) - info.size)))


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
