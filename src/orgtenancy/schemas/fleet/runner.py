"""Going through the fleet: several workers, wave after wave, with a journal.

Every schema is a transaction of its own, in which the journal is written as well. A run
may end at any point, by a signal or by a power cut; the next one goes on from there.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import groupby
from threading import Event, RLock
from typing import Protocol, TypeVar

import psycopg
from sqlalchemy.exc import DBAPIError

from orgtenancy.database.engines import Database
from orgtenancy.errors import JobLocked
from orgtenancy.schemas.fleet import journal
from orgtenancy.schemas.fleet.jobs import (
    ItemStatus,
    Job,
    JobItem,
    JobOptions,
    JobProgress,
    JobStatus,
)
from orgtenancy.schemas.fleet.lock import PlacementLock
from orgtenancy.schemas.fleet.schedule import Schedule
from orgtenancy.schemas.fleet.targets import Target, TargetGone, find_target
from orgtenancy.schemas.fleet.workers import Worker, should_retry, told
from orgtenancy.schemas.revisions.places import JournalEntry

logger = logging.getLogger("orgtenancy.fleet")

_LOOK_ROUND = 1.0  # seconds between looks at the lock and at requests to cancel
_FIRST_DELAY = 0.1  # seconds before the second attempt; doubled before each later one
_MAX_DELAY = 5.0  # seconds
_PATIENCE = 120.0  # seconds to wait for a server that is restarted


class Operation(Protocol):
    """What a job does to each schema."""

    @property
    def kind(self) -> str:
        """What the journal calls it."""

    def apply(self, worker: Worker, target: Target, entry: JournalEntry) -> None:
        """Do it to one schema.

        Args:
            worker: Has the connection to do it over.
            target: The schema, as the registry has it now.
            entry: What the transaction that completes the work writes into the journal.

        Raises:
            TargetGone: If the organization was dropped meanwhile, or its status keeps the
                job out.
        """

    def late_targets(self) -> Sequence[Target]:
        """Return the schemas that need it now; those which the job has are left out."""


R = TypeVar("R")


@dataclass
class _Counts:
    """How far a job is."""

    total: int
    done: int
    failed: int


class JobRunner:
    """Runs one job to its end, or until it is stopped.

    Args:
        database: The placement.
        operation: What is done to each schema.
        options: How.
        on_progress: Called by one thread at a time.
        cancel: Set by whoever wants it to stop: what is begun is finished.
    """

    def __init__(
        self,
        database: Database,
        operation: Operation,
        options: JobOptions,
        *,
        on_progress: Callable[[JobProgress], None] = lambda progress: None,
        cancel: Event | None = None,
    ) -> None:
        self._database = database
        self._operation = operation
        self._options = options
        self._on_progress = on_progress
        self._cancel = cancel if cancel is not None else Event()
        self._halted = False
        self._telling = RLock()

    def run(self, job_id: int, lock: PlacementLock, targets: Iterable[Target]) -> Job:
        """Work on a job's pending schemas.

        Args:
            job_id: The job; it must be this process's.
            lock: The placement's, held.
            targets: Schemas as they were looked up just now.

        Raises:
            JobLocked: If the lock was lost on the way, and another runner has it now.
        """
        engine = self._database.admin_engine
        with engine.begin() as connection:
            job = journal.find(connection, job_id)
            items = journal.pending(connection, job_id)
        self._targets = {target.role_name: target for target in targets}
        self._lock, self._job = lock, job
        self._counts = _Counts(job.total, job.done, 0)
        self._waves = 1 + max((item.wave for item in items), default=0)
        self._workers = [
            Worker(self._database, renew_after=self._options.schemas_per_connection)
            for _ in range(self._options.workers)
        ]
        try:
            with ThreadPoolExecutor(self._options.workers, "orgtenancy-fleet") as threads:
                try:
                    status = self._run_waves(threads, items)
                except BaseException:
                    self._halted = True  # the pool waits for what was begun
                    raise
        except KeyboardInterrupt:
            self._finish(JobStatus.CANCELLED)
            raise
        finally:
            for worker in self._workers:
                worker.close()
        return self._read() if status is JobStatus.FINISHED else self._finish(status)

    def _finish(self, status: JobStatus) -> Job:
        def write() -> None:
            with self._database.admin_engine.begin() as connection:
                journal.finish(connection, self._job.id, status)

        _insist(write)
        return self._read()

    def _read(self) -> Job:
        def read() -> Job:
            with self._database.admin_engine.begin() as connection:
                return journal.find(connection, self._job.id)

        return _insist(read)

    def _run_waves(self, threads: ThreadPoolExecutor, items: Iterable[JobItem]) -> JobStatus:
        for number, wave in groupby(items, key=lambda item: item.wave):
            self._tell(number)
            self._run_wave(threads, number, list(wave))
            last = number == self._waves - 1
            if self._cancel.is_set():
                return JobStatus.CANCELLED
            if self._counts.failed > (self._options.max_failures if last else 0):
                return JobStatus.FAILED
            if not last and self._options.pause:
                return JobStatus.PAUSED
        while not self._counts.failed and (left := self._finish_if_all_is_done()):
            self._run_wave(threads, self._waves - 1, left)
            if self._cancel.is_set():
                return JobStatus.CANCELLED
        return JobStatus.FAILED if self._counts.failed else JobStatus.FINISHED

    def _finish_if_all_is_done(self) -> list[JobItem]:
        """Finish the job, or return what is left of it.

        That may be organizations which were made meanwhile, by processes of the release
        before, and schemas whose commits a crash of the server took back.
        """

        def write() -> list[JobItem]:
            late = [(target, self._waves - 1) for target in self._operation.late_targets()]
            with self._database.admin_engine.begin() as connection:
                journal.add_items(connection, self._job.id, late)
                left = journal.pending(connection, self._job.id)
                if not left:
                    journal.finish(connection, self._job.id, JobStatus.FINISHED)
                return left

        left = _insist(write)
        self._counts.total += len(left)
        return left

    def _run_wave(self, threads: ThreadPoolExecutor, number: int, items: Sequence[JobItem]) -> None:
        schedule = Schedule(items, self._should_stop)
        pending: Collection[Future[None]] = [
            threads.submit(self._work_off, worker, schedule, number) for worker in self._workers
        ]
        while pending:
            completed, pending = wait(pending, _LOOK_ROUND, return_when=FIRST_EXCEPTION)
            for future in completed:
                future.result()
            if pending:
                self._look_round()

    def _work_off(self, worker: Worker, schedule: Schedule, number: int) -> None:
        """Do one schema after the other, in a thread of its own."""
        while (taken := schedule.take()) is not None:
            item, attempt = taken
            delay = None
            try:
                delay = self._attempt(worker, number, item, attempt)
            except BaseException:
                self._halted = True
                raise
            finally:
                schedule.put_back(item, attempt, delay)

    def _should_stop(self) -> bool:
        return (
            self._halted
            or self._cancel.is_set()
            or self._counts.failed > self._options.max_failures
        )

    def _look_round(self) -> None:
        """Keep the lock, and hear whether somebody asked to cancel."""
        if not self._lock.is_held():
            self._get_lock_back()
        try:
            with self._database.admin_engine.begin() as connection:
                if journal.is_cancel_requested(connection, self._job.id):
                    self._cancel.set()
        except DBAPIError as error:
            logger.warning("the journal cannot be read, trying again: %s", told(error))

    def _get_lock_back(self) -> None:
        try:
            has_it = self._lock.acquire()
        except psycopg.OperationalError as error:  # still down: the next look tries again
            logger.warning("the server cannot be reached, trying again: %s", told(error))
            return
        if not has_it:
            self._cancel.set()
            raise JobLocked(
                f"the lock of placement {self._database.name!r} was lost, and another runner "
                "took it",
                placement=self._database.name,
            )

    def _attempt(self, worker: Worker, number: int, item: JobItem, attempt: int) -> float | None:
        """Try one schema, and return after how long it is to be tried again, if it is."""
        try:
            self._work(worker, item, attempt)
        except TargetGone as gone:
            why = str(gone) or None
            self._write(item, ItemStatus.SKIPPED, attempt, why)
            self._tell(number, item.label, ItemStatus.SKIPPED, why)
        except Exception as error:  # a module's revision may raise anything
            reason = told(error)
            if should_retry(error) and attempt < self._options.max_attempts:
                self._tell(number, item.label, ItemStatus.PENDING, reason)
                delay = min(_FIRST_DELAY * 2.0 ** (attempt - 1), _MAX_DELAY)
                return delay * random.uniform(0.5, 1.5)  # noqa: S311 - jitter, no secret
            logger.error("%s: %s", item.label, reason, exc_info=error)
            self._write(item, ItemStatus.FAILED, attempt, reason)
            self._tell(number, item.label, ItemStatus.FAILED, reason)
        else:
            self._tell(number, item.label, ItemStatus.DONE)
        return None

    def _work(self, worker: Worker, item: JobItem, attempt: int) -> None:
        # What was looked up as the job began is enough for the first attempt: the work
        # itself checks that the schema is still called so.
        target = self._targets.pop(item.role_name, None)
        if target is None:
            with worker.connection() as connection, connection.begin():
                # The answer to the commit of the attempt before may have been lost.
                if journal.is_done(connection, item.job_id, item.role_name):
                    return
                target = find_target(connection, item.role_name)
        if target is None:
            raise TargetGone("it is dropped, or fenced")
        self._operation.apply(worker, target, JournalEntry(item.job_id, attempt, item.revisions))

    def _write(self, item: JobItem, status: ItemStatus, attempts: int, error: str | None) -> None:
        def write() -> None:
            with self._database.admin_engine.begin() as connection:
                journal.write_outcome(
                    connection,
                    item.job_id,
                    item.role_name,
                    status,
                    attempts=attempts,
                    error=error,
                )

        _insist(write)

    def _tell(
        self,
        wave: int,
        label: str | None = None,
        status: ItemStatus | None = None,
        error: str | None = None,
    ) -> None:
        """Count what became of a schema, and say so."""
        with self._telling:
            self._counts.done += status in (ItemStatus.DONE, ItemStatus.SKIPPED)
            self._counts.failed += status is ItemStatus.FAILED
            self._on_progress(
                JobProgress(
                    job_id=self._job.id,
                    kind=self._operation.kind,
                    wave=wave,
                    waves=self._waves,
                    total=self._counts.total,
                    done=self._counts.done,
                    failed=self._counts.failed,
                    label=label,
                    status=status,
                    error=error,
                    placement=self._database.name,
                )
            )


def _insist(write: Callable[[], R]) -> R:
    """Write to the journal, also when the server is down for a while."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return write()
        except DBAPIError as error:
            if not should_retry(error) or time.monotonic() > end:
                raise
            logger.warning("the journal cannot be written, trying again: %s", told(error))
        time.sleep(_LOOK_ROUND)
