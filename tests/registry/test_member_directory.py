"""Members: remembered for a while, dropped when something changed, never older than that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from orgtenancy import OrganizationStatus, Tenancy
from orgtenancy.errors import InvalidOrganizationId
from orgtenancy.registry import member_directory
from orgtenancy.registry.members import MemberStatus, Standing, set_actor, set_member
from tests.registry.test_directory import LISTEN, WITHIN, change, counted, new_id
from tests.registry.worker import status_of
from tests.schemas.databases import FreshDatabase, dsn, eventually

Find = Callable[[Tenancy, str, str], Standing]


def tell(tenancy: Tenancy, organization_id: str, actor_id: str, status: MemberStatus) -> None:
    """Write what became of a member, as a webhook's worker in another process does."""
    with tenancy._database.admin_engine.begin() as connection:
        assert set_member(connection, organization_id, actor_id, status, datetime.now(UTC))


def tell_heard(listening: Tenancy, tenancy: Tenancy, *member: str) -> None:
    """Write that somebody is a member, and wait until a tenancy has heard of it."""
    organization_id, actor_id = member
    before = listening.members._generation
    tell(tenancy, organization_id, actor_id, "active")
    eventually(lambda: listening.members._generation > before)


@pytest.fixture
def tenancy(database: FreshDatabase, event_loop_runner: asyncio.Runner) -> Iterator[Tenancy]:
    """A tenancy that does not listen."""
    tenancy = database.tenancy(membership_max_age=60)
    yield tenancy
    event_loop_runner.run(tenancy.aclose())


@pytest.fixture
def listening(database: FreshDatabase, event_loop_runner: asyncio.Runner) -> Iterator[Tenancy]:
    """A tenancy that listens, and would otherwise see a change in a minute."""
    tenancy = database.tenancy(listen=True, membership_max_age=60, registry_max_age=60)
    tenancy.schemas.provision("here-before")
    before = tenancy.members._generation
    tenancy.members.find("acme", "nobody")
    eventually(lambda: tenancy.members._generation > before)  # it listens
    yield tenancy
    event_loop_runner.run(tenancy.aclose())


@pytest.fixture(params=["sync", "async"])
def find(request: pytest.FixtureRequest, event_loop_runner: asyncio.Runner) -> Find:
    """Looks up a member, in the sync and in the async way."""
    if request.param == "sync":
        return lambda tenancy, *member: tenancy.members.find(*member)
    return lambda tenancy, *member: event_loop_runner.run(tenancy.members.find_async(*member))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time that the directory sees; it stands until it is moved."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(member_directory, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_a_second_look_up_sends_no_statement(tenancy: Tenancy, find: Find) -> None:
    member = ("acme", uuid4().hex)
    tell(tenancy, *member, "active")
    with counted(tenancy.engine) as statements, counted(tenancy.async_engine.sync_engine) as more:
        found = find(tenancy, *member)
        assert (found.member, found.actor) == ("active", None)
        assert find(tenancy, *member) is found
        assert tenancy.members.find(*member) is found
    assert len(statements + more) == 1


def test_that_nothing_is_known_is_remembered_too(tenancy: Tenancy, find: Find) -> None:
    member = ("acme", uuid4().hex)
    assert find(tenancy, *member) == Standing()
    with counted(tenancy.engine) as statements:
        assert find(tenancy, *member) == Standing()
    assert statements == []


def test_an_entry_expires_with_its_age_from_before_it_was_read(
    tenancy: Tenancy, find: Find, clock: SimpleNamespace
) -> None:
    member = ("acme", uuid4().hex)

    def take_long(*_: object) -> None:
        clock.now += 50

    for engine in (tenancy.engine, tenancy.async_engine.sync_engine):
        event.listen(engine, "before_cursor_execute", take_long, once=True)
    assert find(tenancy, *member).member is None
    for engine in (tenancy.engine, tenancy.async_engine.sync_engine):
        if event.contains(engine, "before_cursor_execute", take_long):
            event.remove(engine, "before_cursor_execute", take_long)
    tell(tenancy, *member, "active")
    clock.now += 10
    assert find(tenancy, *member).member is None  # sixty seconds old, as it may be
    clock.now += 1
    assert find(tenancy, *member).member == "active"


def test_when_the_registry_cannot_be_read_nothing_older_is_answered(
    database: FreshDatabase, tenancy: Tenancy, find: Find, clock: SimpleNamespace
) -> None:
    member = ("acme", uuid4().hex)
    tell(tenancy, *member, "active")
    assert find(tenancy, *member).member == "active"
    login = sql.Identifier(str(database.url.username))
    with psycopg.connect(dsn(database.admin_url), autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(login))
        try:
            connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND usename = %s",
                [database.url.username],
            )
            assert find(tenancy, *member).member == "active"  # not too old yet
            clock.now += 61
            for _ in range(2):
                with pytest.raises(DBAPIError):
                    find(tenancy, *member)
        finally:
            connection.execute(sql.SQL("ALTER ROLE {} LOGIN").format(login))
    assert find(tenancy, *member).member == "active"


def test_what_is_remembered_is_bounded(tenancy: Tenancy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member_directory, "_MAX_ENTRIES", 5)
    members = tenancy.members

    def check() -> None:
        kept = sum(map(len, members._entries.values()))
        assert kept == members._size <= 5

    for _ in range(2):
        for number in range(12):
            members.find(f"acme-{number % 3}", f"actor-{number}")
            check()
            members.find(f"acme-{number % 3}", f"actor-{number}")
            check()
        members.forget("acme-0")
        check()


