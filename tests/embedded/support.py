"""Child processes, and what they leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg

SOURCE = Path(__file__).parents[2] / "src"

# Starts a server and says so; then waits to be told to end, or killed.
USER = """
import sys
from orgtenancy import embedded
pg = embedded.server({arguments})
print(pg.url, pg.admin_url, pg.directory, flush=True)
sys.stdin.readline()
"""


class User:
    """A process that uses a server, started by `script` or `USER`."""

    def __init__(self, arguments: str = "", prefix: Sequence[str] = ()) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-c", USER.format(arguments=arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._line: list[str] = []

    def ready(self) -> User:
        stdout = self.process.stdout
        if stdout is None:
            raise RuntimeError
        self._line = stdout.readline().split(maxsplit=2)
        if len(self._line) != 3:
            raise RuntimeError("the process ended before its server ran")
        return self

    @property
    def url(self) -> str:
        return self._line[0]

    @property
    def admin_url(self) -> str:
        return self._line[1]

    @property
    def directory(self) -> Path:
        return Path(self._line[2].strip())

    def leave(self) -> int:
        """End the process the normal way."""
        self.process.communicate("\n", timeout=30)
        return self.process.returncode

    def kill(self, number: int) -> int:
        """End the process by a signal."""
        self.process.send_signal(number)
        self.process.communicate(timeout=30)
        return self.process.returncode


def run(script: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a script of its own process."""
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=timeout, check=False
    )


def connect(url: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(url.replace("postgresql+psycopg", "postgresql"), autocommit=True)


def value(url: str, query: str) -> object:
    with connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return None if row is None else row[0]


def execute(url: str, *statements: str) -> None:
    with connect(url) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def postmaster(directory: Path | None) -> int:
    if directory is None:
        raise RuntimeError
    return int((directory / "data" / "postmaster.pid").read_text().split()[0])


def processes(place: Path) -> list[int]:
    """The living PostgreSQL processes whose command line names a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if arguments[0].endswith(b"/postgres") and any(
            argument.startswith(os.fsencode(place)) for argument in arguments
        ):
            found.append(int(entry.name))
    return found


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
