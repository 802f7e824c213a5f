"""A tenancy with a small table, and what the tests of brokers and workers need."""

from __future__ import annotations

import asyncio
import gc
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from orgtenancy import Tenancy, embedded
from tests.propagation.support import eventually
from tests.support.notes import notes


@pytest.fixture(scope="session")
def tenancy(
    server: embedded.EmbeddedServer, event_loop_runner: asyncio.Runner
) -> Iterator[Tenancy]:
    """An installed tenancy without the community: its schemas are made in no time."""
    tenancy = Tenancy(server.url, admin_url=server.admin_url, modules=[notes])
    tenancy.install()
    yield tenancy
    event_loop_runner.run(tenancy.aclose())


@pytest.fixture(scope="session")
def redis_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a Redis of the tests' own."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("no redis-server: apt-get install redis-server")
    folder = tmp_path_factory.mktemp("redis")
    socket = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", ""]
    with (folder / "log").open("w") as log:
        redis = subprocess.Popen([program, *options], stdout=log, stderr=log)
    try:
        eventually(socket.exists, 60)
        yield socket
    finally:
        with warnings.catch_warnings(action="ignore"):
            gc.collect()  # clients leave their connections, and results their goodbye, to it
        redis.terminate()
        redis.wait(20)
