"""What is restored is what was backed up, row by row, whatever the types."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from orgtenancy import Organization, Tenancy, embedded
from tests.backup.every_type import NESTED, PLAIN, every_type, rows_of
from tests.backup.worlds import backup_of, insert, manifest_of, restored, rows_in
from tests.schemas.databases import FreshDatabase, dsn, fresh_database

TABLES = ["plain", "nested", "parts", "empty_text", "mood_counts"]


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


def fill(
    database: FreshDatabase,
    organization: Organization,
    plain: list[dict[str, Any]],
    nested: list[dict[str, Any]],
) -> None:
    """Replace the rows of an organization."""
    with psycopg.connect(dsn(database.admin_url)) as connection:
        path = sql.SQL("SET search_path TO {}").format(sql.Identifier(organization.schema_name))
        connection.execute(path)
        connection.execute("TRUNCATE plain, nested, parts")
        keys = [UUID(int=n) for n in range(len(plain))]
        insert(connection, "plain", ({"id": k, **r} for k, r in zip(keys, plain, strict=True)))
        if keys:
            insert(connection, "nested", ({"plain_id": keys[0], **row} for row in nested))
            # Each is the parent of the one before it: deferred, and no order that would do.
            connection.execute(
                "UPDATE nested n SET parent_id = (SELECT min(id) FROM nested WHERE id > n.id), "
                "whole = (SELECT p FROM plain p LIMIT 1)"
            )
        connection.execute(
            "INSERT INTO parts SELECT n, ('1999-12-20'::date + 400 * n), E'a\\tb\\\\' || n "
            "FROM generate_series(1, 50) n"
        )
        connection.execute("SELECT nextval('tickets') FROM generate_series(1, 7)")
        connection.execute("REFRESH MATERIALIZED VIEW mood_counts")


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
    }
    assert tenancy.schemas.drift([copy.id]).is_clean
    tenancy.schemas.drop(copy.id, confirm=copy.id, force=True)
