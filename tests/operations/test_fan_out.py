"""One read in many organizations: bounded, read-only, and each error by itself."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from orgtenancy import Tenancy, acting, current_actor, current_organization, embedded
from orgtenancy.errors import OrganizationMismatch, OrganizationNotFound, OrganizationUnavailable
from orgtenancy.operations.fan_out import FanOut
from tests.schemas.databases import FreshDatabase, fresh_database
from tests.support.notes import NoteRepository

R = TypeVar("R")

#: What calls a function in many organizations: on the sync and on the async engine.
Ask = Callable[..., FanOut[Any]]

IDS = ["a", "b", "c", "d"]


@pytest.fixture(scope="module")
def database(server: embedded.EmbeddedServer) -> Iterator[FreshDatabase]:
    """A database with the four organizations and no other."""
    with fresh_database(server.url, server.admin_url) as database:
        yield database


@pytest.fixture(scope="module")
def world(database: FreshDatabase) -> Iterator[Tenancy]:
    """Its tenancy; the note of each organization is its id."""
    with database.tenancy() as world:
        world.install()
        for number, organization_id in enumerate(IDS, start=1):
            world.schemas.provision(organization_id)
            with world.session(organization_id):
                for key in range(number):
                    NoteRepository().write(key, organization_id)
        world.organizations.suspend("d")
        yield world


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, world: Tenancy) -> Ask:
    """Asks in both ways."""

    async def asked(*args: Any, **kwargs: Any) -> FanOut[Any]:
        try:
            return await world.fan_out_async(*args, **kwargs)
        finally:
            await world.aclose()

    def ask_async(*args: Any, **kwargs: Any) -> FanOut[Any]:
        return asyncio.run(asked(*args, **kwargs))

    return world.fan_out if request.param == "sync" else ask_async


def bodies(session: Session) -> set[str]:
    return {note.body for note in NoteRepository(session).list().items}


def test_each_active_organization_is_read_by_itself(ask: Ask) -> None:
    found = ask(bodies)
    assert list(found.values) == ["a", "b", "c"]  # `d` is suspended
    assert found == FanOut(values={one: {one} for one in "abc"}, errors={})
    found.raise_errors()


@pytest.mark.parametrize("end", [Session.commit, Session.rollback])
def test_a_later_transaction_of_the_function_writes_nothing_either(
    ask: Ask, end: Callable[[Session], None]
) -> None:
    def write(session: Session) -> None:
        end(session)
        NoteRepository(session).write(1000, "not here")

    found = ask(write, organizations=["a", "b"])
    assert found.values == {}
    assert all("read-only transaction" in str(error) for error in found.errors.values())
    assert ask(bodies, organizations=["a"]).values == {"a": {"a"}}


def test_what_cannot_be_read_keeps_no_other(ask: Ask) -> None:
    def count_of_some(session: Session) -> int:
        if current_organization().id == "b":
            raise ValueError("no luck")
        return NoteRepository().count()

    found = ask(count_of_some, organizations=["c", "nobody", "d", "b", "a", "a"])
    assert found.values == {"c": 3, "a": 1}
    kinds = {one: type(error) for one, error in found.errors.items()}
    assert kinds == {
        "nobody": OrganizationNotFound,
        "d": OrganizationUnavailable,
        "b": ValueError,
    }
    with pytest.raises(ExceptionGroup) as caught:
        found.raise_errors()
    assert caught.value.exceptions == tuple(found.errors.values())
    assert found.errors["b"].__notes__ == ["in organization 'b'"]


def test_a_function_that_returns_an_error_has_not_failed(ask: Ask) -> None:
    found = ask(lambda session: ValueError("a value"), organizations=["a"])
    assert not found.errors
    assert str(found.values["a"]) == "a value"


def test_nothing_can_be_written(ask: Ask, world: Tenancy) -> None:
    found = ask(lambda session: NoteRepository(session).write(9, "x"), organizations=["a", "b"])
    assert not found.values
    for error in found.errors.values():
        assert isinstance(error, DBAPIError)
        assert getattr(error.orig, "sqlstate", None) == "25006"  # read_only_sql_transaction
    assert world.fan_out(bodies, organizations=["a"]).values == {"a": {"a"}}


def test_statements_of_one_organization_see_the_same_rows(ask: Ask, world: Tenancy) -> None:
    def twice(session: Session) -> tuple[set[str], set[str]]:
        first = bodies(session)
        thread = threading.Thread(target=_write, args=(world,))
        thread.start()
        thread.join()
        session.expire_all()
        return first, bodies(session)

    first, second = ask(twice, organizations=["c"]).values["c"]
    with world.session("c"):
        found = NoteRepository().list().items
        NoteRepository().delete(found[-1])
    assert first == second == {"c"}


def _write(world: Tenancy) -> None:
    with world.session("c"):
        NoteRepository().write(1000, "later")


def test_no_more_are_read_at_a_time_than_there_are_workers(ask: Ask, world: Tenancy) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def read(session: Session) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        session.execute(text("SELECT pg_sleep(0.05)"))
        with lock:
            now -= 1

    ask(read, organizations=["a", "b", "c"], workers=2)
    assert most == 2
    with pytest.raises(ValueError, match="worker"):
        ask(read, workers=0)


def test_actor_and_origin_go_along_and_connections_are_the_calls_own(
    ask: Ask, world: Tenancy, database: FreshDatabase
) -> None:
    with acting("ann", "cron"):
        found = ask(lambda session: current_actor())
    assert {actor.id for actor in found.values.values()} == {"ann"}
    left = database.ask(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND usename = %s AND query LIKE '%%REPEATABLE READ%%'",
        world.engine.url.username,
    )
    assert left == [(0,)]


def test_inside_an_organization_no_other_is_read(ask: Ask, world: Tenancy) -> None:
    called: list[Session] = []
    with world.organization("a"), pytest.raises(OrganizationMismatch, match="inside the context"):
        ask(called.append)
    assert not called


def test_a_call_that_is_broken_off_leaves_no_work_behind(world: Tenancy) -> None:
    begun = []

    def read(session: Session) -> None:
        begun.append(current_organization().id)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        session.execute(text("SELECT pg_sleep(2)"))

    with pytest.raises(KeyboardInterrupt):
        world.fan_out(read, organizations=["a", "b", "c"], workers=1)
    assert begun == ["a"]
