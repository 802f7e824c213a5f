"""After the switch PostgreSQL refuses whoever writes rows of the organization in the source."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import psycopg
import pytest
from psycopg import IsolationLevel

from orgtenancy import OrganizationStatus
from orgtenancy.errors import (
    AdoptionFailed,
    AdoptionRefused,
    OrganizationBusy,
    OrganizationUnavailable,
)
from orgtenancy.operations.adoption import Adoption, AdoptionReport, running
from tests.adoption.worlds import MAPPING, World
from tests.schemas.databases import eventually

LATE = "OT005"

EVERYTHING = " UNION ALL ".join(
    f"SELECT {table}::text FROM {table}"
    for table in ("people", "posts", "marks", "events", "countries")
)


@pytest.fixture
def adoption(world: World) -> Adoption:
    """Both teams are copied, none is switched."""
    adoption = world.adoption()
    adoption.run()
    return adoption


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def refused(world: World, statement: str) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as caught:
        world.there(statement)
    assert caught.value.sqlstate == LATE, caught.value
    return caught.value


def begin_switch(
    threads: ThreadPoolExecutor, adoption: Adoption, world: World, slug: str = "one"
) -> Future[AdoptionReport]:
    return threads.submit(adoption.switch, [world.id(slug)])


def wait_until_it_waits(world: World, query: str = "%adoption_lock%") -> None:
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s"
    eventually(lambda: world.database.ask(waiting, query))


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO people (organization_id, name) VALUES (1, 'Late')",
        "UPDATE people SET name = 'Late' WHERE id = 1",
        "DELETE FROM events WHERE id = 5",
        "INSERT INTO posts (id, author_id) VALUES (99, 1)",
        "UPDATE posts SET title = 'Late' WHERE id = 11",
        "DELETE FROM posts WHERE id = 13",
        "INSERT INTO marks (post_id, label) VALUES (11, 'late')",
        "DELETE FROM marks WHERE id = 1",
        # Out of it, and into it.
        "UPDATE people SET organization_id = 2, name = 'Eve' WHERE id = 1",
        "UPDATE people SET organization_id = 1 WHERE id = 3",
        "UPDATE marks SET post_id = 21 WHERE id = 1",
        "UPDATE marks SET post_id = 11 WHERE id = 4",
        # What all of them have.
        "UPDATE countries SET name = 'Late' WHERE code = 'it'",
        "TRUNCATE marks",
        "TRUNCATE countries",
        # Replication does not come past it.
        "SET session_replication_role TO replica; DELETE FROM marks WHERE id = 1",
    ],
)  # fmt: skip
def test_late_writes_are_refused_and_change_nothing(switched: World, statement: str) -> None:
    before = switched.there(EVERYTHING)
    error = refused(switched, statement)
    assert "adopted" in str(error)
    assert before == switched.there(EVERYTHING)


@pytest.fixture(scope="module")
def switched(database: object, tenancy: object) -> World:
    """A source of which one team is switched; its tests change nothing in it."""
    world = World(database, tenancy)  # type: ignore[arg-type]
    adoption = world.adoption()
    adoption.run()
    adoption.switch([world.id("one")])
    return world


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO people (organization_id, name) VALUES (2, 'Free')",
        "UPDATE posts SET title = 'Free' WHERE id = 21",
        "INSERT INTO marks (post_id, label) VALUES (21, 'free'), (NULL, 'nobodys')",
        "INSERT INTO sessions VALUES ('another')",
    ],
)
def test_others_go_on(switched: World, statement: str) -> None:
    with switched.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(statement.encode())


def test_the_error_says_which_organization_and_table(switched: World) -> None:
    error = refused(switched, "DELETE FROM marks WHERE id = 1")
    assert error.diag.message_primary == (
        f"organization {switched.id('one')} was adopted: its rows are no longer written in "
        f"{switched.source}.marks"
    )


def test_a_login_without_rights_on_the_registry_is_told_the_same(switched: World) -> None:
    url = switched.database.url
    switched.there(
        f'GRANT USAGE ON SCHEMA {switched.source} TO "{url.username}"; '
        f'GRANT ALL ON ALL TABLES IN SCHEMA {switched.source} TO "{url.username}"'
    )
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(f"DELETE FROM {switched.source}.marks WHERE id = 1".encode())
    assert caught.value.sqlstate == LATE


@pytest.mark.slow
def test_the_last_changes_come_along(world: World, adoption: Adoption) -> None:
    world.there("UPDATE posts SET title = 'Last' WHERE id = 11")
    assert adoption.switch([world.id("one")]).organizations[0].changed == 2
    assert world.here("one", "SELECT title FROM posts ORDER BY id LIMIT 1") == [("Last",)]
    assert adoption.verify().is_equal


def test_the_switch_waits_for_who_has_written_and_brings_that_along(
    world: World, adoption: Adoption, threads: ThreadPoolExecutor
) -> None:
    adoption.switch([world.id("two")])  # the triggers are there
    with world.connect() as writer:
        with writer.transaction():
            writer.execute("UPDATE posts SET title = 'In time' WHERE id = 11")
            switching = begin_switch(threads, adoption, world)
            wait_until_it_waits(world)
            writer.execute("UPDATE posts SET title = 'In time too' WHERE id = 12")
        switching.result(10)
    assert world.here("one", "SELECT title FROM posts ORDER BY id LIMIT 2") == [
        ("In time",), ("In time too",),
    ]  # fmt: skip
    assert adoption.verify().is_equal


@pytest.mark.slow
@pytest.mark.parametrize(
    ("level", "sqlstate"),
    [
        (IsolationLevel.READ_COMMITTED, LATE),
        (IsolationLevel.REPEATABLE_READ, "40001"),
        (IsolationLevel.SERIALIZABLE, "40001"),
    ],
)
def test_who_comes_while_it_is_switched_waits_and_is_refused(
    world: World,
    adoption: Adoption,
    threads: ThreadPoolExecutor,
    level: IsolationLevel,
    sqlstate: str,
) -> None:
    adoption.switch([world.id("two")])
    with world.connect() as holder, world.connect() as late:
        late.autocommit = False
        late.isolation_level = level
        late.execute("SELECT count(*) FROM posts")  # its snapshot is older than the switch
        with holder.transaction():
            # Keeps the switch from its end, when it has the lock of the organization already.
            query = "SELECT FROM orgtenancy.adoptions WHERE source = %s FOR NO KEY UPDATE"
            holder.execute(query, [world.source])
            switching = begin_switch(threads, adoption, world)
            wait_until_it_waits(world, "UPDATE orgtenancy.adoptions%")
            writing = threads.submit(late.execute, "UPDATE posts SET title = 'Late' WHERE id = 11")
            wait_until_it_waits(world, "UPDATE posts%")
            assert not writing.done()
        switching.result(10)
        with pytest.raises(psycopg.Error) as caught:
            writing.result(10)
        assert caught.value.sqlstate == sqlstate
        late.rollback()
        refused(world, "UPDATE posts SET title = 'Late' WHERE id = 11")
    assert adoption.verify().is_equal


@pytest.mark.slow
@pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
@pytest.mark.parametrize(
    "statement", ["UPDATE posts SET title = 'Late' WHERE id = 11", "DELETE FROM countries"]
)
def test_a_snapshot_older_than_the_switch_writes_nothing_after_it(
    world: World, adoption: Adoption, level: IsolationLevel, statement: str
) -> None:
    adoption.switch([])  # the triggers are there
    with world.connect() as late:
        late.autocommit = False
        late.isolation_level = level
        late.execute("SELECT count(*) FROM posts")
        adoption.switch([world.id("one")])
        with pytest.raises(psycopg.errors.SerializationFailure):
            late.execute(statement.encode())
        late.rollback()
    assert adoption.verify().is_equal


MOVES = (
    "UPDATE people SET name = 'Eve', organization_id = 2 WHERE id = 1",
    "UPDATE posts SET author_id = 3, position = 9 WHERE author_id = 1",
)


@pytest.fixture
def movable(world: World) -> World:
    """The posts of the first person lead to her alone, and one of them is nobody's."""
    world.there(
        "UPDATE posts SET parent_id = NULL; UPDATE people SET favourite = NULL; "
        "DELETE FROM marks WHERE post_id = 13; DELETE FROM posts WHERE id = 13; "
        "INSERT INTO posts (id, title) VALUES (31, 'Nobody''s')"
    )
    return world