def test_an_id_that_breaks_a_rule_is_neither_asked_for_nor_remembered(
    tenancy: Tenancy, find: Find
) -> None:
    for wrong in ("", "a/b", "x" * 60, "nul\0"):
        with counted(tenancy.engine) as statements, pytest.raises(InvalidOrganizationId):
            find(tenancy, wrong, "ann")
        assert statements == []
    assert tenancy.members._entries == {}


def test_one_organization_is_forgotten_or_all_of_them(tenancy: Tenancy) -> None:
    def known() -> set[str]:
        return set(tenancy.members._entries)

    for organization in ("acme", "globex", "initech"):
        for actor in ("ann", "bob"):
            tenancy.members.find(organization, actor)
    assert known() == {"acme", "globex", "initech"}
    tenancy.members.forget("acme")
    tenancy.members.forget("unknown")
    assert known() == {"globex", "initech"}
    tenancy.members.forget("")
    assert known() == set()
    tenancy.members.find("acme", "ann")
    tenancy.members.clear()
    assert known() == set()


def test_a_process_forgets_the_members_of_what_it_dropped_itself(tenancy: Tenancy) -> None:
    organization_id = new_id()
    tenancy.schemas.provision(organization_id)
    tell(tenancy, organization_id, "ann", "active")
    assert tenancy.members.find(organization_id, "ann").member == "active"
    tenancy.schemas.drop(organization_id, confirm=organization_id, force=True)
    assert tenancy.members.find(organization_id, "ann") == Standing()


def test_a_change_reaches_another_tenancy_within_a_second(
    listening: Tenancy, tenancy: Tenancy, find: Find
) -> None:
    actor = uuid4().hex
    members = [("acme", actor), ("globex", actor)]
    for member in members:
        assert find(listening, *member) == Standing()
    tell(tenancy, *members[0], "active")
    eventually(lambda: find(listening, *members[0]).member == "active", WITHIN)
    tell(tenancy, *members[0], "removed")
    eventually(lambda: find(listening, *members[0]).member == "removed", WITHIN)
    with tenancy._database.admin_engine.begin() as connection:
        set_actor(connection, actor, "suspended", datetime.now(UTC))
    suspended = {"suspended"}
    eventually(lambda: {find(listening, *m).actor for m in members} == suspended, WITHIN)


def test_a_look_up_that_races_a_change_does_not_keep_the_older_value(
    listening: Tenancy, tenancy: Tenancy, find: Find
) -> None:
    member = ("acme", uuid4().hex)
    tell_heard(listening, tenancy, *member)
    raced: list[bool] = []

    def remove_between_read_and_store(*_: object) -> None:
        if not raced:
            raced.append(True)
            before = listening.members._generation
            tell(tenancy, *member, "removed")
            eventually(lambda: listening.members._generation > before)

    for engine in (listening.engine, listening.async_engine.sync_engine):
        event.listen(engine, "after_cursor_execute", remove_between_read_and_store)
    assert find(listening, *member).member == "active"  # it was, when it was read
    assert raced
    assert find(listening, *member).member == "removed"


def test_organizations_and_members_are_heard_of_on_one_connection(
    database: FreshDatabase, listening: Tenancy, tenancy: Tenancy
) -> None:
    organization_id = new_id()
    tenancy.schemas.provision(organization_id)
    assert status_of(listening, organization_id) == "active"
    assert listening.members.find(organization_id, "ann") == Standing()
    assert len(database.backends(LISTEN)) == 1
    change(tenancy, organization_id, OrganizationStatus.SUSPENDED)
    tell(tenancy, organization_id, "ann", "active")
    eventually(lambda: status_of(listening, organization_id) == "suspended", WITHIN)
    eventually(lambda: listening.members.find(organization_id, "ann").member, WITHIN)
    assert len(database.backends(LISTEN)) == 1


def test_a_change_of_one_kind_keeps_what_is_known_of_the_other(
    listening: Tenancy, tenancy: Tenancy
) -> None:
    assert status_of(listening, "here-before") == "active"
    assert "here-before" in listening._directory._entries
    tell_heard(listening, tenancy, "here-before", uuid4().hex)
    assert "here-before" in listening._directory._entries


def test_a_broken_listener_comes_back_and_drops_what_it_may_have_missed(
    database: FreshDatabase, listening: Tenancy, tenancy: Tenancy, caplog: pytest.LogCaptureFixture
) -> None:
    member = ("acme", uuid4().hex)
    tell_heard(listening, tenancy, *member)
    assert listening.members.find(*member).member == "active"
    (pid,) = database.backends(LISTEN)
    # A change in the gap, whose announcement nobody hears.
    with psycopg.connect(dsn(database.admin_url), autocommit=True) as connection:
        login = sql.Identifier(str(database.url.username))
        connection.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(login))
        try:
            connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            tell(tenancy, *member, "removed")
            eventually(lambda: "not listening" in caplog.text)
            assert listening.members.find(*member).member == "active"  # it cannot know yet
        finally:
            connection.execute(sql.SQL("ALTER ROLE {} LOGIN").format(login))
    eventually(lambda: listening.members.find(*member).member == "removed", 60)


def test_closing_a_tenancy_ends_its_listener_and_the_next_look_up_starts_another(
    database: FreshDatabase, listening: Tenancy
) -> None:
    assert len(database.backends(LISTEN)) == 1
    listening.close()
    eventually(lambda: not database.backends(LISTEN))
    listening.members.find("acme", "somebody")
    eventually(lambda: len(database.backends(LISTEN)) == 1)


def test_a_tenancy_that_does_not_listen_opens_no_connection_for_it(
    database: FreshDatabase, tenancy: Tenancy
) -> None:
    tenancy.members.find("acme", "ann")
    assert tenancy._listeners[tenancy._database]._thread is None
    eventually(lambda: not database.backends(LISTEN))
