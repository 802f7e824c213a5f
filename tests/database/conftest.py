"""Organizations with one small table: what is tested here is what leads to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from orgtenancy import Tenancy, embedded
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
