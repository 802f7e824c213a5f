"""The source is archived when everything is here, and nothing of it is dropped."""

from __future__ import annotations

import psycopg
import pytest

from orgtenancy.errors import AdoptionRefused
from orgtenancy.operations.adoption import uuid_of
from tests.adoption.worlds import World

pytestmark = pytest.mark.slow


def test_the_tables_go_into_an_archive_with_all_rows(world: World) -> None:
    adoption = world.adoption()
    adoption.run(switch=True)
    # Life goes on here, and is no reason to refuse.
    world.here("one", "UPDATE posts SET title = 'Newer'")
    rows = world.there("SELECT count(*) FROM posts, marks")
    report = adoption.finish()
    assert report.archive == f"adopted_{world.source}"
    assert set(report.tables) == {"countries", "people", "posts", "marks", "events"}
    assert (report.organizations, report.left_over) == (2, ())
    with world.connect(report.archive) as connection:
        found = connection.execute("SELECT count(*) FROM posts, marks").fetchall()
        assert found == rows
        connection.execute("DELETE FROM marks WHERE id = 1")  # no trigger is left
    # What was ignored, and the organizations, stay.
    assert world.there("TABLE sessions") == [("secret",)]
    assert world.there("SELECT count(*) FROM teams") == [(2,)]
    with pytest.raises(psycopg.errors.UndefinedTable):
        world.there("TABLE posts")
    for step in (adoption.run, adoption.finish, adoption.plan, adoption.verify):
        with pytest.raises(AdoptionRefused, match=f"are in '{report.archive}'"):
            step()
    left = "SELECT proname FROM pg_proc WHERE proname ~ '^adoption_' AND prosrc LIKE %s"
    assert world.database.ask(left, f"%{world.source}%") == []


def test_the_archive_leads_back(world: World) -> None:
    adoption = world.adoption()
    adoption.run(switch=True)
    archive = adoption.finish().archive
    with world.connect(archive) as connection:
        connection.execute(f"ALTER TABLE posts SET SCHEMA {world.source}".encode())
    assert world.there("SELECT count(*) FROM posts") == [(4,)]


def test_an_archive_takes_no_name_that_is_taken(world: World) -> None:
    world.there(f"CREATE SCHEMA adopted_{world.source}")
    adoption = world.adoption()
    adoption.run(switch=True)
    assert adoption.finish().archive == f"adopted_{world.source}_2"


def test_it_is_refused_while_an_organization_is_not_switched(world: World) -> None:
    adoption = world.adoption()
    with pytest.raises(AdoptionRefused, match=r"2 organizations are not switched: .* is pending"):
        adoption.finish()
    adoption.run()
    adoption.switch([world.id("one")])
    with pytest.raises(AdoptionRefused) as caught:
        adoption.finish()
    assert caught.value.findings == (f"{world.id('two')} is copied",)
    adoption.switch()
    world.there("INSERT INTO teams VALUES (3, 'three', 'New')")
    with pytest.raises(AdoptionRefused, match="three is pending"):
        adoption.finish()


def test_it_is_refused_while_rows_are_nobodys_unless_that_is_accepted(world: World) -> None:
    world.there(
        "INSERT INTO people (name) VALUES ('Nobody'); "
        "INSERT INTO events VALUES (99, 77, '{}'); INSERT INTO marks VALUES (50, NULL, 'x')"
    )
    adoption = world.adoption()
    assert len(adoption.run(switch=True).left_over) == 3
    with pytest.raises(AdoptionRefused) as caught:
        adoption.finish()
    assert sorted(caught.value.findings) == [
        "events: there is no such organization (1 rows: 99)",
        "marks: no organization (1 rows: 50)",
        "people: no organization (1 rows: 101)",
    ]
    assert len(adoption.finish(accept_left_over=True).left_over) == 3
    with world.connect(f"adopted_{world.source}") as connection:
        found = connection.execute("SELECT id FROM events WHERE organization_id = 77").fetchall()
        assert found == [(99,)]


def test_it_is_refused_when_the_source_was_written_past_the_fence(world: World) -> None:
    adoption = world.adoption()
    adoption.run(switch=True)
    world.there(
        "ALTER TABLE marks DISABLE TRIGGER orgtenancy_adoption; DELETE FROM marks WHERE id = 4"
    )
    with pytest.raises(AdoptionRefused) as caught:
        adoption.finish()
    assert caught.value.findings == (f"marks of {world.id('two')}",)
    assert world.there("SELECT count(*) FROM marks") == [(3,)]


def test_it_is_refused_with_another_mapping_than_the_switches_had(world: World) -> None:
    world.adoption().run(switch=True)
    other = world.adoption(namespace=uuid_of(world.mapping().namespace, "x", 1))
    with pytest.raises(AdoptionRefused, match="another mapping"):
        other.finish()


def test_it_is_refused_while_others_hold_the_tables(world: World) -> None:
    world.adoption().run(switch=True)
    modules = list(world.tenancy.modules.values())
    with (
        world.database.tenancy(modules, lifecycle_lock_timeout=0.05) as hasty,
        world.connect() as reader,
        reader.transaction(),
    ):
        reader.execute("SELECT FROM posts")
        with pytest.raises(AdoptionRefused, match="others hold tables"):
            hasty.adoption(world.mapping()).finish()
    assert world.adoption().finish().organizations == 2
