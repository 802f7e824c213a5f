"""Databases with an organization that has rows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orgtenancy import Tenancy, embedded
from tests.schemas.conftest import bare_database, make_module
from tests.schemas.databases import FreshDatabase, fresh_database

__all__ = ["bare_database", "database", "installed", "make_module"]


@pytest.fixture(scope="module")
def database(server: embedded.EmbeddedServer) -> Iterator[FreshDatabase]:
    with fresh_database(server.url, server.admin_url) as database:
        with database.tenancy() as tenancy:
            tenancy.install()
        yield database


@pytest.fixture
def installed(database: FreshDatabase) -> Iterator[Tenancy]:
    """A tenancy with the module `notes`."""
    with database.tenancy() as tenancy:
        yield tenancy
