"""An installed database for the tests of one file, and the receiver of Logto's webhooks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from orgtenancy import Tenancy, embedded
from orgtenancy.identity.logto_sync import LogtoWebhooks
from tests.logto.webhooks.world import World
from tests.schemas.databases import FreshDatabase, fresh_database


@pytest.fixture(scope="module")
def database(server: embedded.EmbeddedServer) -> Iterator[FreshDatabase]:
    with fresh_database(server.url, server.admin_url) as database:
        with database.tenancy() as tenancy:
            tenancy.install()
        yield database


@pytest.fixture
def installed(database: FreshDatabase, event_loop_runner: asyncio.Runner) -> Iterator[Tenancy]:
    """A tenancy with an empty inbox."""
    database.ask("TRUNCATE orgtenancy.inbox")
    tenancy = database.tenancy(listen=True)
    yield tenancy
    event_loop_runner.run(tenancy.aclose())


@pytest.fixture
def world(database: FreshDatabase, installed: Tenancy) -> World:
    return World(database, installed)


@pytest.fixture
def receiver(world: World) -> LogtoWebhooks:
    return world.receiver


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails waits until a test says that it is due, however slow the machine is."""
    monkeypatch.setattr("orgtenancy.registry.inbox._FIRST_DELAY", 60.0)
