"""A real Celery worker on a real broker, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orgtenancy import embedded
from tests.propagation.support import eventually

PROJECT = Path(__file__).parents[2]
APP = "tests.propagation.celery_tasks"
QUIET = {"worker_hijack_root_logger": False, "broker_connection_retry_on_startup": True}


def filesystem(folder: Path) -> dict[str, Any]:
    """Return the settings of a broker that is a folder."""
    for name in ("messages", "control", "results"):
        (folder / name).mkdir()
    return {
        "broker_url": "filesystem://",
        "broker_transport_options": {
            "data_folder_in": str(folder / "messages"),
            "data_folder_out": str(folder / "messages"),
            "control_folder": str(folder / "control"),
            "polling_interval": 0.05,
        },
        "result_backend": f"file://{folder / 'results'}",
        **QUIET,
    }


def redis(socket: Path) -> dict[str, Any]:
    """Return the settings of a Redis that is reached by a socket."""
    return {
        "broker_url": f"redis+socket://{socket}",
        "broker_transport_options": {"polling_interval": 0.05},
        "result_backend": f"redis+socket://{socket}?virtual_host=1",
        **QUIET,
    }


@dataclass
class Running:
    """A process of Celery, and what it says."""

    process: subprocess.Popen[bytes]
    log: Path

    def says(self, text: str) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return text in self.log.read_text()


@contextmanager
def celery(
    server: embedded.EmbeddedServer,
    config: dict[str, Any],
    folder: Path,
    *arguments: str,
    beat: list[dict[str, str]] | None = None,
) -> Iterator[Running]:
    """Run a command of Celery as long as the block lasts."""
    log = folder / f"{arguments[0]}.log"
    environment = os.environ | {
        "TESTS_URL": server.url,
        "TESTS_ADMIN_URL": server.admin_url,
        "TESTS_CELERY": json.dumps(config),
        "TESTS_BEAT": json.dumps(beat or []),
        "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, sys.path)]),
        "C_FORCE_ROOT": "1",
    }
    command = [sys.executable, "-m", "celery", "-A", APP, *arguments]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=output, stderr=output
        )
    try:
        yield Running(process, log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)


@contextmanager
def worker(
    server: embedded.EmbeddedServer, config: dict[str, Any], folder: Path, *arguments: str
) -> Iterator[Running]:
    """Run a worker, once it takes tasks."""
    options = ["worker", "--loglevel", "INFO", "--without-gossip", "--without-mingle"]
    with celery(server, config, folder, *options, *arguments) as running:
        eventually(lambda: running.says(" ready."), 60)
        yield running