@pytest.mark.parametrize(
    ("post", "move"),
    [
        *((11, move) for move in MOVES),
        (31, "UPDATE posts SET author_id = 3, position = 9 WHERE id = 31"),
    ],
)
def test_a_row_goes_to_another_organization_when_those_who_write_what_belongs_to_it_are_done(
    movable: World, adoption: Adoption, threads: ThreadPoolExecutor, post: int, move: str
) -> None:
    adoption.switch([])  # the triggers are there
    with movable.connect() as writer, movable.connect() as mover:
        with writer.transaction():
            writer.execute(f"INSERT INTO marks (post_id, label) VALUES ({post}, 'late')".encode())
            moving = threads.submit(mover.execute, move.encode())
            wait_until_it_waits(movable, f"{move[:13]}%")
            assert not moving.done()
        moving.result(10)
    adoption.switch([movable.id("two")])
    assert movable.here("two", "SELECT count(*) FROM marks WHERE label = 'late'") == [(1,)]
    assert adoption.verify([movable.id("two")]).is_equal


@pytest.mark.parametrize("move", MOVES)
def test_who_waited_for_a_row_to_go_to_another_organization_writes_there(
    movable: World, adoption: Adoption, threads: ThreadPoolExecutor, move: str
) -> None:
    adoption.switch([])
    with movable.connect() as writer, movable.connect() as mover:
        with mover.transaction():
            mover.execute(move.encode())
            writer.execute("BEGIN")
            insert = "INSERT INTO marks (post_id, label) VALUES (11, 'late')"
            writing = threads.submit(writer.execute, insert)
            wait_until_it_waits(movable, "INSERT INTO marks%")
        writing.result(10)
        switching = begin_switch(threads, adoption, movable, "two")
        wait_until_it_waits(movable)
        writer.execute("COMMIT")
        switching.result(10)
    assert movable.here("two", "SELECT count(*) FROM marks WHERE label = 'late'") == [(1,)]
    assert adoption.verify([movable.id("two")]).is_equal


