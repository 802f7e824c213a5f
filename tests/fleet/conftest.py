"""A host on a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orgtenancy import embedded
from tests.fleet.hosts import Host
from tests.schemas.databases import fresh_database


@pytest.fixture
def host(server: embedded.EmbeddedServer, tmp_path: Path) -> Iterator[Host]:
    """A host with the module `app`, whose first revision has the table `items`."""
    with fresh_database(server.url, server.admin_url) as database:
        host = Host(database, tmp_path / "modules")
        host.module("app").table("items")
        yield host
        host.close()
