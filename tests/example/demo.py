"""The example app as a person starts it: a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import psutil

PROJECT = Path(__file__).parents[2]
READY = "orgtenancy demo ready at "
STOP_WITHIN = 5.0


class Demo:
    """A running `python -m examples.community`.

    Args:
        arguments: What follows on the command line.
        place: The folder for all that it makes on disk.
    """

    def __init__(self, *arguments: str, place: Path) -> None:
        self.place = place
        environment = {k: v for k, v in os.environ.items() if k != "DATABASE_URL"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "examples.community", *arguments],
            cwd=PROJECT,
            env={**environment, "TMPDIR": str(place)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.url = ""

    def wait_until_ready(self) -> None:
        """Read the one line; its address is `url` from then on."""
        timer = threading.Timer(60, self.process.kill)
        timer.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        timer.cancel()
        if not line.startswith(READY):
            raise AssertionError(f"no ready line within 60 s: {line!r} {self.rest()}")
        self.url = line.removeprefix(READY).strip()

    def rest(self) -> tuple[str, str]:
        """Return what the process wrote until it ended, since the ready line."""
        return self.process.communicate(timeout=60)

    def processes(self) -> list[psutil.Process]:
        """Return the process and all it started, also those that left it."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def stop(self, *signals: signal.Signals, gap: float = 0) -> float:
        """Send signals one after another, and return the seconds until the process ended."""
        started = time.monotonic()
        for number in signals:
            self.process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(gap)
        self.process.wait(30)
        return time.monotonic() - started

    def __enter__(self) -> Demo:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGTERM)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _is_ours(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            # The processes of PostgreSQL work in their data folder, whoever their parent is.
            is_inside = Path(process.cwd()).is_relative_to(self.place)
            return process.pid == self.process.pid or is_inside
        return False


@contextlib.contextmanager
def running(*arguments: str, place: Path) -> Iterator[Demo]:
    """Run the demo until it is ready, and stop it at the end."""
    with Demo("--port", "0", *arguments, place=place) as demo:
        demo.wait_until_ready()
        yield demo


def is_free(url: str) -> bool:
    """Return whether nothing listens at an address of the demo."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0
