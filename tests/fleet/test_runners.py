"""One runner at a time, and what becomes of its job when it goes without a word."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from orgtenancy import Tenancy
from orgtenancy.errors import JobLocked
from orgtenancy.schemas.fleet import Job, JobOptions, JobProgress
from orgtenancy.schemas.fleet.lock import PlacementLock
from tests.fleet.hosts import ONE, Host
from tests.fleet.running import runner
from tests.schemas.databases import dsn, eventually

pytestmark = pytest.mark.slow

SLOWLY = "op.execute('SELECT pg_sleep(0.3)')"

LOCK_HOLDER = (
    "SELECT pid, backend_xmin::text, backend_xid::text, state FROM pg_locks "
    "JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND objsubid = 2 "
    "AND datname = current_database()"
)


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the lock more often than once a second."""
    monkeypatch.setattr("orgtenancy.schemas.fleet.runner._LOOK_ROUND", 0.05)


@pytest.fixture
def three(host: Host) -> Tenancy:
    """A release whose revision takes a while, and three organizations that need it."""
    host.install("acme", "globex", "initech")
    host.module().add(SLOWLY)
    host.module().column("items", "a")
    return host.release()


def as_first_is_done(
    tenancy: Tenancy, what: Callable[[], object], options: JobOptions = ONE
) -> Job | None:
    """Migrate, and do something as soon as the first schema is done."""
    did: list[object] = []

    def tell(progress: JobProgress) -> None:
        if progress.status == "done" and not did:
            did.append(True)
            what()

    return tenancy.schemas.fleet.migrate(options=options, on_progress=tell)


def test_a_second_runner_is_told_who_is_at_work(host: Host, three: Tenancy) -> None:
    other = host.release()
    errors: list[JobLocked] = []

    def second() -> None:
        for start in (other.schemas.fleet.migrate, lambda: other.schemas.fleet.resume(1)):
            with pytest.raises(JobLocked) as caught:
                start()
            errors.append(caught.value)
        assert [job.status for job in other.schemas.fleet.jobs()] == ["running"]

    job = as_first_is_done(three, second)
    assert job is not None
    assert job.status == "finished"
    assert len(errors) == 2
    for error in errors:
        assert f"job 1 (migrate) of {job.runner}" in str(error)
        assert f"process {os.getpid()}," in str(error)
        assert error.placement == "default"
    assert job.runner.process == os.getpid()
    host.assert_all_at_heads(three, job)


