"""A reconciliation now and then, in one process at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from orgtenancy import Tenancy
from orgtenancy.errors import ConfigurationError, SyncRefused
from orgtenancy.identity.logto_sync import LogtoWorker
from orgtenancy.identity.logto_sync.names import SYNC_ACTION
from orgtenancy.identity.logto_sync.reconciliation.periodic import PeriodicSync
from orgtenancy.naming import control_role_name
from orgtenancy.registry import audit
from tests.logto.webhooks.world import World, new_id, settings
from tests.schemas.databases import dsn, eventually


class Counted:
    """A reconciliation that only says that it was run."""

    def __init__(self, tenancy: Tenancy, during: Callable[[], None] = lambda: None) -> None:
        self.tenancy = tenancy
        self.during = during
        self.times = 0

    def run(self) -> None:
        self.times += 1
        self.during()
        with self.tenancy._database.admin_engine.begin() as connection:
            audit.record(connection, SYNC_ACTION, None)

    def refresh_members(self, organization_id: str) -> None:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _nothing_reconciled(world: World) -> None:
    world.database.ask("DELETE FROM orgtenancy.audit WHERE action = %s", SYNC_ACTION)


def periodic(world: World, sync: Counted, every: float = 600) -> PeriodicSync:
    return PeriodicSync(world.tenancy._database, sync, every)


def test_it_is_run_if_the_last_one_is_long_ago_whoever_ran_it(world: World) -> None:
    sync, other = Counted(world.tenancy), Counted(world.tenancy)
    assert periodic(world, sync).run_if_due()
    assert not periodic(world, sync).run_if_due()
    assert not periodic(world, other).run_if_due()
    world.database.ask(
        "UPDATE orgtenancy.audit SET recorded_at = recorded_at - interval '601 s' "
        "WHERE action = %s",
        SYNC_ACTION,
    )
    assert periodic(world, other).run_if_due()
    assert (sync.times, other.times) == (1, 1)


def test_what_the_apps_login_wrote_puts_none_off(world: World) -> None:
    with psycopg.connect(dsn(world.database.url)) as login:
        role = sql.Identifier(control_role_name(world.database.name))
        login.execute(sql.SQL("SET ROLE {}").format(role))
        login.execute(
            "INSERT INTO orgtenancy.audit (action, origin, result) VALUES (%s, 'app', 'done')",
            [SYNC_ACTION],
        )
    sync = Counted(world.tenancy)
    assert periodic(world, sync).run_if_due()
    assert not periodic(world, sync).run_if_due()


def test_of_many_at_once_one_runs_it(world: World) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert go_on.wait(20)

    slow, others = Counted(world.tenancy, wait), [Counted(world.tenancy) for _ in range(3)]
    thread = threading.Thread(target=periodic(world, slow).run_if_due)
    thread.start()
    assert begun.wait(20)
    assert [periodic(world, other).run_if_due() for other in others] == [False] * 3
    go_on.set()
    thread.join(20)
    assert [periodic(world, other).run_if_due() for other in others] == [False] * 3
    assert slow.times == 1


def test_one_that_fails_is_told_and_lets_go_of_the_lock(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise SyncRefused("too many", would_archive=["acme"])

    failing = Counted(world.tenancy, fail)
    with periodic(world, failing):
        eventually(lambda: "the reconciliation with Logto failed: too many" in caplog.text, 60)
    assert failing.times == 1
    assert periodic(world, Counted(world.tenancy)).run_if_due()


def test_a_worker_goes_on_while_a_reconciliation_is_under_way(world: World) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert go_on.wait(20)

    sync = Counted(world.tenancy, wait)
    with LogtoWorker(world.tenancy, settings(), sync=sync):
        assert begun.wait(20)
        world.post("organization_created", organization=new_id())
        eventually(lambda: world.outcomes() == ["done"], 60)
        go_on.set()
    assert sync.times == 1


def test_the_end_of_the_block_does_not_wait_for_long(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("orgtenancy.identity.logto_sync.reconciliation.periodic._PATIENCE", 0.1)
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert go_on.wait(20)

    sync = Counted(world.tenancy, wait)
    block = periodic(world, sync)
    with block:
        assert begun.wait(20)
    assert "is under way" in caplog.text
    go_on.set()
    block._thread.join(20)


def test_zero_seconds_mean_never(world: World) -> None:
    sync = Counted(world.tenancy)
    with LogtoWorker(world.tenancy, settings(sync_every=0), sync=sync):
        time.sleep(0.1)
    assert sync.times == 0


def test_it_needs_the_owner(world: World) -> None:
    from orgtenancy import Settings

    with (
        Tenancy(world.database.url, settings=Settings(listen=False)) as tenancy,
        pytest.raises(ConfigurationError),
    ):
        PeriodicSync(tenancy._database, Counted(tenancy), 600)
