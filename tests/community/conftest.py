"""One organization for all tests of the domain, emptied behind each: faster than a new one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from orgtenancy import Organization, Tenancy, embedded
from orgtenancy.community.models import metadata

#: Where the quick tests use the async engine too. Elsewhere it is left to the slow ones: the
#: rules are those of the sync one, which it calls, and what is different about it has tests of
#: its own.
ASYNC_TOO = {"test_feed.py", "test_likes.py", "test_messages.py", "test_state_machine.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.parent != here or item.path.name in ASYNC_TOO:
            continue
        if "async" in item.name.partition("[")[2]:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def emptied(tenancy: Tenancy) -> Organization:
    """The organization that the tests share."""
    return tenancy.schemas.provision(f"t{uuid4().hex[:12]}")


@pytest.fixture(scope="session")
def owner(server: embedded.EmbeddedServer) -> Iterator[psycopg.Connection]:
    """A connection of the schemas' owner."""
    url = server.admin_url.replace("postgresql+psycopg://", "postgresql://", 1)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def organization(emptied: Organization, owner: psycopg.Connection) -> Iterator[Organization]:
    """An organization without a row."""
    yield emptied
    # Few rows: DELETE is much faster than TRUNCATE, which makes new files.
    owner.execute(
        sql.SQL("; ").join(
            sql.SQL("DELETE FROM {}").format(sql.Identifier(emptied.schema_name, table.name))
            for table in reversed(metadata.sorted_tables)
        )
    )
