"""Servers of our own: temporary and persistent folders, shared and left behind."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from orgtenancy.embedded import _binaries, _databases, _folders, _locks
from orgtenancy.embedded._account import Account
from orgtenancy.embedded._cluster import APP, OWNER, Cluster, Endpoint
from orgtenancy.embedded._handle import EmbeddedServer
from orgtenancy.errors import EmbeddedServerError

MAJOR = "ORGTENANCY_EMBEDDED_MAJOR"

_COMMON = {
    "max_connections": "100",
    "max_prepared_transactions": "20",
    "shared_buffers": "32MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "password_encryption": "scram-sha-256",
}
_TEMPORARY = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # Keeps what a killed server leaves behind inside its folder, not in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
}
# After a crash PostgreSQL syncs every file of the cluster, one by one by default.
_PERSISTENT = {"recovery_init_sync_method": "syncfs"} if sys.platform == "linux" else {}
# These decide who can reach the server, and where we find it.
_OURS = {
    "config_file",
    "data_directory",
    "external_pid_file",
    "hba_file",
    "ident_file",
    "listen_addresses",
    "port",
    "unix_socket_directories",
    "unix_socket_group",
    "unix_socket_permissions",
}


def start_temporary(
    database: str, major: int | None, settings: Mapping[str, str]
) -> EmbeddedServer:
    """Start a server that is deleted when it stops.

    Args:
        database: The database to make.
        major: The major version, or None for the newest.
        settings: The caller's server settings.

    Raises:
        EmbeddedServerError: It cannot be made or started.
    """
    options = {**_COMMON, **_TEMPORARY, **_checked(settings)}
    parent = _folders.temporary_parent()
    account = Account.for_folder(parent)
    with _locks.exclusive(parent / "lock"):
        stale = [
            (Cluster(folder, account), _locks.Lease(folder))
            for folder in parent.glob("t-*")
            if not _locks.in_use(folder)
        ]
        folder = parent / f"t-{secrets.token_hex(4)}"
        folder.mkdir(mode=0o700)
        lease = _locks.Lease(folder)
    cluster = Cluster(folder, account)

    def release() -> None:
        cluster.stop()
        _folders.remove(folder)
        lease.drop()

    try:
        for leftover, claim in stale:
            # One that cannot be stopped is the next start's; it must not stop this one.
            with contextlib.suppress(EmbeddedServerError):
                leftover.stop()
                _folders.remove(leftover.folder)
            claim.drop()
        account = Account.for_folder(folder)
        binaries = _binaries.find(major or _preferred_major()).usable_by(account)
        cluster.initialize(binaries, durable=False)
        endpoint = cluster.start(binaries, options)
        return _handle(cluster, endpoint, database, release)
    except BaseException:
        with contextlib.suppress(EmbeddedServerError):
            release()
        raise


def start_persistent(
    directory: Path, database: str, major: int | None, settings: Mapping[str, str]
) -> EmbeddedServer:
    """Start the server of a folder, or join it when it runs.

    Args:
        directory: The server's folder.
        database: The database to make unless it exists.
        major: The major version, or None for that of the data, else the newest.
        settings: The caller's server settings, used if this call starts it.

    Raises:
        EmbeddedServerError: The folder is not ours to use, or the server fails.
    """
    options = {**_COMMON, **_PERSISTENT, **_checked(settings)}
    folder = _folders.own_persistent(directory)
    lock = folder / "lock"
    with _locks.exclusive(lock):
        account = Account.for_folder(folder)
        cluster = Cluster(folder, account)
        lease = _locks.Lease(folder)

        def leave() -> None:
            lease.drop()
            if not _locks.in_use(folder):
                cluster.stop()

        def release() -> None:
            with _locks.exclusive(lock):
                leave()

        try:
            endpoint = _join_or_start(cluster, account, major, options)
            return _handle(cluster, endpoint, database, release)
        except BaseException:
            with contextlib.suppress(EmbeddedServerError):
                leave()
            raise


def _join_or_start(
    cluster: Cluster, account: Account, major: int | None, options: Mapping[str, str]
) -> Endpoint:
    existing = cluster.major
    if existing and major and existing != major:
        raise EmbeddedServerError(
            f"{cluster.folder} holds data of PostgreSQL {existing}, not {major}."
        )
    endpoint = cluster.join()
    if endpoint is not None:
        return endpoint
    binaries = _binaries.find(existing or major or _preferred_major()).usable_by(account)
    if not existing:
        cluster.initialize(binaries, durable=True)
    return cluster.start(binaries, options)


def _handle(
    cluster: Cluster, endpoint: Endpoint, database: str, release: Callable[[], None]
) -> EmbeddedServer:
    passwords = cluster.passwords()
    version = _databases.ensure(endpoint, passwords, database)
    return EmbeddedServer(
        url=_databases.url(endpoint, APP, passwords[APP], database),
        admin_url=_databases.url(endpoint, OWNER, passwords[OWNER], database),
        version=version,
        directory=cluster.folder,
        release=release,
    )


def _preferred_major() -> int | None:
    text = os.environ.get(MAJOR)
    if not text:
        return None
    if not text.isdecimal():
        raise EmbeddedServerError(f"{MAJOR}={text!r} is no major version such as 18.")
    return int(text)


def _checked(settings: Mapping[str, str]) -> dict[str, str]:
    checked = {}
    for name, value in settings.items():
        lowered = name.lower()
        if lowered in _OURS or not re.fullmatch(r"[a-z_][a-z0-9_.]*", lowered):
            raise EmbeddedServerError(f"The setting {name!r} cannot be changed here.")
        checked[lowered] = value
    return checked
