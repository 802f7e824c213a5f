"""Faults that are planted after a copy are each reported with table and key."""

from __future__ import annotations

import pytest

from orgtenancy.errors import AdoptionFailed
from orgtenancy.operations.adoption import AdoptionState, TableDifference, uuid_of
from tests.adoption.worlds import World


def difference(world: World) -> TableDifference:
    """Return the one table of the one organization that differs."""
    report = world.adoption().verify()
    assert not report.is_equal
    (found,) = (d for one in report.organizations for d in one.differences)
    assert [o.id for o in report.organizations if not o.is_equal] == [world.id("one")]
    return found


@pytest.mark.parametrize("switched", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_changed_missing_and_extra_rows_are_each_told_by_name(world: World, switched: bool) -> None:
    adoption = world.adoption()
    adoption.run(switch=switched)
    world.here("one", "UPDATE posts SET title = 'Tampered' WHERE title = 'Second'")
    found = difference(world)
    assert (found.table, found.changed, found.changed_keys) == ("posts", 1, ("12",))
    assert (found.missing, found.extra, found.source.rows) == (0, 0, 3)
    assert str(found) == "posts: changed (1 rows: 12)"
    world.here("one", "UPDATE posts SET title = 'Second' WHERE title = 'Tampered'")

    world.here("one", "DELETE FROM events WHERE id = 7")
    found = difference(world)
    assert (found.table, found.missing, found.missing_keys) == ("events", 1, ("7",))
    assert (found.source.rows, found.target.rows) == (2, 1)
    world.here("one", "INSERT INTO events VALUES (7, '{}', 'adopted')")

    world.here("one", "INSERT INTO events VALUES (8, '{}', 'adopted')")
    found = difference(world)
    assert (found.table, found.extra, found.extra_keys) == ("events", 1, ("8",))
    world.here("one", "DELETE FROM events WHERE id = 8")

    extra = uuid_of(adoption.mapping.namespace, "posts", 11, ordered=True)
    world.here("one", f"INSERT INTO marks VALUES ('{extra}', 'extra')")
    found = difference(world)
    assert (found.table, found.extra_keys) == ("marks", (f"{extra}, extra",))
    world.here("one", "DELETE FROM marks WHERE label = 'extra'")
    assert adoption.verify().is_equal


@pytest.mark.slow
def test_many_keys_are_counted_and_some_are_named(world: World) -> None:
    world.there("INSERT INTO events SELECT n, 1, '{}' FROM generate_series(100, 199) n")
    world.adoption().run()
    world.here("one", "DELETE FROM events WHERE id >= 100")
    found = difference(world)
    assert (found.missing, len(found.missing_keys)) == (100, 20)
    assert str(found).endswith(", …)")


@pytest.mark.slow
def test_what_is_pending_is_told(world: World) -> None:
    adoption = world.adoption()
    adoption.run([world.id("two")])
    report = adoption.verify()
    assert report.pending == (world.id("one"),)
    assert [o.state for o in report.organizations] == [AdoptionState.COPIED]
    assert adoption.verify([world.id("one")]).organizations == ()


@pytest.mark.slow
def test_what_comes_past_the_fence_is_told(world: World) -> None:
    adoption = world.adoption()
    adoption.run(switch=True)
    world.there(
        "ALTER TABLE posts DISABLE TRIGGER orgtenancy_adoption; "
        "UPDATE posts SET title = 'Past' WHERE id = 11"
    )
    one, two = adoption.verify().organizations
    assert (one.written, two.written) == (("posts",), ())
    # The next switch puts a trigger back that somebody took away.
    adoption.switch([])
    with pytest.raises(Exception, match="was adopted"):
        world.there("UPDATE posts SET title = 'First' WHERE id = 11")


@pytest.mark.slow
def test_an_organization_that_was_purged_since_cannot_be_compared(world: World) -> None:
    adoption = world.adoption()
    adoption.run(switch=True)
    world.tenancy.schemas.drop(world.id("one"), confirm=world.id("one"), force=True)
    with pytest.raises(AdoptionFailed, match="not here any more"):
        adoption.verify()
