"""A database with the module `board`, and a source of each test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orgtenancy import Tenancy, embedded
from tests.adoption.worlds import World, board
from tests.schemas.databases import FreshDatabase, fresh_database


@pytest.fixture(scope="package")
def database(server: embedded.EmbeddedServer) -> Iterator[FreshDatabase]:
    with fresh_database(server.url, server.admin_url) as database:
        yield database


@pytest.fixture(scope="package")
def tenancy(database: FreshDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenancy]:
    """A tenancy with the module, installed."""
    with database.tenancy([board(tmp_path_factory.mktemp("board"))]) as tenancy:
        tenancy.install()
        yield tenancy


@pytest.fixture
def world(database: FreshDatabase, tenancy: Tenancy) -> World:
    """A source with two teams."""
    return World(database, tenancy)
