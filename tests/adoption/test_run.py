"""Organizations are copied with all their rows, mapped, and with nobody else's."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from psycopg.sql import SQL, Composable

from orgtenancy import OrganizationStatus, Tenancy
from orgtenancy.errors import (
    AdoptionFailed,
    AdoptionMismatch,
    AdoptionRefused,
    JobLocked,
    OrganizationNotFound,
    OrganizationUnavailable,
)
from orgtenancy.operations.adoption import AdoptionOptions, AdoptionState, filling, uuid_of
from orgtenancy.operations.adoption.running import alone
from orgtenancy.operations.adoption.tables import AdoptedTable
from orgtenancy.operations.data.digests import Digest
from orgtenancy.organizations import LifecycleEvent
from tests.adoption.worlds import World


def key(world: World, table: str, number: int) -> object:
    ordered = table == "posts"
    return uuid_of(world.mapping().namespace, table, number, ordered=ordered)


def test_rows_arrive_mapped_and_each_organization_has_its_own(world: World) -> None:
    report = world.adoption().run()
    assert [(o.id, o.state, o.rows) for o in report.organizations] == [
        (world.id("one"), AdoptionState.COPIED, 2 + 2 + 3 + 3 + 2),
        (world.id("two"), AdoptionState.COPIED, 2 + 1 + 1 + 1 + 1),
    ]
    assert report.left_over == ()
    ann, bob = key(world, "people", 1), key(world, "people", 2)
    first, second, third = (key(world, "posts", number) for number in (11, 12, 13))
    assert world.here("one", "TABLE people ORDER BY name") == [
        (ann, "Ann", "fr", second, "sad", None),
        (bob, "Bob", None, first, "glad", None),
    ]
    noon = datetime(2025, 1, 1, 12, tzinfo=UTC)
    assert world.here(
        "one", "SELECT id, author, parent, title, position FROM posts ORDER BY 1"
    ) == [
        (first, ann, second, "First", 1),
        (second, bob, None, "Second", 1),
        (third, ann, first, "Third", 2),
    ]
    query = "SELECT written_at FROM posts WHERE isfinite(written_at)"
    assert world.here("one", query) == [(noon,)]
    assert world.here("one", "SELECT label FROM marks ORDER BY post") == [
        ("new",), ("new",), ("old",),
    ]  # fmt: skip
    assert world.here("two", "TABLE events") == [(9, [1, 2], "adopted")]
    assert world.here("two", "SELECT name FROM people") == [("Ann",)]
    assert world.here("two", "SELECT code FROM countries ORDER BY code") == [("fr",), ("it",)]


def test_the_order_of_the_keys_stays(world: World) -> None:
    world.adoption().run()
    assert world.here("one", "SELECT title FROM posts ORDER BY id") == [
        ("First",), ("Second",), ("Third",),
    ]  # fmt: skip


@pytest.mark.slow
def test_what_depends_on_rows_comes_along(world: World) -> None:
    world.adoption().run()
    assert world.here("one", "TABLE totals") == [(3,)]
    query = "INSERT INTO events (what, kind) VALUES ('{}', 'new') RETURNING id"
    assert world.here("one", query) == [(8,)]


def test_a_copy_is_closed_until_it_is_switched(world: World) -> None:
    told: list[LifecycleEvent] = []
    world.tenancy.organizations.on_adopted(told.append)
    adoption = world.adoption()
    adoption.run()
    copied = world.tenancy.organizations.get(world.id("one"))
    assert (copied.status, copied.name) == (OrganizationStatus.FENCED, "Team one")
    with pytest.raises(OrganizationUnavailable), world.tenancy.session(copied.id):
        pass
    query = "SELECT has_schema_privilege(%s, %s, 'USAGE')"
    assert world.database.ask(query, copied.role_name, copied.schema_name) == [(False,)]
    assert [o.changed for o in adoption.switch().organizations] == [0, 0]
    assert world.tenancy.organizations.get(world.id("two")).name == world.id("two")
    with world.tenancy.session(copied.id) as session:
        found = session.connection().exec_driver_sql("SELECT count(*) FROM posts").scalar()
        assert found == 3
    assert sorted(event.organization.id for event in told) == [world.id("one"), world.id("two")]


@pytest.mark.slow
def test_some_are_copied_and_a_second_run_does_the_rest(world: World) -> None:
    adoption = world.adoption()
    assert len(adoption.run([world.id("two")]).organizations) == 1
    states = {o.id: o.state for o in adoption.plan(rows=False).organizations}
    assert states[world.id("one")] is AdoptionState.PENDING
    done = {o.id: o.changed for o in adoption.run().organizations}
    assert done == {world.id("one"): 12, world.id("two"): 0}
    with pytest.raises(OrganizationNotFound, match="three"):
        adoption.run(["three"])


@pytest.mark.slow
def test_organizations_without_a_table_of_them_are_those_that_rows_name(world: World) -> None:
    known = {"prefix": f"{world.source}-"}
    report = world.adoption(organizations=known, ignore=["teams", "sessions"]).run()
    assert [o.id for o in report.organizations] == [world.id("1"), world.id("2")]


def test_one_that_fails_is_told_with_its_rows_and_keeps_no_other(world: World) -> None:
    world.there("UPDATE people SET name = 'ANN' WHERE id = 2")
    adoption = world.adoption()
    with pytest.raises(AdoptionFailed) as caught:
        adoption.run()
    assert list(caught.value.failed) == [world.id("one")]
    reason = caught.value.failed[world.id("one")]
    assert "people: the same lower(name) here (people_name) (2 rows: 1, 2)" in reason
    assert world.tenancy.schemas.get(world.id("two")).name == world.id("two")
    with pytest.raises(Exception, match="no organization"):
        world.tenancy.schemas.get(world.id("one"))
    world.there("UPDATE people SET name = 'Bob' WHERE id = 2")
    adoption.run()
    assert adoption.verify().is_equal


@pytest.mark.slow
def test_without_a_failure_allowed_nothing_is_begun_after_one(world: World) -> None:
    world.there("UPDATE posts SET title = '' WHERE id = 11")
    options = AdoptionOptions(workers=1, max_failures=0)
    with pytest.raises(AdoptionFailed, match="1 organizations failed, 0 are done"):
        world.adoption().run(options=options)


def test_rows_that_arrive_as_others_are_found(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(table: AdoptedTable, rows: Composable) -> Composable:
        statement = right(table, rows)
        return SQL("{} LIMIT 1").format(statement) if table.name == "marks" else statement

    right = filling.insert
    monkeypatch.setattr(filling, "insert", lose)
    with pytest.raises(
        AdoptionFailed, match=r"not those of the source: marks \(3 rows there, 1 here"
    ):
        world.adoption().run([world.id("one")])


@pytest.mark.slow
def test_a_copy_by_another_mapping_is_made_anew(world: World) -> None:
    world.adoption().run()
    events = {"columns": {"kind": {"value": "other"}, "what": {"from": "what", "convert": "cast"}}}
    other = world.adoption(tables={"events": events})
    with pytest.raises(AdoptionFailed, match="run the adoption again"):
        other.switch()
    other.run()
    assert world.here("two", "SELECT kind FROM events") == [("other",)]
    other.switch()


@pytest.mark.slow
def test_a_copy_that_somebody_opened_is_left_alone(world: World) -> None:
    adoption = world.adoption()
    adoption.run()
    world.tenancy.organizations.unfence(world.id("one"))
    with pytest.raises(AdoptionFailed, match="is active, and was not switched"):
        adoption.switch()
    with pytest.raises(AdoptionFailed, match="is active, and was not switched"):
        adoption.run(catch_up=True)
    world.tenancy.schemas.drop(world.id("one"), confirm=world.id("one"), force=True)
    assert len(adoption.run().organizations) == 2


@pytest.mark.slow
def test_ids_that_are_taken_are_refused(world: World) -> None:
    world.tenancy.schemas.provision(world.id("one"))
    adoption = world.adoption()
    with pytest.raises(AdoptionRefused, match="another organization's"):
        adoption.run()
    adoption.run([world.id("two")])


def test_one_process_at_a_time_adopts_from_a_source(world: World, tenancy: Tenancy) -> None:
    with alone(tenancy._database, world.source), pytest.raises(JobLocked):
        world.adoption().run()


def test_a_table_whose_rows_are_known_by_more_than_one_step_is_reached(world: World) -> None:
    plan = world.adoption().plan(rows=False)
    ways = {table.source: table.way for table in plan.tables}
    assert ways == {
        "countries": "all rows, for all organizations",
        "people": "organization_id",
        "posts": "author_id → people → organization_id",
        "marks": "post_id → posts → author_id → people → organization_id",
        "events": "organization_id",
    }


def test_a_mismatch_names_its_tables() -> None:
    digests = {"a": Digest(rows=1, checksum=2), "b": Digest(rows=1, checksum=2)}
    other = {"a": Digest(rows=1, checksum=3), "b": digests["b"]}
    with pytest.raises(AdoptionMismatch) as caught:
        filling.check_same(digests, other, "7", "org_x")
    assert caught.value.tables == ("a",)
