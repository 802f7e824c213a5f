"""Locks that the kernel lets go of when their holder dies, however it dies."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from orgtenancy.errors import EmbeddedServerError

_START_TIMEOUT = 180.0

# flock belongs to the open file, which a fork shares: a child that kept the
# descriptor would keep its parent's lock after the parent's death.
_held: set[int] = set()


def hold(path: Path) -> int | None:
    """Lock a file, without waiting.

    Args:
        path: The file; it is made when it does not exist.

    Returns:
        The descriptor that holds the lock, or None when another one holds it.
    """
    _install_fork_hook()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    _held.add(descriptor)
    return descriptor


def release(descriptor: int) -> None:
    """Close a descriptor of `hold`; the lock lasts while another process has it open."""
    _held.discard(descriptor)
    os.close(descriptor)


def is_held(path: Path) -> bool:
    """Tell whether anybody holds a file's lock; a missing file is held by nobody."""
    if not path.exists():
        return False
    descriptor = hold(path)
    if descriptor is None:
        return True
    release(descriptor)
    return False


class Lease:
    """One user of a server: a locked file that is free again once the user is gone."""

    def __init__(self, folder: Path) -> None:
        leases = folder / "leases"
        leases.mkdir(mode=0o700, exist_ok=True)
        self._path = leases / f"{os.getpid()}-{secrets.token_hex(4)}"
        descriptor = hold(self._path)
        if descriptor is None:
            raise EmbeddedServerError(f"The new lease {self._path} is held by another process.")
        self._descriptor: int | None = descriptor

    def drop(self) -> None:
        """Leave; the last one to leave stops the server."""
        self._path.unlink(missing_ok=True)
        if self._descriptor is not None:
            release(self._descriptor)
            self._descriptor = None


def in_use(folder: Path) -> bool:
    """Tell whether a living process has a lease, and delete the leases of dead ones."""
    used = False
    for path in (folder / "leases").glob("*"):
        if is_held(path):
            used = True
        else:
            path.unlink(missing_ok=True)
    return used


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Keep other threads and processes out of a folder while it changes.

    Args:
        path: The lock file.

    Raises:
        EmbeddedServerError: The lock stays taken, or `filelock` is not installed.
    """
    try:
        from filelock import FileLock, Timeout
    except ImportError as exc:
        raise EmbeddedServerError(
            "The embedded PostgreSQL needs `filelock`: pip install 'orgtenancy[embedded]'."
        ) from exc
    lock = FileLock(path, timeout=_START_TIMEOUT, mode=0o600, poll_interval=0.02)
    try:
        lock.acquire()
    except Timeout as exc:
        raise EmbeddedServerError(f"Another process keeps the lock {path}.") from exc
    try:
        yield
    finally:
        lock.release()


@functools.cache
def _install_fork_hook() -> None:
    os.register_at_fork(after_in_child=_close_in_child)


def _close_in_child() -> None:
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()