@pytest.mark.slow
@pytest.mark.parametrize("level", [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE])
def test_a_snapshot_older_than_the_move_of_a_row_writes_nothing_after_it(
    movable: World, adoption: Adoption, level: IsolationLevel
) -> None:
    adoption.switch([])
    with movable.connect() as late:
        late.autocommit = False
        late.isolation_level = level
        late.execute("SELECT count(*) FROM posts")
        movable.there(MOVES[0])
        with pytest.raises(psycopg.errors.SerializationFailure):
            late.execute("INSERT INTO marks (post_id, label) VALUES (12, 'late')")


@pytest.mark.slow
def test_a_switch_that_fails_leaves_the_source_as_it_was(world: World, adoption: Adoption) -> None:
    world.there("UPDATE posts SET title = '' WHERE id = 11")
    with pytest.raises(AdoptionFailed, match="posts: it breaks"):
        adoption.switch([world.id("one")])
    assert world.tenancy.schemas.get(world.id("one")).status is OrganizationStatus.FENCED
    world.there("UPDATE posts SET title = 'Mended' WHERE id = 11")
    adoption.switch()
    refused(world, "DELETE FROM posts WHERE id = 11")


@pytest.mark.slow
def test_writers_that_do_not_end_keep_the_switch_for_a_while_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_ATTEMPTS", 2)
    adoption = world.adoption()
    adoption.run()
    adoption.switch([world.id("two")])
    with (
        world.database.tenancy(
            list(world.tenancy.modules.values()), lifecycle_lock_timeout=0.05
        ) as hasty,
        world.connect() as writer,
        writer.transaction(),
    ):
        writer.execute("UPDATE posts SET title = 'Long' WHERE id = 11")
        with pytest.raises(AdoptionFailed, match="lock timeout"):
            hasty.adoption(adoption.mapping).switch([world.id("one")])
        writer.execute("UPDATE posts SET title = 'On' WHERE id = 12")
    adoption.switch()


