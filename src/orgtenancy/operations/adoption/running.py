"""Going through the organizations of a source: several workers, each has a connection.

What was done for an organization is in its own transaction, so a run may end at any point; the
next one goes on from there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Event, Lock
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from orgtenancy.context import acting, current_actor, current_origin
from orgtenancy.database.engines import Database
from orgtenancy.errors import ConfigurationError, JobLocked
from orgtenancy.operations.adoption.organizations import SourceOrganization
from orgtenancy.operations.adoption.reports import AdoptionProgress
from orgtenancy.schemas.fleet.lock import PlacementLock
from orgtenancy.schemas.fleet.workers import Worker, should_retry, told

logger = logging.getLogger("orgtenancy.adoption")

T = TypeVar("T")

OnProgress = Callable[[AdoptionProgress], None]

#: Does something for an organization, over a worker's connection.
Work = Callable[[Worker, SourceOrganization], T]

_ATTEMPTS = 10
_FIRST_DELAY = 0.1  # seconds before the second attempt; doubled before each later one
_RENEW_AFTER = 200  # organizations: a backend keeps the catalog entries of each of them


class AdoptionOptions(BaseModel):
    """How an adoption goes through the organizations.

    Attributes:
        workers: Organizations worked on at the same time, each over a connection of its own.
        max_failures: More failed ones than this, and no other is begun.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: PositiveInt = 2
    max_failures: NonNegativeInt = 10


class Run(Generic[T]):
    """Does the same for each of some organizations.

    Args:
        database: Where the source is.
        title: What is done, for people.
        options: Workers and limits.
        on_progress: Called after each organization, by one thread at a time.
        cancel: Set by whoever wants it to stop: what is begun is finished.

    Attributes:
        results: What came of those that were done.
        failed: Why others were not done, by their ids.
    """

    def __init__(
        self,
        database: Database,
        title: str,
        options: AdoptionOptions,
        on_progress: OnProgress,
        cancel: Event | None,
    ) -> None:
        self.results: list[T] = []
        self.failed: dict[str, str] = {}
        self._database = database
        self._title, self._options = title, options
        self._on_progress = on_progress
        self._cancel = cancel or Event()
        self._halted = False
        self._telling = Lock()
        self._total = 0
        # The threads know nothing of who began it.
        self._began = current_actor(), current_origin()

    def go(self, found: Sequence[SourceOrganization], work: Work[T]) -> None:
        """Do it for these organizations, in their order."""
        waiting: SimpleQueue[SourceOrganization] = SimpleQueue()
        for one in found:
            waiting.put(one)
        self._total = len(found)
        self._tell()
        number = self._options.workers
        with ThreadPoolExecutor(number, "orgtenancy-adoption") as threads:
            futures = [threads.submit(self._work_off, waiting, work) for _ in range(number)]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                self._halted = True  # the pool waits for what was begun
                raise

    def _work_off(self, waiting: SimpleQueue[SourceOrganization], work: Work[T]) -> None:
        worker = Worker(self._database, renew_after=_RENEW_AFTER)
        try:
            with acting(*self._began):
                while not self._should_stop():
                    try:
                        one = waiting.get_nowait()
                    except Empty:
                        return
                    self._do(worker, one, work)
        finally:
            worker.close()

    def _do(self, worker: Worker, one: SourceOrganization, work: Work[T]) -> None:
        attempt = 1
        while True:
            try:
                result = work(worker, one)
            except Exception as error:  # one that fails keeps no other
                reason = told(error)
                if should_retry(error) and attempt < _ATTEMPTS and not self._should_stop():
                    logger.info("%s is tried again: %s", one.id, reason)
                else:
                    logger.error("%s: %s", one.id, reason, exc_info=error)
                    with self._telling:
                        self.failed[one.id] = reason
                    self._tell(one.id, reason)
                    return
            else:
                with self._telling:
                    self.results.append(result)
                self._tell(one.id)
                return
            time.sleep(_FIRST_DELAY * 2.0 ** (attempt - 1))
            attempt += 1

    def _should_stop(self) -> bool:
        too_many = len(self.failed) > self._options.max_failures
        return self._halted or self._cancel.is_set() or too_many

    def _tell(self, label: str | None = None, error: str | None = None) -> None:
        with self._telling:
            self._on_progress(
                AdoptionProgress(
                    title=self._title,
                    total=self._total,
                    done=len(self.results),
                    failed=len(self.failed),
                    label=label,
                    error=error,
                )
            )


@contextmanager
def alone(database: Database, source: str) -> Iterator[None]:
    """Let no other process adopt from the same source, for the length of a block.

    Raises:
        JobLocked: If another one does.
    """
    if database.admin_url is None:
        raise ConfigurationError("this needs the owner of the schemas: give an admin_url")
    lock = PlacementLock(
        database.admin_url,
        f"{database.name}, adoption of {source}",
        connect_timeout=database.settings.connect_timeout,
    )
    if not lock.acquire():
        raise JobLocked(f"another process adopts from {source!r}", placement=database.name)
    try:
        yield
    finally:
        lock.release()
