"""One process of the application: `python -m tests.soak.worker OPTIONS`.

It says `ready`, and reads what it is told line by line: `add ID`, `remove ID`, `stop`, `close`.
After `stop` it answers with one line of JSON, and keeps its connections until `close`.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orgtenancy import Organization, Settings, Tenancy
from orgtenancy.errors import OrganizationNotFound, OrganizationUnavailable
from tests.soak.acts import ACTS, Act, Planned, Work
from tests.soak.ledger import Ledger, Violation
from tests.soak.plants import PLANTS
from tests.support.notes import notes

# What ended connections, timeouts and errors on purpose look like.
_EXPECTED_STATES = ("08", "57", "22012", "25P02")
# What an organization that is shut looks like to a transaction under way: a schema without
# rights is refused, or passed over.
_SHUT_STATES = ("42501", "42P01", "3F000")
_UNSHUT_FOR = text(
    "SELECT status = 'active' AND updated_at < now() - interval '10 seconds' "
    "FROM organizations WHERE id = :id"
)


class Options(BaseModel):
    """What a worker is started with.

    Attributes:
        number: Which of them it is.
        url: The app's login.
        ledger: The file of what was acknowledged.
        organizations: Those there are at the beginning.
        threads: Sync clients.
        tasks: Async clients.
        pool_size: Connections that each engine keeps.
        seed: Of the dice.
        plant: A bug to plant, or None.
    """

    number: int
    url: str
    ledger: Path
    organizations: list[str]
    threads: int
    tasks: int
    pool_size: int
    seed: int
    plant: str | None = None


class Worker:
    """The clients of one process."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.organizations = list(options.organizations)
        self.ledger = Ledger(options.ledger, (options.number + 1) * 10**12)
        self.stopped = threading.Event()
        self._seen: deque[Organization] = deque(maxlen=50)
        self.tenancy = Tenancy(
            options.url,
            modules=[notes],
            settings=Settings(
                pool_size=options.pool_size,
                max_overflow=2,
                pool_timeout=60,
                organizations_per_connection=100,
                registry_max_age=5,
                one_flush=options.number % 2 == 0,
            ),
        )

    def work(self, dice: random.Random) -> Work:
        other = dice.choice(self._seen) if self._seen else None
        return Work(self.tenancy, self.ledger, dice, other)

    def done(self, organization_id: str, act: Act, ids: list[int]) -> None:
        self.ledger.acknowledge(organization_id, ids)
        self.ledger.count(act.__name__)

    def thread(self, seed: int) -> None:
        dice = random.Random(seed)
        while not self.stopped.is_set():
            organization_id, act = choose(dice, self.organizations)
            try:
                with self.tenancy.session(organization_id) as session:
                    self._seen.append(session.organization)
                    ids = act(session, self.work(dice))
                self.done(organization_id, act, ids)
            except Exception as error:  # noqa: BLE001 - all of them are judged
                if self.note(error) and self.is_open(organization_id):
                    self.ledger.surprise(f"{act.__name__} in {organization_id}: {told(error)}")
                if is_lost(error):
                    self.stopped.wait(0.1)
            self.stopped.wait(dice.random() / 50)

    async def task(self, seed: int) -> None:
        dice = random.Random(seed)
        while not self.stopped.is_set():
            organization_id, act = choose(dice, self.organizations)
            try:
                await self.hurried(dice, self.perform(organization_id, act, dice))
            except Exception as error:  # noqa: BLE001 - all of them are judged
                if self.note(error) and await asyncio.to_thread(self.is_open, organization_id):
                    self.ledger.surprise(f"{act.__name__} in {organization_id}: {told(error)}")
                if is_lost(error):
                    await asyncio.sleep(0.1)
            await asyncio.sleep(dice.random() / 50)

    async def perform(self, organization_id: str, act: Act, dice: random.Random) -> None:
        async with self.tenancy.session(organization_id) as session:
            self._seen.append(session.organization)
            run: Callable[..., list[int]] = act
            ids = await session.run_sync(run, self.work(dice))
        self.done(organization_id, act, ids)

    async def hurried(self, dice: random.Random, work: Any) -> None:
        """Let it run; at times not to its end."""
        fate = dice.random()
        if fate < 0.1:
            await asyncio.wait_for(work, dice.random() / 20)
        elif fate < 0.2:
            task = asyncio.create_task(work)
            await asyncio.sleep(dice.random() / 20)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if task.cancelled():
                self.ledger.fail("CancelledError")
            elif (error := task.exception()) is not None:
                raise error
        else:
            await work

    def note(self, error: Exception) -> bool:
        """Count an error; return whether only a shut organization explains it."""
        if isinstance(error, Violation):
            return False  # it is in the ledger
        cause: object = error.orig if isinstance(error, DBAPIError) else error
        state = getattr(cause, "sqlstate", None) or ""
        self.ledger.fail(type(cause).__name__)
        if (
            isinstance(error, OrganizationUnavailable | OrganizationNotFound)
            or state in _SHUT_STATES
        ):
            return True
        if not (
            isinstance(error, Planned | TimeoutError | PoolTimeout | PendingRollbackError)
            or isinstance(cause, psycopg.OperationalError)
            or state.startswith(_EXPECTED_STATES)
        ):
            self.ledger.surprise(told(error))
        return False

    def is_open(self, organization_id: str) -> bool:
        """Return whether an organization has been open for long enough to be let in."""
        try:
            with self.tenancy.control_session() as session:
                return session.scalar(_UNSHUT_FOR, {"id": organization_id}) is True
        except DBAPIError:
            return False

    async def run_tasks(self) -> None:
        async with asyncio.TaskGroup() as group:
            for n in range(self.options.tasks):
                group.create_task(self.task(self.options.seed * 1000 + 500 + n))

    def listen(self) -> None:
        """Do what is told, until it is to stop."""
        for line in sys.stdin:
            word, _, organization_id = line.strip().partition(" ")
            if word == "add":
                self.organizations.append(organization_id)
            elif word == "remove":
                self.organizations.remove(organization_id)
            else:
                break
        self.stopped.set()

    def run(self) -> None:
        listener = threading.Thread(target=self.listen)
        listener.start()
        with asyncio.Runner() as runner, ThreadPoolExecutor(self.options.threads) as threads:
            running = [
                threads.submit(self.thread, self.options.seed * 1000 + n)
                for n in range(self.options.threads)
            ]
            print("ready", flush=True)
            runner.run(self.run_tasks())
            for future in running:
                future.result()
            listener.join()
            pools = {
                "sync": self.tenancy.engine.pool.checkedout(),  # type: ignore[attr-defined]
                "async": self.tenancy.async_engine.pool.checkedout(),  # type: ignore[attr-defined]
            }
            print(json.dumps({**self.ledger.close(), "checked_out": pools}), flush=True)
            sys.stdin.readline()
            runner.run(self.tenancy.aclose())


def choose(dice: random.Random, organizations: list[str]) -> tuple[str, Act]:
    [act] = dice.choices(list(ACTS), list(ACTS.values()))
    return dice.choice(organizations), act


def told(error: Exception) -> str:
    """Return an error with where it came from."""
    return " | ".join("".join(traceback.format_exception(error)).splitlines()[-12:])


def is_lost(error: Exception) -> bool:
    """Return whether the server is away."""
    return isinstance(getattr(error, "orig", error), psycopg.OperationalError)


def main(options: str) -> None:
    given = Options.model_validate_json(options)
    if given.plant is not None:
        PLANTS[given.plant]()
    Worker(given).run()


if __name__ == "__main__":
    main(sys.argv[1])