@pytest.mark.slow
def test_it_can_stay_fenced_to_be_looked_at(world: World, adoption: Adoption) -> None:
    adoption.switch([world.id("one")], keep_fenced=True)
    refused(world, "DELETE FROM marks WHERE id = 1")
    with pytest.raises(OrganizationUnavailable), world.tenancy.session(world.id("one")):
        pass
    assert adoption.verify().is_equal
    world.tenancy.organizations.unfence(world.id("one"))
    with world.tenancy.session(world.id("one")):
        pass


@pytest.mark.slow
def test_what_is_not_copied_is_not_switched(world: World) -> None:
    with pytest.raises(AdoptionRefused, match="not copied yet"):
        world.adoption().switch([world.id("one")])
    assert world.adoption().switch().organizations == ()


@pytest.mark.slow
def test_all_in_one_go(world: World) -> None:
    report = world.adoption().run(switch=True)
    assert {o.state for o in report.organizations} == {"switched"}
    refused(world, "DELETE FROM marks WHERE id = 4")


@pytest.mark.slow
def test_a_switch_is_reverted_while_nothing_was_written_here(
    world: World, adoption: Adoption
) -> None:
    adoption.switch([world.id("one")])
    adoption.revert(world.id("one"))
    assert world.tenancy.schemas.get(world.id("one")).status is OrganizationStatus.FENCED
    world.there("UPDATE posts SET title = 'Back' WHERE id = 11")
    assert adoption.switch([world.id("one")]).organizations[0].changed == 2
    # In a column that the source does not give.
    world.here("one", "UPDATE people SET note = 'new'")
    with pytest.raises(AdoptionRefused, match="written since it was switched: people"):
        adoption.revert(world.id("one"))
    assert world.tenancy.schemas.get(world.id("one")).is_active
    refused(world, "DELETE FROM marks WHERE id = 1")
    with pytest.raises(AdoptionRefused, match="it is copied"):
        adoption.revert(world.id("two"))


@pytest.mark.slow
def test_what_was_written_here_to_tables_without_a_source_keeps_a_switch_from_its_reversal(
    world: World, adoption: Adoption
) -> None:
    adoption.switch()
    world.here("one", "INSERT INTO drafts VALUES (1)")
    world.here("two", "CREATE TABLE later (id int); INSERT INTO later VALUES (1)")
    for slug, table in (("one", "drafts"), ("two", "later")):
        with pytest.raises(AdoptionRefused, match=f"written since it was switched: {table}"):
            adoption.revert(world.id(slug))
        assert world.tenancy.schemas.get(world.id(slug)).is_active


@pytest.mark.slow
def test_a_switch_is_reverted_whatever_the_settings_of_the_login_are(
    world: World, adoption: Adoption
) -> None:
    world.here(
        "one", "ALTER TABLE drafts ADD took interval; INSERT INTO drafts VALUES (1, '1 day')"
    )
    adoption.switch([world.id("one")])
    name = world.database.url.database
    world.there(f'ALTER DATABASE "{name}" SET "IntervalStyle" TO iso_8601')
    try:
        with world.database.tenancy(list(world.tenancy.modules.values())) as other:
            other.adoption(adoption.mapping).revert(world.id("one"))
    finally:
        world.there(f'ALTER DATABASE "{name}" RESET "IntervalStyle"')


