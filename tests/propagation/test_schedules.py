"""A scheduler runs a function for every active organization, as a job of the fleet."""

from __future__ import annotations

import asyncio
import logging
import queue
from collections.abc import Iterator

import pytest
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, JobExecutionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.background import BackgroundScheduler

from orgtenancy import JobOptions, Tenancy, acting, embedded
from orgtenancy.errors import JobFailed
from orgtenancy.propagation import FleetSchedule
from tests.propagation import scheduled
from tests.schemas.databases import fresh_database
from tests.support.notes import NoteRepository, notes

ONE = JobOptions(workers=1)
ORIGIN = "schedule:tests.propagation.scheduled:write_digest"


@pytest.fixture
def fleet(server: embedded.EmbeddedServer) -> Iterator[Tenancy]:
    """Three organizations on a database of their own, of which one is suspended."""
    with (
        fresh_database(server.url, server.admin_url) as database,
        Tenancy(database.url, admin_url=database.admin_url, modules=[notes]) as tenancy,
    ):
        tenancy.install()
        for organization_id in ("acme", "globex", "closed"):
            tenancy.schemas.provision(organization_id)
        tenancy.organizations.suspend("closed")
        yield tenancy


def digests(tenancy: Tenancy, organization_id: str) -> list[str]:
    with tenancy.session(organization_id):
        return [item.body for item in NoteRepository().list().items]


def test_a_background_scheduler_runs_it_for_every_active_organization(fleet: Tenancy) -> None:
    events: queue.Queue[JobExecutionEvent] = queue.Queue()
    scheduler = BackgroundScheduler()
    scheduler.add_listener(events.put, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
    scheduler.start()
    try:
        scheduler.add_job(FleetSchedule(fleet, scheduled.write_digest, options=ONE))
        event = events.get(timeout=60)
    finally:
        scheduler.shutdown()
    assert event.exception is None
    assert event.retval.done == 2
    for organization_id in ("acme", "globex"):
        assert digests(fleet, organization_id) == [f"{organization_id} None {ORIGIN}"]
    fleet.organizations.resume("closed")
    assert digests(fleet, "closed") == []


def test_a_scheduler_woken_up_by_a_request_takes_nothing_of_it_along(
    fleet: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[JobExecutionEvent] = []
    # By its name, as a persistent job store keeps it.
    schedule = FleetSchedule(fleet, scheduled.write_digest, options=ONE)
    monkeypatch.setattr(scheduled, "nightly", schedule)

    async def main() -> None:
        done = asyncio.Event()

        def tell(event: JobExecutionEvent) -> None:
            seen.append(event)
            done.set()

        async with fleet, fleet.organization("acme"):
            with acting("ann", "http:1.2.3.4"):
                scheduler = AsyncIOScheduler()
                scheduler.add_listener(tell, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
                scheduler.start()
                scheduler.add_job("tests.propagation.scheduled:nightly")
            async with asyncio.timeout(60):
                await done.wait()
            scheduler.shutdown()
            with acting("ann", "http:1.2.3.4"):
                assert schedule() is not None

    asyncio.run(main())
    assert [event.exception for event in seen] == [None]
    assert digests(fleet, "acme") == [f"acme None {ORIGIN}"] * 2
    assert digests(fleet, "globex") == [f"globex None {ORIGIN}"] * 2


@pytest.mark.slow
def test_what_fails_for_one_is_done_for_the_others_and_told_to_the_scheduler(
    fleet: Tenancy,
) -> None:
    with pytest.raises(JobFailed, match="1 of 2 schemas failed, 1 are done"):
        FleetSchedule(fleet, scheduled.fail_somewhere, options=ONE)()
    assert len(digests(fleet, "acme")) == 1
    assert digests(fleet, "globex") == []


@pytest.mark.slow
def test_only_the_organizations_that_were_named_are_done(fleet: Tenancy) -> None:
    job = FleetSchedule(fleet, scheduled.write_digest, organizations=["globex"], options=ONE)()
    assert job is not None
    assert job.done == 1
    assert digests(fleet, "acme") == []


@pytest.mark.slow
def test_a_run_is_left_out_while_another_runner_works(
    fleet: Tenancy, caplog: pytest.LogCaptureFixture
) -> None:
    schedule = FleetSchedule(fleet, scheduled.write_digest, options=ONE)
    lock = fleet.schemas.fleet._acquire()
    try:
        with caplog.at_level(logging.WARNING, "orgtenancy.schedules"):
            assert schedule() is None
    finally:
        lock.release()
    assert "is left out: another runner works on placement 'default'" in caplog.text
    assert digests(fleet, "acme") == []
    assert schedule() is not None