def test_of_two_that_start_at_once_one_does_all_of_it(host: Host, three: Tenancy) -> None:
    other = host.release()
    barrier = threading.Barrier(2)
    ends: list[Any] = []

    def run(tenancy: Tenancy) -> None:
        barrier.wait()
        try:
            ends.append(tenancy.schemas.fleet.migrate(options=ONE))
        except JobLocked as error:
            ends.append(error)

    threads = [threading.Thread(target=run, args=(tenancy,)) for tenancy in (three, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(type(end).__name__ for end in ends) == ["Job", "JobLocked"]
    assert len(three.schemas.fleet.jobs()) == 1
    host.assert_all_at_heads(three, 1)


def test_the_lock_holds_no_snapshot_and_no_row(host: Host, three: Tenancy) -> None:
    # Else a vacuum, and each CREATE INDEX CONCURRENTLY of the job, would wait for the job.
    seen: list[Any] = []

    def tell(progress: JobProgress) -> None:
        if progress.status == "done":
            eventually(lambda: host.database.ask(LOCK_HOLDER)[0][3] == "idle in transaction")
            seen.extend(host.database.ask(LOCK_HOLDER))

    three.schemas.fleet.migrate(options=ONE, on_progress=tell)
    assert [row[1:] for row in seen] == [(None, None, "idle in transaction")] * 3
    lock = PlacementLock(host.database.admin_url, "default", connect_timeout=5)
    assert lock.acquire()
    assert [row[1:] for row in host.database.ask(LOCK_HOLDER)] == [seen[0][1:]]
    lock.release()
    eventually(lambda: host.database.ask(LOCK_HOLDER) == [])
    assert host.database.ask(LOCK_HOLDER) == []


def test_a_lock_whose_connection_is_lost_is_taken_again(host: Host, three: Tenancy) -> None:
    holders: list[int] = []

    def cut() -> None:
        ((pid, *_),) = host.database.ask(LOCK_HOLDER)
        host.database.ask("SELECT pg_terminate_backend(%s, 5000)", pid)
        holders.append(pid)

    seen: list[int] = []

    def tell(progress: JobProgress) -> None:
        if progress.status == "done" and not holders:
            cut()
        seen.extend(row[0] for row in host.database.ask(LOCK_HOLDER))

    job = three.schemas.fleet.migrate(options=ONE, on_progress=tell)
    assert job is not None
    assert job.status == "finished"
    assert set(seen) - set(holders)
    host.assert_all_at_heads(three, job)


def test_a_runner_whose_lock_another_has_taken_stops_and_leaves_the_job_to_it(
    host: Host, three: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Often enough for the test, and not so often that the runner is always the faster one.
    monkeypatch.setattr("orgtenancy.schemas.fleet.runner._LOOK_ROUND", 0.25)
    other = PlacementLock(host.database.admin_url, "default", connect_timeout=5)

    def is_taken() -> bool:
        for pid, *_ in host.database.ask(LOCK_HOLDER):
            host.database.ask("SELECT pg_terminate_backend(%s, 5000)", pid)
        return other.acquire()

    with pytest.raises(JobLocked, match="was lost, and another runner took it"):
        as_first_is_done(three, lambda: eventually(is_taken))  # the runner may be faster
    assert other.is_held()
    other.release()
    assert not other.is_held()
    assert [job.status for job in three.schemas.fleet.jobs()] == ["interrupted"]
    host.assert_journal_is_true(three, 1)
    three.schemas.fleet.resume(1)
    host.assert_all_at_heads(three, 1)


def test_after_a_kill_the_job_is_interrupted_and_another_runner_goes_on(
    host: Host, three: Tenancy
) -> None:
    with runner(host, dies=True) as first:
        first.begin("migrate", workers=1)
        assert first.hear_schema() == "- acme done"
        (job,) = three.schemas.fleet.jobs()
        assert (job.status, job.runner.process) == ("running", first.talk.process.pid)
        assert not job.can_be_resumed
        first.kill()
    host.database.wait_until_idle()
    (job,) = three.schemas.fleet.jobs()
    assert (job.status, job.can_be_resumed) == ("interrupted", True)
    assert three.schemas.fleet.job(job.id).status == "interrupted"
    host.assert_journal_is_true(three, job)
    # Another job may be first; the old one is there for whoever asks.
    three.schemas.fleet.migrate(options=ONE, organizations=["initech"])
    assert [j.status for j in three.schemas.fleet.jobs()] == ["finished", "interrupted"]
    job = three.schemas.fleet.resume(job.id)
    assert (job.status, job.done) == ("finished", 3)
    host.assert_all_at_heads(three, job)


def test_the_job_that_is_run_is_told_from_later_ones_that_were_interrupted(
    host: Host, three: Tenancy
) -> None:
    fleet = three.schemas.fleet
    options = JobOptions(workers=1, max_failures=0)
    cancel = threading.Event()
    cancel.set()
    fleet.migrate(options=options, cancel=cancel)
    fleet.migrate(options=options, cancel=cancel)
    host.database.ask("UPDATE orgtenancy.jobs SET status = 'running' WHERE id = 2")
    other = host.release().schemas.fleet
    told: list[Any] = []

    def tell(progress: JobProgress) -> None:
        if not told:
            told.append([str(job.status) for job in other.jobs()])
            with pytest.raises(JobLocked) as caught:
                other.migrate()
            told.append(str(caught.value))

    fleet.resume(1, on_progress=tell)
    assert told[0] == ["interrupted", "running"]
    assert ": job 1 (migrate) of" in told[1]


@pytest.mark.slow
def test_another_process_is_cancelled_over_the_journal(host: Host, three: Tenancy) -> None:
    host.module().add("op.execute('SELECT pg_sleep(1)')")
    fleet = host.release().schemas.fleet
    with runner(host) as first:
        first.begin("migrate", workers=1)
        assert first.hear_schema() == "- acme done"
        assert fleet.cancel(1).status == "running"  # what is begun is finished
        assert first.hear_end() == "cancelled"
    (job,) = fleet.jobs()
    assert job.status == "cancelled"
    assert job.items["done"] < 3  # type: ignore[index]
    host.assert_journal_is_true(host.release(), job)
    job = fleet.resume(job.id)
    assert (job.status, job.done) == ("finished", 3)


def test_a_job_without_a_runner_is_just_ended_by_cancel(host: Host, three: Tenancy) -> None:
    fleet = three.schemas.fleet
    cancel = threading.Event()
    cancel.set()
    fleet.migrate(options=ONE, cancel=cancel)
    host.database.ask("UPDATE orgtenancy.jobs SET status = 'running'")
    assert fleet.job(1).status == "interrupted"
    assert fleet.cancel(1).status == "cancelled"
    assert fleet.job(1).finished_at is not None
    fleet.resume(1)
    assert fleet.cancel(1).status == "finished"  # there is nothing to cancel


def test_the_lock_outlives_the_servers_limits_on_idle_transactions(host: Host) -> None:
    name = host.database.name
    host.database.ask(f'ALTER DATABASE "{name}" SET idle_in_transaction_session_timeout = 100')
    with psycopg.connect(dsn(host.database.admin_url)) as connection:
        modern = connection.info.server_version >= 170000
    if modern:
        host.database.ask(f'ALTER DATABASE "{name}" SET transaction_timeout = 100')
    lock = PlacementLock(host.database.admin_url, "default", connect_timeout=5)
    assert lock.acquire()
    time.sleep(0.4)
    assert lock.is_held()
    second = PlacementLock(host.database.admin_url, "default", connect_timeout=5)
    assert not second.acquire()
    elsewhere = PlacementLock(host.database.admin_url, "other", connect_timeout=5)
    assert elsewhere.acquire()  # every placement has its own
    elsewhere.release()
    lock.release()
    eventually(second.acquire)
    second.release()
