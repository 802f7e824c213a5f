"""What changed in the source since the copy is brought along, however it is found."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.sql import SQL, Composable

from orgtenancy.errors import AdoptionFailed
from orgtenancy.operations.adoption import Adoption, filling
from orgtenancy.operations.adoption.tables import AdoptedTable
from tests.adoption.worlds import MAPPING, World

POSTS = MAPPING["tables"]["posts"]

CHANGES = """
UPDATE posts SET title = 'Changed', touched = now() WHERE id = 11;
INSERT INTO posts (id, author_id, parent_id, title) VALUES (14, 2, 15, 'New'), (15, 2, NULL, 'Up');
UPDATE posts SET position = 2 WHERE id = 15;
INSERT INTO marks (id, post_id, label) VALUES (10, 14, 'new');
UPDATE people SET favourite = 14 WHERE id = 1;
DELETE FROM marks WHERE post_id = 13;
DELETE FROM posts WHERE id = 13;
UPDATE countries SET name = 'Italia' WHERE code = 'it';
UPDATE events SET what = '{"n": 1.00}' WHERE id = 5;
DELETE FROM events WHERE id = 7;
"""


def by(how: str | None) -> dict[str, Any]:
    """Return the mapping of tables whose changed rows are found in one way."""
    declared = MAPPING["tables"]
    if how == "touched":
        return {"posts": {**declared["posts"], "changed_by": "touched"}}
    return {name: {**table, "changed_by": how} for name, table in declared.items()}


def brought(adoption: Adoption) -> dict[str, int]:
    report = adoption.run(catch_up=True)
    return {o.id.rpartition("-")[2]: o.changed for o in report.organizations}


@pytest.mark.parametrize(
    "how", [None, *(pytest.param(h, marks=pytest.mark.slow) for h in ("xmin", "touched"))]
)
def test_new_changed_and_deleted_rows_are_brought_along(world: World, how: str | None) -> None:
    adoption = world.adoption(tables=by(how))
    adoption.run()
    world.there(CHANGES)
    assert not adoption.verify().is_equal
    changed = brought(adoption)
    assert changed["one"] > changed["two"] > 0
    assert adoption.verify().is_equal
    assert world.here("one", "SELECT title FROM posts ORDER BY id") == [
        ("Changed",), ("Second",), ("New",), ("Up",),
    ]  # fmt: skip
    assert world.here("one", "TABLE totals") == [(4,)]
    assert world.here("two", "SELECT name FROM countries WHERE code = 'it'") == [("Italia",)]
    if how is None:  # the others see rows again that were written just before
        assert brought(adoption) == {"one": 0, "two": 0}


@pytest.mark.slow
@pytest.mark.parametrize("how", [None, "xmin"])
def test_a_row_that_went_to_another_organization_is_there_and_nowhere_else(
    world: World, how: str | None
) -> None:
    adoption = world.adoption(tables=by(how))
    adoption.run()
    # With her posts and their marks, none of which was written.
    world.there(
        "UPDATE posts SET parent_id = NULL WHERE id = 11; "
        "UPDATE people SET favourite = NULL WHERE id = 2; "
        "UPDATE people SET name = 'Eve', organization_id = 2, favourite = NULL WHERE id = 1"
    )
    brought(adoption)
    assert adoption.verify().is_equal
    assert world.here("one", "SELECT title FROM posts") == [("Second",)]
    assert world.here("two", "SELECT count(*) FROM posts") == [(3,)]


@pytest.mark.slow
@pytest.mark.parametrize("how", [None, "xmin"])
def test_values_that_are_unique_may_change_places(world: World, how: str | None) -> None:
    adoption = world.adoption(tables=by(how))
    adoption.run()
    world.there("UPDATE posts SET position = 3 - position, touched = now() WHERE author_id = 1")
    brought(adoption)
    assert adoption.verify().is_equal


@pytest.mark.slow
@pytest.mark.parametrize("how", ["touched", "xmin"])
def test_a_value_that_is_unique_may_be_used_again(world: World, how: str) -> None:
    adoption = world.adoption(tables=by(how))
    adoption.run()
    again = (
        "DELETE FROM marks WHERE post_id = {0}; DELETE FROM posts WHERE id = {0}; "
        "INSERT INTO posts (id, author_id, title, position) VALUES ({1}, 1, 'Again', 2)"
    )
    world.there(again.format(13, 14))
    brought(adoption)
    assert adoption.verify().is_equal
    world.there(again.format(14, 15))
    adoption.switch()
    assert adoption.verify().is_equal
    assert world.here("one", "SELECT count(*) FROM posts WHERE title = 'Again'") == [(1,)]


@pytest.mark.slow
def test_what_the_source_computes_is_brought_along(world: World) -> None:
    world.there(
        "ALTER TABLE posts ADD first text; UPDATE posts SET first = title; "
        "ALTER TABLE posts DROP title; "
        "ALTER TABLE posts ADD title text GENERATED ALWAYS AS (upper(first)) STORED"
    )
    adoption = world.adoption(tables={"posts": {**POSTS, "drop": ["touched", "first"]}})
    adoption.run()
    world.there("UPDATE posts SET first = 'Changed' WHERE id = 12")
    assert brought(adoption)["one"] == 2
    assert adoption.verify().is_equal
    assert world.here("one", "SELECT title FROM posts WHERE title LIKE 'C%'") == [("CHANGED",)]


@pytest.mark.slow
def test_a_time_of_change_that_nobody_kept_hides_nothing(world: World) -> None:
    adoption = world.adoption(tables=by("touched"))
    world.there("UPDATE posts SET touched = '2020-01-01'")
    adoption.run()
    world.there("UPDATE posts SET title = 'Unnoted' WHERE id = 12")
    assert brought(adoption)["one"] == 2  # one row, deleted and written again
    assert adoption.verify().is_equal


@pytest.mark.slow
def test_what_was_changed_here_by_mistake_is_set_right(world: World) -> None:
    adoption = world.adoption()
    adoption.run()
    world.here("one", "UPDATE posts SET title = 'Oops'; DELETE FROM marks")
    assert not adoption.verify().is_equal
    brought(adoption)
    assert adoption.verify().is_equal


@pytest.mark.slow
def test_foreign_keys_are_there_after_a_pass(world: World) -> None:
    adoption = world.adoption()
    adoption.run()
    query = (
        "SELECT count(*) FROM pg_constraint WHERE contype = 'f' "
        "AND connamespace = current_schema()::regnamespace"
    )
    before = world.here("one", query)
    world.there(CHANGES)
    brought(adoption)
    assert world.here("one", query) == before != [(0,)]


@pytest.mark.slow
def test_a_pass_that_loses_rows_is_found_and_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(table: AdoptedTable, rows: Composable) -> Composable:
        statement = right(table, rows)
        return SQL("{} LIMIT 0").format(statement) if table.name == "marks" else statement

    adoption = world.adoption()
    adoption.run()
    world.there("INSERT INTO marks (post_id, label) VALUES (11, 'late')")
    right = filling.insert
    with monkeypatch.context() as patch:
        patch.setattr("orgtenancy.operations.adoption.catching_up.insert", lose)
        with pytest.raises(AdoptionFailed, match=r"marks \(4 rows there, 3 here\)"):
            adoption.run([world.id("one")], catch_up=True)
    assert brought(adoption) == {"one": 1, "two": 0}
