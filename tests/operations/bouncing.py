"""A PgBouncer before the server of the run."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL

from tests.schemas.databases import dsn, eventually

PROGRAM = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
CURRENT = os.environ.get("ORGTENANCY_TEST_PGBOUNCER")


@dataclass(frozen=True, slots=True)
class Kind:
    """A PgBouncer that the tests run through, in transaction mode.

    Attributes:
        name: How the tests call it.
        program: The program, or None where it is not known.
        settings: What its file says beyond what every one of ours says.
        app: What its documentation tells an application to set.
    """

    name: str
    program: str | None
    settings: Mapping[str, object] = field(default_factory=dict)
    app: Mapping[str, Any] = field(default_factory=dict)

    @property
    def missing(self) -> str | None:
        """Why it cannot be run here, or None."""
        if self.program is None:
            return "no current PgBouncer: ORGTENANCY_TEST_PGBOUNCER names none (see .ci/run)"
        if not Path(self.program).exists():
            return f"PgBouncer is not installed here: there is no {self.program}"
        return None


#: The system's, and a current one that keeps track of prepared statements, or does not.
KINDS = (
    Kind("system", PROGRAM, app={"prepare_threshold": None}),
    Kind("current", CURRENT, {"max_prepared_statements": 200}),
    Kind(
        "current-unprepared",
        CURRENT,
        {"max_prepared_statements": 0},
        {"prepare_threshold": None},
    ),
)


@cache
def version(program: str) -> tuple[int, int]:
    """Return a program's version."""
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    match = re.search(r"PgBouncer (\d+)\.(\d+)", shown.stdout)
    assert match is not None
    return int(match[1]), int(match[2])


@contextmanager
def pgbouncer(
    *urls: URL,
    pool_mode: str,
    console: bool = False,
    ignores_options: bool = False,
    program: str = PROGRAM,
    settings: Mapping[str, object] | None = None,
) -> Iterator[list[URL]]:
    """Start one for some logins of one database; yield their URLs through it.

    Args:
        *urls: The logins.
        pool_mode: As PgBouncer calls it.
        console: Whether the first login may use the console.
        ignores_options: Whether it drops the options of a session, where it would refuse them.
        program: The program.
        settings: What else its file says; it may say again what is said for all.
    """
    first, port = urls[0], _free_port()
    host = first.query.get("host") or first.host
    server_port = first.query.get("port") or first.port or 5432
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        users = folder / "users.txt"
        users.write_text("".join(f'"{url.username}" "{url.password}"\n' for url in urls))
        config = folder / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host={host} port={server_port}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = plain\nauth_file = {users}\npool_mode = {pool_mode}\n"
            "max_client_conn = 100\ndefault_pool_size = 20\n"
            + (f"stats_users = {first.username}\n" if console else "")
            + ("ignore_startup_parameters = options\n" if ignores_options else "")
            + "".join(f"{name} = {value}\n" for name, value in (settings or {}).items())
        )
        with subprocess.Popen(
            [program, config], stderr=subprocess.DEVNULL, **_account(str(host))
        ) as process:
            through = [
                url.set(host="127.0.0.1", port=port, query={"sslmode": "disable"}) for url in urls
            ]
            try:
                eventually(lambda: _answers(through[0]), 60)
                yield through
            finally:
                process.terminate()


def _account(host: str) -> dict[str, Any]:
    """Return whom it runs as: it refuses to be root, and must reach the server's socket."""
    if os.getuid() != 0:
        return {}
    owner = Path(host).stat() if host.startswith("/") else None
    uid, gid = (owner.st_uid, owner.st_gid) if owner and owner.st_uid else (65534, 65534)
    return {"user": uid, "group": gid, "extra_groups": ()}


def _answers(url: URL) -> bool:
    try:
        psycopg.connect(dsn(url), prepare_threshold=None, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