@pytest.mark.slow
def test_a_reversal_does_not_wait_for_ever(
    world: World, adoption: Adoption, threads: ThreadPoolExecutor
) -> None:
    adoption.switch([world.id("one")])
    modules = list(world.tenancy.modules.values())
    with (
        world.database.tenancy(modules, lifecycle_lock_timeout=0.05) as hasty,
        world.connect() as writer,
        writer.transaction(),
    ):
        writer.execute("SELECT orgtenancy.adoption_lock(%s, '1', false)", [world.source])
        reverting = threads.submit(hasty.adoption(adoption.mapping).revert, world.id("one"))
        with pytest.raises(OrganizationBusy, match="revert it later"):
            reverting.result(10)
    adoption.revert(world.id("one"))


@pytest.mark.slow
def test_a_table_that_only_leads_to_the_organization_is_guarded_too(world: World) -> None:
    world.there(
        "CREATE TABLE staff (id int PRIMARY KEY, organization_id int); "
        "INSERT INTO staff VALUES (1, 1), (2, 2); "
        "ALTER TABLE events ADD staff_id int REFERENCES staff; "
        "UPDATE events SET staff_id = organization_id; ALTER TABLE events DROP organization_id; "
        "CREATE INDEX ON events (staff_id); CREATE INDEX ON staff (organization_id)"
    )
    events = {**MAPPING["tables"]["events"], "drop": ["staff_id"]}
    adoption = world.adoption(tables={"events": events}, ignore=["sessions", "staff"])
    adoption.run()
    adoption.switch([world.id("one")])
    refused(world, "DELETE FROM events WHERE id = 5")
    # With it the events of the other would come to the one that is switched.
    refused(world, "UPDATE staff SET organization_id = 1 WHERE id = 2")
    world.there("INSERT INTO staff VALUES (3, 2)")
    adoption.switch()
    adoption.finish()
    assert world.there("SELECT count(*) FROM staff WHERE organization_id = 1") == [(1,)]
    world.there("DELETE FROM staff WHERE id = 3")  # no trigger is left


@pytest.mark.slow
def test_partitions_are_guarded_and_archived_with_their_table(world: World) -> None:
    world.there(
        "DROP TABLE events; "
        "CREATE TABLE events (id bigint, organization_id int NOT NULL, what json NOT NULL) "
        "PARTITION BY RANGE (id); "
        "CREATE INDEX ON events (organization_id); "
        "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10); "
        "CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (10) TO (20) "
        "PARTITION BY RANGE (id); "
        "CREATE TABLE events_3 PARTITION OF events_2 FOR VALUES FROM (10) TO (20); "
        "INSERT INTO events SELECT n, 1 + n % 2, '{}' FROM generate_series(1, 19) n"
    )
    adoption = world.adoption(
        tables={"events": {**MAPPING["tables"]["events"], "changed_by": "xmin"}}
    )
    adoption.run()
    world.there("DELETE FROM events WHERE id = 2; UPDATE events SET what = '[]' WHERE id = 12")
    adoption.switch([world.id("two")])
    world.there(
        "CREATE TABLE events_4 PARTITION OF events FOR VALUES FROM (20) TO (30); "
        "CREATE TABLE events_5 PARTITION OF events FOR VALUES FROM (30) TO (40)"
    )
    adoption.switch()
    assert world.here("one", "SELECT count(*) FROM events") == [(8,)]
    refused(world, "UPDATE events SET what = '[]' WHERE id = 14")
    refused(world, "DELETE FROM events_2 WHERE id = 14")
    for name in ("events", "events_1", "events_2", "events_3", "events_4"):
        refused(world, f"TRUNCATE {name}")
    world.there(
        f"ALTER TABLE events DETACH PARTITION events_5; CREATE SCHEMA {world.source}_more; "
        f"ALTER TABLE events_5 SET SCHEMA {world.source}_more"
    )
    archive = adoption.finish().archive
    world.there(f"TRUNCATE {world.source}_more.events_5")  # no trigger is left
    with world.connect(archive) as connection:
        assert connection.execute("SELECT count(*) FROM events_2").fetchall() == [(10,)]
        connection.execute("TRUNCATE events_3")
