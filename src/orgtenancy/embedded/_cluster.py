"""One PostgreSQL cluster in a folder: initialize, start, stop."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orgtenancy.embedded import _folders, _locks
from orgtenancy.embedded._account import Account
from orgtenancy.embedded._binaries import Binaries
from orgtenancy.errors import EmbeddedServerError

OWNER = "owner"
APP = "app"

_START_SECONDS = 60.0
_STOP_SECONDS = 8.0
_LOG_TAIL = 4000


@dataclass(frozen=True)
class Endpoint:
    """Where a running server listens: a socket's folder or a loopback address."""

    host: str
    port: int


class Cluster:
    """The files and the life of one server.

    Every method that changes something runs while the caller holds the folder, by
    its lock or because nobody else knows of it.

    Attributes:
        folder: The folder with everything of the server.
    """

    def __init__(self, folder: Path, account: Account) -> None:
        self.folder = folder
        self._account = account
        self._data = folder / "data"
        self._running = folder / "running"
        self._log = folder / "server.log"

    @property
    def major(self) -> int | None:
        """The major version of the data, or None before `initialize`."""
        try:
            return int((self._data / "PG_VERSION").read_text())
        except FileNotFoundError:
            return None

    def passwords(self) -> dict[str, str]:
        """Return the password of each login.

        Raises:
            EmbeddedServerError: The file with them is gone or damaged.
        """
        path = self.folder / "passwords.json"
        try:
            stored = json.loads(path.read_text())
            return {OWNER: str(stored[OWNER]), APP: str(stored[APP])}
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise EmbeddedServerError(f"{path} does not hold the server's passwords.") from exc

    def initialize(self, binaries: Binaries, *, durable: bool) -> None:
        """Make the cluster, in a sibling folder that is renamed when it is complete.

        Args:
            binaries: The programs.
            durable: Whether the files must survive a crash of the machine.

        Raises:
            EmbeddedServerError: `initdb` fails.
        """
        for leftover in self.folder.glob("init-*"):
            _folders.remove(leftover)
        passwords = {OWNER: secrets.token_urlsafe(24), APP: secrets.token_urlsafe(24)}
        _folders.write_private(self.folder / "passwords.json", json.dumps(passwords))
        name = f"init-{secrets.token_hex(4)}"
        data, pwfile = self.folder / name, self.folder / f"{name}.password"
        data.mkdir(mode=0o700)
        self._account.give(data)
        _folders.write_private(pwfile, passwords[OWNER])
        self._account.give(pwfile)
        command = [
            str(binaries.folder / "initdb"),
            f"--pgdata={data}",
            f"--username={OWNER}",
            f"--pwfile={pwfile}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # Both sort by code point and know upper and lower case beyond ASCII.
            *(
                ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
                if binaries.major >= 17
                else ["--locale=C.UTF-8"]
            ),
        ]
        if not durable:
            command.append("--no-sync")
        elif binaries.major >= 17 and sys.platform == "linux":
            command.append("--sync-method=syncfs")
        done = self._account.run(command)
        if done.returncode != 0 and binaries.major < 17:
            # Not every system has C.UTF-8.
            done = self._account.run([*command, "--locale=C"])
        if done.returncode != 0:
            raise EmbeddedServerError(f"initdb failed:\n{done.stdout[-_LOG_TAIL:]}")
        pwfile.unlink()
        data.rename(self._data)

    def is_running(self) -> bool:
        """Tell whether any process of the server lives.

        All of them inherit the lock of one file. Unlike a pid, it cannot be taken
        over by a stranger.
        """
        return _locks.is_held(self._running)

    def start(self, binaries: Binaries, settings: Mapping[str, str]) -> Endpoint:
        """Start the server and wait until it accepts connections.

        Args:
            binaries: The programs.
            settings: What differs from `postgresql.conf`.

        Raises:
            EmbeddedServerError: It does not start; the message has the end of its log.
        """
        self._forget_the_dead()
        run = _folders.socket_folder(self.folder, self._account)
        listen = {
            "listen_addresses": "" if run else "127.0.0.1",
            "unix_socket_directories": str(run) if run else "",
            "unix_socket_permissions": "0700",
            # A port that somebody takes in between fails the start, and nothing else.
            "port": "5432" if run else str(_free_port()),
        }
        options = [f"--{name}={value}" for name, value in {**settings, **listen}.items()]
        command = [str(binaries.folder / "postgres"), "-D", str(self._data), *options]
        with contextlib.suppress(FileNotFoundError):
            self._log.replace(self._log.with_suffix(".log.old"))
        lock = _locks.hold(self._running)
        if lock is None:
            raise EmbeddedServerError(f"The server in {self.folder} runs already.")
        try:
            log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            try:
                # The shell ends at once, so the server is no child of ours: nobody
                # has to wait for it, and it may outlive us for other processes.
                done = self._account.run(
                    ["/bin/sh", "-c", '"$@" &', "sh", *command], output=log, keep=[lock]
                )
            finally:
                os.close(log)
        finally:
            _locks.release(lock)
        if done.returncode != 0:
            raise EmbeddedServerError(self._failure("cannot be started"))
        endpoint = self.join()
        if endpoint is None:
            raise EmbeddedServerError(self._failure("stopped while it started"))
        return endpoint

    def join(self) -> Endpoint | None:
        """Wait until the server is ready or gone.

        Returns:
            Where it listens, or None when it does not run.

        Raises:
            EmbeddedServerError: It is neither in time.
        """
        if self._status() == "stopping" and self._postmaster() is not None:
            # Its last user was killed while it waited for the end.
            self.stop()
        end = time.monotonic() + _START_SECONDS
        while self.is_running():
            # After a crash the file still has the words of the last server.
            if self._status() == "ready" and self._postmaster() is not None:
                lines = self._pid_file()
                return Endpoint(host=lines[4] or lines[5], port=int(lines[3]))
            if time.monotonic() > end:
                raise EmbeddedServerError(self._failure("did not get ready in time"))
            time.sleep(0.01)
        return None

    def stop(self) -> None:
        """Stop the server: politely, then at once.

        Raises:
            EmbeddedServerError: A process of it still lives.
        """
        # Fast, immediate, and what is left when even that is not heard; the
        # backends end by themselves when the postmaster is gone.
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if not self.is_running():
                break
            pid = self._postmaster()
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            if _wait(lambda: not self.is_running(), _STOP_SECONDS):
                break
        else:
            raise EmbeddedServerError(self._failure("does not stop"))
        _folders.remove(_folders.socket_elsewhere(self.folder))

    def _forget_the_dead(self) -> None:
        # PostgreSQL takes any process with the old pid for a running server: a
        # killed one that its parent did not wait for yet, or a stranger's.
        lines = self._pid_file()
        if lines and lines[0].isdigit():
            program = _arguments(int(lines[0]))[:1]
            if not any(name.endswith(("postgres", "postmaster")) for name in program):
                (self._data / "postmaster.pid").unlink()

    def _postmaster(self) -> int | None:
        lines = self._pid_file()
        if not lines or not lines[0].isdigit():
            return None
        pid = int(lines[0])
        # A pid may belong to another process by now; ours names its data folder.
        return pid if str(self._data) in _arguments(pid) else None

    def _status(self) -> str:
        lines = self._pid_file()
        return lines[7].strip() if len(lines) > 7 else ""

    def _pid_file(self) -> list[str]:
        # Its lines: pid, data folder, start time, port, socket folder, address,
        # shared memory, status.
        try:
            return (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _failure(self, what: str) -> str:
        try:
            log = self._log.read_text(errors="replace")[-_LOG_TAIL:]
        except OSError:
            log = ""
        return f"The PostgreSQL in {self.folder} {what}. Its log ends:\n{log or '(empty)'}"


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _arguments(pid: int) -> list[str]:
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
        except OSError:
            return []
    listed = subprocess.run(
        ["ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False
    )
    return listed.stdout.split()
