"""Two servers of different major versions."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from orgtenancy import embedded
from orgtenancy.errors import EmbeddedServerError
from tests.placements.cells import Cells, fresh_cells

MAJORS = (18, 15)


@pytest.fixture(scope="module")
def two_servers() -> Iterator[tuple[embedded.EmbeddedServer, embedded.EmbeddedServer]]:
    """PostgreSQL 18 and 15; skipped where one of them is not installed."""
    if os.environ.get("DATABASE_URL"):
        pytest.skip("DATABASE_URL names one server, and this needs two")
    try:
        with embedded.server(major=MAJORS[0]) as new, embedded.server(major=MAJORS[1]) as old:
            yield new, old
    except EmbeddedServerError as error:
        pytest.skip(f"this needs PostgreSQL {MAJORS[0]} and {MAJORS[1]}: {error}")


@pytest.fixture
def two_cells(
    two_servers: tuple[embedded.EmbeddedServer, embedded.EmbeddedServer],
) -> Iterator[Cells]:
    """The control server on 18 and `old` on 15, with nothing in them."""
    new, old = two_servers
    ends = ("default", new.url, new.admin_url), ("old", old.url, old.admin_url)
    with fresh_cells(*ends) as cells:
        yield cells
