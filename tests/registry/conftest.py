"""A database of the module's own, and one of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orgtenancy import embedded
from tests.schemas.conftest import bare_database
from tests.schemas.databases import FreshDatabase, fresh_database

__all__ = ["bare_database", "database"]


@pytest.fixture(scope="module")
def database(server: embedded.EmbeddedServer) -> Iterator[FreshDatabase]:
    """An installed database, for the tests of one file."""
    with fresh_database(server.url, server.admin_url) as database:
        with database.tenancy() as tenancy:
            tenancy.install()
        yield database
