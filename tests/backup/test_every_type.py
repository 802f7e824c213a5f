"""What is restored is what was backed up, row by row, whatever the types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orgtenancy import Organization, Tenancy, embedded
from tests.backup.every_type import NESTED, PLAIN, TABLES, every_type, fill, rows_of
from tests.backup.worlds import backup_of, manifest_of, restored, rows_in
from tests.schemas.databases import FreshDatabase, fresh_database


@pytest.fixture(scope="module")
def database(server: embedded.EmbeddedServer) -> Iterator[FreshDatabase]:
    with fresh_database(server.url, server.admin_url) as database:
        yield database


@pytest.fixture(scope="module")
def tenancy(database: FreshDatabase) -> Iterator[Tenancy]:
    with database.tenancy([every_type]) as tenancy:
        tenancy.install()
        yield tenancy


@pytest.fixture(scope="module")
def acme(tenancy: Tenancy) -> Organization:
    return tenancy.schemas.provision("acme")


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    plain=st.lists(rows_of(PLAIN), max_size=4),
    nested=st.lists(rows_of(NESTED), max_size=4),
)
@pytest.mark.slow
def test_what_is_restored_equals_the_source_row_by_row(
    database: FreshDatabase,
    tenancy: Tenancy,
    acme: Organization,
    plain: list[dict[str, Any]],
    nested: list[dict[str, Any]],
) -> None:
    fill(database, acme, plain, nested)
    backup = backup_of(tenancy, "acme")
    copy = restored(tenancy, backup)
    for table in TABLES:
        assert rows_in(database, copy.schema_name, table) == rows_in(
            database, acme.schema_name, table
        )
    ours, theirs = manifest_of(tenancy, backup), manifest_of(tenancy, backup_of(tenancy, copy.id))
    assert [t.digest for t in theirs.tables] == [t.digest for t in ours.tables]
    assert theirs.sequences == ours.sequences
    assert {t.name: t.format for t in ours.tables} == {
        "plain": "binary",
        "nested": "text",
        "parts": "binary",
        "empty_text": "text",
        "named": "text",
    }
    assert tenancy.schemas.drift([copy.id]).is_clean
    tenancy.schemas.drop(copy.id, confirm=copy.id, force=True)
