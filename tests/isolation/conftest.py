"""Organizations with no table or a small one: what is tested is what keeps them apart."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from orgtenancy import Settings, Tenancy, embedded
from tests.schemas.databases import FreshDatabase, fresh_database
from tests.support.notes import notes


@pytest.fixture(scope="session")
def tenancy(
    server: embedded.EmbeddedServer, event_loop_runner: asyncio.Runner
) -> Iterator[Tenancy]:
    """An installed tenancy without modules: its schemas are made in no time."""
    settings = Settings(listen=False)
    tenancy = Tenancy(server.url, admin_url=server.admin_url, settings=settings)
    tenancy.install()
    yield tenancy
    event_loop_runner.run(tenancy.aclose())


@pytest.fixture(scope="session")
def notes_tenancy(
    server: embedded.EmbeddedServer, tenancy: Tenancy, event_loop_runner: asyncio.Runner
) -> Iterator[Tenancy]:
    """A tenancy with the module of notes, on the same database."""
    notes_tenancy = Tenancy(server.url, admin_url=server.admin_url, modules=[notes])
    yield notes_tenancy
    event_loop_runner.run(notes_tenancy.aclose())


@pytest.fixture(scope="module")
def database(server: embedded.EmbeddedServer) -> Iterator[FreshDatabase]:
    """A database of the module's own."""
    with fresh_database(server.url, server.admin_url) as database:
        yield database
