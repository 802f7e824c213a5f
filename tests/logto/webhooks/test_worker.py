"""Who works on events, on which connections, and what happens when it goes wrong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
from sqlalchemy import make_url, text

from orgtenancy import Settings, Tenancy
from orgtenancy.errors import ConfigurationError
from orgtenancy.identity.logto_sync import LogtoWorker
from orgtenancy.registry.inbox import MAX_ATTEMPTS
from tests.logto.webhooks.world import World, ago, new_id, settings
from tests.schemas.databases import FreshDatabase, dsn, eventually

Labels = Callable[[Mapping[str, Any]], Mapping[str, Any]]

CLAIMS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
    "AND state = 'idle in transaction'"
)


def worker_of(tenancy: Tenancy, attributes: Labels | None = None) -> LogtoWorker:
    return LogtoWorker(tenancy, settings(), attributes=attributes)


def run_together(workers: list[LogtoWorker]) -> list[int]:
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda w=worker: counts.append(w.run_once())) for worker in workers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(counts) == len(workers), "one of them failed, or waits for another"
    return counts


def test_a_worker_needs_the_owner(database: FreshDatabase) -> None:
    with (
        Tenancy(database.url, settings=Settings(listen=False)) as tenancy,
        pytest.raises(ConfigurationError, match="admin_url"),
    ):
        worker_of(tenancy)


def test_events_are_kept_at_least_as_long_as_they_could_be_sent_again(
    database: FreshDatabase,
) -> None:
    with database.tenancy(inbox_retention=359) as tenancy:
        with pytest.raises(ConfigurationError, match="inbox_retention"):
            worker_of(tenancy)
        LogtoWorker(tenancy, settings(webhook_max_age=299))


def test_in_its_block_a_worker_hears_of_events_and_outside_it_is_gone(world: World) -> None:
    before = threading.active_count()
    with worker_of(world.tenancy):
        for _ in range(3):
            one = new_id()
            world.post("organization_created", organization=one)
            eventually(partial(_is_active, world, one), 60)
    assert threading.active_count() == before
    assert world.outcomes() == ["done"] * 3


def test_the_block_is_async_too(world: World, event_loop_runner: asyncio.Runner) -> None:
    one = new_id()

    async def run() -> None:
        async with worker_of(world.tenancy):
            world.post("organization_created", organization=one)
            await asyncio.to_thread(eventually, lambda: _is_active(world, one), 10)

    event_loop_runner.run(run())


@pytest.mark.slow
def test_what_was_there_before_a_worker_began_is_done_also_without_listening(
    world: World, database: FreshDatabase
) -> None:
    one, two = new_id(), new_id()
    world.post("organization_created", organization=one)
    with database.tenancy(listen=False) as tenancy, worker_of(tenancy):
        eventually(lambda: _is_active(world, one), 60)
        world.post("organization_created", organization=two)
        eventually(lambda: _is_active(world, two), 60)


def test_what_fails_is_tried_again_later_and_given_up_in_the_end(world: World) -> None:
    tried: list[str] = []

    def labels(data: Mapping[str, Any]) -> Mapping[str, Any]:
        tried.append(data["id"])
        raise LookupError("no luck\0")

    worker = worker_of(world.tenancy, labels)
    bad, good = new_id(), new_id()
    world.post("organization_created", organization=bad, at=ago(9))
    world.post("member_removed", organization=good, user="bob", at=ago(8))
    assert worker.run_once() == 2  # and not again at once
    assert worker.run_once() == 0
    assert world.outcomes() == ["pending", "done"]
    for _ in range(MAX_ATTEMPTS - 1):
        world.make_due()
        assert worker.run_once() == 1
    assert world.outcomes() == ["failed", "done"]
    assert tried == [bad] * MAX_ATTEMPTS
    ((error,),) = world.database.ask("SELECT error FROM orgtenancy.inbox WHERE subject = %s", bad)
    assert error == "LookupError: no luck"
    world.make_due()
    assert worker.run_once() == 0


def test_what_is_kept_of_an_error_has_no_values_of_rows(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def labels(data: Mapping[str, Any]) -> Mapping[str, Any]:
        with world.tenancy.control_session() as session:
            session.execute(text("DO $$ BEGIN RAISE 'no luck' USING DETAIL = 'alice'; END $$"))
        return {}

    world.post("organization_created", organization=new_id())
    worker_of(world.tenancy, labels).run_once()
    assert world.database.ask("SELECT error FROM orgtenancy.inbox") == [
        ("RaiseException: no luck",)
    ]
    assert "no luck" in caplog.text
    assert "alice" not in caplog.text


def test_a_deletion_does_not_wait_for_what_fails_before_it(world: World) -> None:
    def labels(data: Mapping[str, Any]) -> Mapping[str, Any]:
        raise LookupError

    one = new_id()
    world.tenancy.schemas.provision(one)
    world.post("organization_updated", organization=one, at=ago(9))
    worker_of(world.tenancy, labels).run_once()
    world.post("organization_deleted", organization=one, at=ago(8))
    worker_of(world.tenancy, labels).run_once()
    assert world.outcomes() == ["pending", "done"]
    assert not world.tenancy.schemas.get(one).is_active
    world.make_due()
    worker_of(world.tenancy, labels).run_once()
    assert world.outcomes() == ["superseded", "done"]


def test_what_failed_goes_on_when_it_is_asked_for(world: World) -> None:
    from orgtenancy.identity.logto_sync.inbound.inbox import LogtoInbox

    def labels(data: Mapping[str, Any]) -> Mapping[str, Any]:
        raise LookupError

    world.post("organization_created", organization=(one := new_id()))
    for _ in range(MAX_ATTEMPTS):
        world.make_due()
        worker_of(world.tenancy, labels).run_once()
    events = LogtoInbox(world.tenancy)
    [entry] = events.newest(only_failed=True)
    assert (entry.subject, entry.status, entry.attempts) == (one, "failed", MAX_ATTEMPTS)
    events.retry(entry.id)
    assert events.newest(only_failed=True) == []
    world.worker.run_once()
    assert _is_active(world, one)


def test_two_workers_share_the_events_and_work_at_the_same_time(world: World) -> None:
    together = threading.Barrier(2)

    def labels(data: Mapping[str, Any]) -> Mapping[str, Any]:
        together.wait(20)
        return {}

    for _ in range(6):
        world.post("organization_created", organization=new_id())
    counts = run_together([worker_of(world.tenancy, labels) for _ in range(2)])
    assert sum(counts) == 6
    assert world.inbox()[0][2:] == ("done", 1)
    assert set(world.outcomes()) == {"done"}


def test_more_workers_than_a_pool_has_connections_do_not_wait_for_each_other(
    world: World, database: FreshDatabase
) -> None:
    count = 5
    together = threading.Barrier(count)

    def labels(data: Mapping[str, Any]) -> Mapping[str, Any]:
        together.wait(20)
        return {}

    with database.tenancy(pool_size=1, max_overflow=0) as tenancy:
        tenancy.schemas.spares.fill(count)
        for _ in range(count):
            world.post("organization_created", organization=new_id())
        run_together([worker_of(tenancy, labels) for _ in range(count)])
    assert world.outcomes() == ["done"] * count


@pytest.mark.slow
def test_one_subject_is_worked_on_by_one_at_a_time_and_in_order(world: World) -> None:
    one, two = new_id(), new_id()
    world.tenancy.schemas.provision(one)
    world.tenancy.schemas.provision(two)
    for number in range(20, 0, -1):
        for organization in (one, two):
            world.post(
                "member_removed", organization=organization, user=f"u{number}", at=ago(number)
            )
    run_together([worker_of(world.tenancy) for _ in range(3)])
    for organization in (one, two):
        removed = [e.details["member"] for e in world.audit(organization)[1:]]
        assert removed == [f"u{number}" for number in range(20, 0, -1)]


@pytest.mark.slow
def test_a_claim_outlives_the_servers_limit_for_idle_transactions_and_holds_no_snapshot(
    world: World, database: FreshDatabase
) -> None:
    snapshots: list[Any] = []

    def labels(data: Mapping[str, Any]) -> Mapping[str, Any]:
        threading.Event().wait(0.1)
        snapshots.append(world.database.ask(CLAIMS.replace("SELECT pid", "SELECT backend_xmin")))
        return {}

    hasty = database.admin_url.update_query_dict(
        {"options": "-c idle_in_transaction_session_timeout=20"}
    )
    for _ in range(8):  # from the sixth on, a driver would prepare what it sends again
        world.post("organization_created", organization=new_id())
    with database.tenancy(admin_url=hasty) as tenancy:
        assert worker_of(tenancy, labels).run_once() == 8
    assert {row[2:] for row in world.inbox()} == {("done", 1)}
    assert snapshots == [[(None,)]] * 8


def test_when_its_connection_is_cut_a_worker_goes_on_with_another(world: World) -> None:
    begun, go_on = threading.Event(), threading.Event()
    times: list[str] = []

    def labels(data: Mapping[str, Any]) -> Mapping[str, Any]:
        times.append(data["id"])
        begun.set()
        go_on.wait(20)
        return {}

    one = new_id()
    with worker_of(world.tenancy, labels):
        world.post("organization_created", organization=one)
        assert begun.wait(20)
        ((pid,),) = world.database.ask(CLAIMS)
        world.database.ask("SELECT pg_terminate_backend(%s)", pid)
        go_on.set()
        eventually(lambda: world.outcomes() == ["done"], 60)
    assert times == [one, one]
    assert world.actions(one) == ["provisioned"]


def test_a_worker_without_a_server_says_so_and_waits(
    world: World, database: FreshDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = make_url("postgresql+psycopg://owner:secret-word@127.0.0.1:1/app")
    with database.tenancy(admin_url=nowhere) as tenancy, worker_of(tenancy):
        eventually(lambda: "trying again" in caplog.text, 60)
    assert "secret-word" not in caplog.text


def test_a_handler_of_the_host_may_do_what_it_likes_with_the_database(world: World) -> None:
    """A migration that waits for old snapshots must not wait for the event it is part of."""
    done: list[str] = []

    @world.tenancy.organizations.on_provisioned
    def build_index(event: Any) -> None:
        import psycopg

        with psycopg.connect(dsn(world.database.admin_url), autocommit=True) as connection:
            connection.execute("SET statement_timeout = '10s'")
            schema = event.organization.schema_name
            connection.execute(
                f'CREATE INDEX CONCURRENTLY ON "{schema}".notes (parent_id)'.encode()
            )
        done.append(event.organization.id)

    world.post("organization_created", organization=(one := new_id()))
    world.worker.run_once()
    assert done == [one]


def _is_active(world: World, organization_id: str) -> bool:
    return bool(
        world.database.ask(
            "SELECT true FROM orgtenancy.organizations WHERE id = %s AND status = 'active'",
            organization_id,
        )
    )
