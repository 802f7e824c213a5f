"""No statement for one organization reads the rows of all of them where an index leads to some."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from psycopg import sql
from sqlalchemy import Connection

from orgtenancy.operations.adoption.filling import by_index
from orgtenancy.operations.adoption.planning import fresh
from orgtenancy.operations.adoption.tables import AdoptedTable
from orgtenancy.operations.data.digests import row_hash
from orgtenancy.operations.data.tables import fetch
from tests.adoption.worlds import World

pytestmark = pytest.mark.slow

# The first organization has half of the events: PostgreSQL would rather read all of them.
ROWS = """
INSERT INTO teams SELECT n, 'team-' || n FROM generate_series(3, 20) n;
INSERT INTO people (id, organization_id, name)
    SELECT n, 1 + n % 20, 'Person ' || n FROM generate_series(1000, 2999) n;
INSERT INTO posts (id, author_id, title, position)
    SELECT n, 1000 + n % 2000, 'Post', n FROM generate_series(1000, 20999) n;
INSERT INTO marks (post_id, label) SELECT n, 'x' FROM generate_series(1000, 20999) n;
INSERT INTO events SELECT n, 1 + n % 2 * n % 20, '{}' FROM generate_series(1000, 20999) n;
ANALYZE;
"""


@pytest.fixture
def planned(world: World) -> Iterator[tuple[Connection, dict[str, AdoptedTable]]]:
    world.there(ROWS)
    tenancy, mapping = world.tenancy, world.mapping()
    with (
        tenancy._database.admin_engine.connect() as connection,
        fresh(connection, tenancy.schemas.builder, mapping) as made,
    ):
        yield connection, {t.name: t for t in made.resolved.here(made.schema)}


def scanned(connection: Connection, statement: sql.Composable) -> set[str]:
    """Return the tables that a statement reads from the beginning to the end."""
    ((plan,),) = fetch(connection, sql.SQL("EXPLAIN (FORMAT JSON) {}").format(statement))

    def walk(node: dict[str, Any]) -> Iterator[str]:
        is_whole = node["Node Type"] == "Seq Scan" or (
            node["Node Type"].startswith("Index") and "Index Cond" not in node
        )
        if is_whole and "Relation Name" in node:
            yield node["Relation Name"]
        for inner in node.get("Plans", ()):
            yield from walk(inner)

    return set(walk(plan[0]["Plan"]))


@pytest.mark.parametrize("table", ["people", "posts", "marks", "events"])
def test_an_index_leads_to_the_rows(
    planned: tuple[Connection, dict[str, AdoptedTable]], table: str
) -> None:
    connection, tables = planned
    one = tables[table]
    digest = sql.SQL("SELECT sum({}::numeric) FROM ({}) AS r").format(
        row_hash(one.into, "r"), one.rows_of("1")
    )
    with by_index(connection, one):
        assert scanned(connection, digest) == set()
        assert scanned(connection, one.named_rows_of("1")) == set()
    assert scanned(connection, one.all_rows())


def test_a_table_without_an_index_is_read_as_postgresql_likes(
    planned: tuple[Connection, dict[str, AdoptedTable]], world: World
) -> None:
    connection, tables = planned
    parents = (tables["posts"].source, tables["countries"].source)
    bare = replace(tables["marks"], parents=parents)
    assert not bare.has_index
    with by_index(connection, bare):
        assert fetch(connection, sql.SQL("SHOW enable_seqscan")) == [("on",)]
