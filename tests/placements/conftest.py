"""Two placements: databases of one server, which is all the same to the library."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orgtenancy import Tenancy, embedded
from tests.placements.cells import Cells, fresh_cells


@pytest.fixture(scope="package")
def cells(server: embedded.EmbeddedServer) -> Iterator[Cells]:
    """The control server and `eu`, installed."""
    urls = server.url, server.admin_url
    with fresh_cells(("default", *urls), ("eu", *urls)) as cells:
        with cells.tenancy() as tenancy:
            tenancy.install()
        yield cells


@pytest.fixture
def bare_cells(server: embedded.EmbeddedServer) -> Iterator[Cells]:
    """The same with nothing in them, and `us`."""
    urls = server.url, server.admin_url
    with fresh_cells(("default", *urls), ("eu", *urls), ("us", *urls)) as cells:
        yield cells


@pytest.fixture
def spread(cells: Cells) -> Iterator[Tenancy]:
    """A tenancy on both, which hears of nothing and remembers for long."""
    with cells.tenancy(registry_max_age=600) as tenancy:
        yield tenancy
