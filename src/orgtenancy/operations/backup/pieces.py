"""Rows in pieces that are compressed each by itself.

Pieces one after the other are what `COPY` wrote: `cat *.zst | zstd -d`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any

from orgtenancy.errors import BackupDamaged, ConfigurationError

# Bytes of rows in a piece, at the most; a block that is larger has a row that is.
_MAX_SIZE = 1024 * 1024

_LEVEL = 3

# Pieces that are read before one is compressed, at the most.
_AHEAD = 4


def split(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield blocks of rows in sizes of pieces."""
    for block in blocks:
        for start in range(0, len(block), _MAX_SIZE):
            yield block[start : start + _MAX_SIZE]


def compressed(
    pieces: Generator[tuple[str, bytes], None, None],
) -> Generator[tuple[str, bytes], None, None]:
    """Yield named pieces compressed; the next ones are read meanwhile."""
    compressor = zstandard().ZstdCompressor(level=_LEVEL, write_checksum=True)
    under_way: deque[tuple[str, Future[bytes]]] = deque()
    with closing(pieces), ThreadPoolExecutor(1, "orgtenancy-compression") as thread:
        for name, piece in pieces:
            under_way.append((name, thread.submit(compressor.compress, piece)))
            if len(under_way) > _AHEAD:
                first, done = under_way.popleft()
                yield first, done.result()
        for name, done in under_way:
            yield name, done.result()


def decompressor(name: str) -> Callable[[bytes], bytes]:
    """Return what makes rows of a piece again.

    It raises `BackupDamaged` if they are not what was compressed.

    Args:
        name: What the backup is called, for errors.
    """
    zstd: Any = zstandard()
    decompressor = zstd.ZstdDecompressor()

    def decompress(piece: bytes) -> bytes:
        try:
            # The frame says how much memory it takes, and is believed.
            if zstd.get_frame_parameters(piece).content_size > _MAX_SIZE:
                raise BackupDamaged(f"{name} is damaged: a piece is larger than any is")
            rows: bytes = decompressor.decompress(piece, allow_extra_data=False)
        except zstd.ZstdError as error:
            raise BackupDamaged(f"{name} is damaged: {error}") from error
        return rows

    return decompress


def zstandard() -> Any:
    """Return the package `zstandard`, which only backups need.

    Raises:
        ConfigurationError: If it is not installed.
    """
    try:
        import zstandard as found
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "backups need more packages: python3 -m pip install 'orgtenancy[backup]'"
        ) from error
    return found
