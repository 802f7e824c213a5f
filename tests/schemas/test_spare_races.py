"""Many who claim, fill and discard at the same time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Thread
from typing import TypeVar

import pytest

from orgtenancy import Tenancy
from tests.registry.worker import Dialogue, dialogue
from tests.schemas.databases import (
    FreshDatabase,
    all_organizations,
    eventually,
)
from tests.schemas.test_spares import counts, spare_schemas

pytestmark = pytest.mark.slow

T = TypeVar("T")
R = TypeVar("R")

CLAIMS = 24


def at_once(function: Callable[[T], R], arguments: Iterable[T]) -> list[R]:
    """Call a function with each argument, in as many threads, all at the same moment."""
    given = list(arguments)
    barrier = Barrier(len(given))

    def call(argument: T) -> R:
        barrier.wait()
        return function(argument)

    with ThreadPoolExecutor(len(given)) as threads:
        return list(threads.map(call, given))


def assert_whole(database: FreshDatabase, tenancy: Tenancy) -> None:
    """Every schema and role is an organization's or a spare's, and the other way round."""
    known = all_organizations(tenancy)
    spares = database.ask("SELECT role_name, schema_name, ready_at FROM orgtenancy.spares")
    assert database.schemas() == {o.schema_name for o in known}
    assert spare_schemas(database) == {schema for _, schema, ready in spares if ready}
    assert database.roles() == {o.role_name for o in known} | {role for role, *_ in spares}


def test_claims_at_once_get_a_spare_each(installed: Tenancy, bare_database: FreshDatabase) -> None:
    installed.schemas.spares.fill(CLAIMS + 2)
    made = {role for (role,) in bare_database.ask("SELECT role_name FROM orgtenancy.spares")}
    found = at_once(lambda n: installed.schemas.provision(f"o{n}"), range(CLAIMS))
    roles = Counter(organization.role_name for organization in found)
    assert max(roles.values()) == 1
    assert set(roles) < made  # nobody had to make one
    assert counts(installed) == (2, 0, 0)
    assert_whole(bare_database, installed)


def test_claims_of_one_id_at_once_use_one_spare(
    installed: Tenancy, bare_database: FreshDatabase
) -> None:
    installed.schemas.spares.fill(CLAIMS)
    found = at_once(lambda n: installed.schemas.provision("acme"), range(16))
    assert len({organization.role_name for organization in found}) == 1
    assert counts(installed) == (CLAIMS - 1, 0, 0)
    assert_whole(bare_database, installed)


def test_more_claims_than_spares_are_all_served(
    installed: Tenancy, bare_database: FreshDatabase
) -> None:
    installed.schemas.spares.fill(5)
    found = at_once(lambda n: installed.schemas.provision(f"o{n}"), range(10))
    assert len({organization.role_name for organization in found}) == 10
    assert counts(installed) == (0, 0, 0)
    assert_whole(bare_database, installed)


def test_fillers_at_once_make_no_more_than_is_asked_for(
    installed: Tenancy, bare_database: FreshDatabase
) -> None:
    with bare_database.tenancy() as other:
        fillers = [installed, other] * 3
        made = at_once(lambda tenancy: tenancy.schemas.spares.fill(7), fillers)
    assert sum(made) == 7
    assert counts(installed) == (7, 0, 0)
    assert_whole(bare_database, installed)


def test_claims_fillers_and_discarding_at_once_lose_nothing(
    installed: Tenancy, bare_database: FreshDatabase
) -> None:
    installed.schemas.spares.fill(6)

    def act(number: int) -> object:
        match number % 4:
            case 0:
                return installed.schemas.spares.fill(4)
            case 1:
                return installed.schemas.spares.discard(only_stale=False)
            case _:
                return installed.schemas.provision(f"o{number}")

    at_once(act, range(16))
    assert len(all_organizations(installed)) == 8
    assert_whole(bare_database, installed)


def test_a_keeper_makes_what_is_missing_and_refills_after_each_claim(
    installed: Tenancy, bare_database: FreshDatabase
) -> None:
    with installed.schemas.spares.keep(3):
        eventually(lambda: counts(installed) == (3, 0, 0))
        for number in range(4):
            installed.schemas.provision(f"o{number}")
            eventually(lambda: counts(installed) == (3, 0, 0))
    installed.schemas.provision("last")
    assert counts(installed) == (2, 0, 0)  # nobody keeps them any more
    assert_whole(bare_database, installed)


def test_a_keeper_stops_after_the_spare_that_it_is_making(
    installed: Tenancy, bare_database: FreshDatabase
) -> None:
    keeper = installed.schemas.spares.keep(500)
    with keeper:
        eventually(lambda: counts(installed)[0] >= 1, 60)
    ready = counts(installed)[0]
    assert ready < 500
    assert not keeper._thread.is_alive()
    installed.schemas.spares.discard(only_stale=False)
    assert_whole(bare_database, installed)


def test_a_keeper_that_is_stopped_at_any_moment_does_stop(installed: Tenancy) -> None:
    # Also in the moment between its look at the stop signal and its sleep.
    for _ in range(30):
        done = Event()

        def keep(done: Event = done) -> None:
            with installed.schemas.spares.keep(0):
                pass
            done.set()

        Thread(target=keep, daemon=True).start()
        assert done.wait(60)


def test_a_keeper_survives_a_server_that_fails_it(
    installed: Tenancy, bare_database: FreshDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    bare_database.ask("ALTER TABLE orgtenancy.spares RENAME TO gone")
    with installed.schemas.spares.keep(2) as keeper:
        eventually(lambda: "spares could not be made" in caplog.text)
        bare_database.ask("ALTER TABLE orgtenancy.gone RENAME TO spares")
        bare_database.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        keeper.wake()

        def refilled() -> bool:
            keeper.wake()
            return counts_of_the_database() == 2

        def counts_of_the_database() -> int:
            ((ready,),) = bare_database.ask(
                "SELECT count(*) FROM orgtenancy.spares WHERE ready_at IS NOT NULL"
            )
            return int(ready)

        eventually(refilled, 60)


async def _kept(tenancy: Tenancy) -> tuple[int, int, int]:
    async with tenancy.schemas.spares.keep(1):
        await tenancy.schemas.provision_async("acme")
        import asyncio

        for _ in range(500):
            if counts(tenancy)[0] == 1:
                break
            await asyncio.sleep(0.01)
        return counts(tenancy)


def test_a_keeper_in_an_event_loop(installed: Tenancy) -> None:
    import asyncio

    assert asyncio.run(_kept(installed)) == (1, 0, 0)


@pytest.fixture
def killing(bare_database: FreshDatabase, installed: Tenancy) -> Iterator[Dialogue]:
    urls = [
        u.render_as_string(hide_password=False)
        for u in (bare_database.url, bare_database.admin_url)
    ]
    with dialogue("tests.schemas.killing", *urls) as process:
        yield process


def points(killing: Dialogue, job: str, argument: str) -> int:
    killing.say(f"{job} {argument} 0")
    return int(killing.hear())


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_filling_killed_at_any_statement_is_completed_by_the_next_call(
    bare_database: FreshDatabase, installed: Tenancy, killing: Dialogue
) -> None:
    count = points(killing, "fill", "2")
    assert count > 20
    installed.schemas.spares.discard(only_stale=False)
    seen = set()
    for n in range(1, count + 1):
        killing.say(f"fill 2 {n}")
        assert killing.hear() == "killed"
        bare_database.wait_until_idle()
        assert_whole(bare_database, installed)
        seen.add(counts(installed))
        installed.schemas.spares.fill(2)
        assert counts(installed) == (2, 0, 0)
        assert_whole(bare_database, installed)
        installed.schemas.spares.discard(only_stale=False)
    assert seen == {(0, 0, 0), (0, 0, 2), (1, 0, 1), (2, 0, 0)}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_claim_killed_at_any_statement_is_completed_by_the_next_call(
    bare_database: FreshDatabase, installed: Tenancy, killing: Dialogue
) -> None:
    installed.schemas.spares.fill(1)
    count = points(killing, "provision", "whole")
    assert count >= 2
    seen = set()
    for n in range(1, count + 1):
        installed.schemas.spares.fill(1)
        killing.say(f"provision killed-{n} {n}")
        assert killing.hear() == "killed"
        bare_database.wait_until_idle()
        assert_whole(bare_database, installed)
        made = {o.id for o in all_organizations(installed)}
        seen.add((f"killed-{n}" in made, counts(installed)))
        organization = installed.schemas.provision(f"killed-{n}")
        assert organization.is_active
        assert counts(installed) == (0, 0, 0)
        with installed.session(organization.id) as session:
            assert session.connection().exec_driver_sql("SELECT count(*) FROM notes").scalar() == 0
    # All of it or nothing: no organization without its schema, and no spare lost.
    assert seen == {(False, (1, 0, 0)), (True, (0, 0, 0))}
