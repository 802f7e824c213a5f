"""Encryption, as age does it: `age -d -i key.txt` opens a backup, too.

A key has two halves. With the public one, `age1…`, backups are written; only the secret one,
`AGE-SECRET-KEY-1…`, opens them, and who writes need not have it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, Queue
from typing import Any, BinaryIO, TypeAlias

from orgtenancy.errors import BackupDamaged, BackupKeyRefused, ConfigurationError
from orgtenancy.operations.backup.archive import Readable

#: One key, or several: each of those that a backup is written for opens it.
Key: TypeAlias = str | Sequence[str]

#: How an encrypted file begins.
MAGIC = b"age-encryption.org/"

_SECRET = "AGE-SECRET-KEY-"  # noqa: S105 - how one begins
_PIECE_SIZE = 256 * 1024
_PIECES_AHEAD = 4


def generate_key() -> tuple[str, str]:
    """Return a new key: its secret half, and its public one."""
    identity = _pyrage().x25519.Identity.generate()
    return str(identity), str(identity.to_public())


def public_keys(key: Key) -> list[str]:
    """Return the public halves of keys, of which either half is given.

    Raises:
        BackupKeyRefused: If one is none.
    """
    return [str(recipient) for recipient in _recipients(key)]


def encrypt(pieces: Iterable[bytes], target: BinaryIO, key: Key) -> None:
    """Write pieces, encrypted, as they come.

    Raises:
        BackupKeyRefused: If a key is none.
    """
    source, sink = _Source(pieces), _Sink(target)
    try:
        _pyrage().encrypt_io(source, sink, _recipients(key))
    except Exception:
        # Which is only a text by now.
        if (error := source.error or sink.error) is not None:
            raise error from None
        raise


@contextmanager
def decrypted(stream: Readable, key: Key | None, name: str) -> Iterator[Readable]:
    """Return a block with what is in an encrypted stream, as it is read.

    Args:
        stream: The encrypted bytes.
        key: The secret half of a key that it was written for.
        name: What it is called, for errors.

    Raises:
        BackupKeyRefused: If there is no key, or none that opens it.
        BackupDamaged: If it is not as it was written; also from `read`.
    """
    if key is None:
        raise BackupKeyRefused(f"{name} is encrypted: give the secret key it was written for")
    target = _Target()
    arguments = (stream, target, _identities(key), name)
    # The package pushes, and what reads an archive pulls.
    thread = threading.Thread(target=_decrypt, args=arguments, name="orgtenancy-decrypt")
    thread.start()
    try:
        yield target
    finally:
        target.abandon()
        thread.join()


def _decrypt(stream: Readable, target: _Target, identities: Sequence[Any], name: str) -> None:
    pyrage = _pyrage()
    try:
        pyrage.decrypt_io(stream, target, identities)
    except _Abandoned:
        return
    except pyrage.DecryptError as error:
        if "key" in str(error):
            why = f"{name} was not written for this key, or its header is damaged"
            target.end(BackupKeyRefused(why))
        else:
            target.end(BackupDamaged(f"{name} is damaged: {error}"))
    except BaseException as error:  # noqa: BLE001 - raised where it is read
        # A chunk that was changed, cut off or added is an error of the file to the package.
        is_chunk = isinstance(error, OSError) and error.errno is None
        target.end(BackupDamaged(f"{name} is damaged: {error}") if is_chunk else error)
    else:
        target.end(None)


class _Source:
    """Pieces as a file that is read. It keeps the error that reading ended with."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")
        self.error: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            while not self._rest:
                piece = next(self._pieces, None)
                if piece is None:
                    return b""
                self._rest = memoryview(piece)
        except BaseException as error:
            self.error = error
            raise
        end = len(self._rest) if size < 0 else size
        found, self._rest = bytes(self._rest[:end]), self._rest[end:]
        return found


class _Sink:
    """A file that is written. It keeps the error that writing ended with."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self.error: BaseException | None = None

    def write(self, piece: bytes) -> int:
        try:
            return self._target.write(piece)
        except BaseException as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Do nothing: whoever opened the file does."""


class _Abandoned(Exception):
    """Nobody reads any more."""


class _Target:
    """What one thread writes and another one reads, a little at a time."""

    def __init__(self) -> None:
        self._queue: Queue[bytes | BaseException | None] = Queue(_PIECES_AHEAD)
        self._piece = bytearray()
        self._rest = b""
        self._last: BaseException | None = None
        self._has_ended = False
        self._is_abandoned = False

    def write(self, piece: bytes) -> int:
        if self._is_abandoned:
            raise _Abandoned
        self._piece += piece
        if len(self._piece) >= _PIECE_SIZE:
            self._put(bytes(self._piece))
            self._piece.clear()
        return len(piece)

    def flush(self) -> None:
        """Do nothing: the end comes with `end`."""

    def end(self, error: BaseException | None) -> None:
        """Say that nothing more comes, and why."""
        if self._piece:
            self._put(bytes(self._piece))
        self._put(error)

    def read(self, size: int = -1, /) -> bytes:
        if not self._rest and not self._has_ended:
            found = self._queue.get()
            if isinstance(found, bytes):
                self._rest = found
            else:
                self._has_ended, self._last = True, found
        if self._has_ended and not self._rest:
            if self._last is not None:
                raise self._last
            return b""
        end = len(self._rest) if size < 0 else size
        found, self._rest = self._rest[:end], self._rest[end:]
        return found

    def abandon(self) -> None:
        """Let the writer end, whatever it is at."""
        self._is_abandoned = True
        while True:
            try:
                self._queue.get_nowait()
            except Empty:
                return

    def _put(self, item: bytes | BaseException | None) -> None:
        if not self._is_abandoned:
            self._queue.put(item)


def _recipients(key: Key) -> list[Any]:
    x25519 = _pyrage().x25519
    return [
        _identity(one).to_public() if one.startswith(_SECRET) else _parsed(x25519.Recipient, one)
        for one in _listed(key)
    ]


def _identities(key: Key) -> list[Any]:
    if any(not one.startswith(_SECRET) for one in _listed(key)):
        raise BackupKeyRefused("a backup is opened with the secret half of its key")
    return [_identity(one) for one in _listed(key)]


def _identity(one: str) -> Any:
    return _parsed(_pyrage().x25519.Identity, one)


def _parsed(kind: Any, one: str) -> Any:
    pyrage = _pyrage()
    try:
        return kind.from_str(one)
    except (pyrage.RecipientError, pyrage.IdentityError) as error:
        # Not the key itself: it may be a secret with one letter wrong.
        raise BackupKeyRefused(f"a key of {len(one)} characters is none: {error}") from None


def _listed(key: Key) -> list[str]:
    keys = [one.strip() for one in ([key] if isinstance(key, str) else key)]
    if not keys:
        raise BackupKeyRefused("no key is given")
    return keys


def _pyrage() -> Any:
    try:
        import pyrage
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "encryption needs more packages: python3 -m pip install 'orgtenancy[backup]'"
        ) from error
    return pyrage
