"""Threads, executors and tasks work for two organizations at once, or start in a context."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from orgtenancy.testing.isolation.catalogue import Group, World
from orgtenancy.testing.isolation.subject import Access, AsyncAccess

concurrency = Group("concurrency")

_PATIENCE = 20.0  # seconds until a partner that never came is given up


def _current(world: World, access: Access, organization: str | None) -> str:
    with access.current() as session:
        return world.see(session, organization)


@concurrency.leak("two threads in two contexts at once", pool_size=2)
def two_threads(world: World, access: Access) -> str:
    """Bind both contexts before either works, and read in both before either ends."""
    barrier = threading.Barrier(2, timeout=_PATIENCE)

    def work(organization: str) -> str:
        with _met(barrier), access.bound(organization):
            barrier.wait()
            with access.current() as session:
                world.see(session, organization)
                barrier.wait()
                return world.see(session, organization)

    with ThreadPoolExecutor(2) as threads:
        working = [threads.submit(work, organization) for organization in (world.a, world.b)]
    for done in working:
        error = done.exception()
        if error is not None and not isinstance(error, threading.BrokenBarrierError):
            raise error
    return working[0].result()


@contextmanager
def _met(barrier: threading.Barrier) -> Iterator[None]:
    """Tell the partner if one cannot come."""
    try:
        yield
    except BaseException:
        barrier.abort()
        raise


@concurrency.leak("a thread that is started in one context, while the other one works", pool_size=2)
def bare_thread(world: World, access: Access) -> str:
    """Start a thread that carries nothing; meanwhile its starter has gone on."""
    return _thread(world, access, lambda function: function)


@concurrency.leak("a thread that carries one context, while the other one works", pool_size=2)
def carrying_thread(world: World, access: Access) -> str:
    """Start a thread with the context carried along."""
    return _thread(world, access, world.subject.carried)


def _thread(
    world: World, access: Access, carried: Callable[[Callable[[], str]], Callable[[], str]]
) -> str:
    may_work = threading.Event()

    def work() -> str:
        may_work.wait(_PATIENCE)
        return _current(world, access, world.a)

    with ThreadPoolExecutor(1) as threads:
        with access.bound(world.a):
            working = threads.submit(carried(work))
        with access.bound(world.b):
            may_work.set()
            return working.result(_PATIENCE)


@concurrency.leak("a worker thread that gets nobody's job after an organization's")
def reused_worker(world: World, access: Access) -> str:
    """Let one thread work for an organization, and then for nobody."""

    def bound() -> str:
        with access.bound(world.a):
            return _current(world, access, world.a)

    with ThreadPoolExecutor(1) as threads:
        threads.submit(bound).result(_PATIENCE)
        return threads.submit(_current, world, access, None).result(_PATIENCE)


@concurrency.leak("a worker thread that carries one context and then the other")
def carrying_worker(world: World, access: Access) -> str:
    """Let one thread work for both, the context carried along each time."""
    evidence = ""
    with ThreadPoolExecutor(1) as threads:
        for organization in (world.a, world.b, world.a):
            with access.bound(organization):
                job = world.subject.carried(partial(_current, world, access, organization))
                evidence = threads.submit(job).result(_PATIENCE)
    return evidence


@concurrency.leak("a session used by a thread of the other context", pool_size=2)
def session_in_a_thread(world: World, access: Access) -> str:
    """Hand a session to a thread that works for the other organization."""
    with access.session(world.a) as session, ThreadPoolExecutor(1) as threads:

        def read() -> str:
            with access.bound(world.b):
                return world.see(session, world.b)

        return threads.submit(read).result(_PATIENCE)


@concurrency.leak("`asyncio.to_thread` from two tasks at once", pool_size=2)
def to_thread(world: World, access: Access) -> str:
    """Call synchronous work from two tasks, each in its own context."""

    async def work(organization: str, barrier: asyncio.Barrier) -> str:
        with access.bound(organization):
            await barrier.wait()
            return await asyncio.to_thread(_current, world, access, organization)

    async def both() -> list[str]:
        barrier = asyncio.Barrier(2)
        async with asyncio.timeout(_PATIENCE):
            return await asyncio.gather(*(work(of, barrier) for of in (world.a, world.b)))

    return asyncio.run(both())[0]


@concurrency.leak("`run_in_executor` from one context after the other")
def executor(world: World, access: Access) -> str:
    """Call synchronous work that carries nothing, from two contexts."""

    async def both() -> str:
        evidence = ""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as threads:
            for of in (world.a, world.b):
                with access.bound(of):
                    evidence = await loop.run_in_executor(threads, _current, world, access, of)
        return evidence

    return asyncio.run(both())


async def _current_async(world: World, access: AsyncAccess, organization: str | None) -> str:
    async with access.current() as session:
        return await world.see_async(session, organization)


@concurrency.leak("two tasks gathered, each in its own context", pool_size=2)
async def gathered(world: World, access: AsyncAccess) -> str:
    """Bind both contexts before either works, and read in both before either ends."""
    barrier = asyncio.Barrier(2)

    async def work(organization: str) -> str:
        try:
            with access.bound(organization):
                await barrier.wait()
                async with access.current() as session:
                    await world.see_async(session, organization)
                    await barrier.wait()
                    return await world.see_async(session, organization)
        except BaseException:
            await barrier.abort()
            raise

    evidence, _ = await asyncio.gather(work(world.a), work(world.b))
    return evidence


@concurrency.leak("two tasks gathered on a pool of one, session after session")
async def gathered_on_one(world: World, access: AsyncAccess) -> str:
    """Let two tasks wait for the same connection, again and again."""

    async def work(organization: str) -> str:
        evidence = ""
        for _ in range(5):
            async with access.session(organization) as session:
                await asyncio.sleep(0)
                evidence = await world.see_async(session, organization)
        return evidence

    evidence, _ = await asyncio.gather(work(world.a), work(world.b))
    return evidence


@concurrency.leak("a task group in one context, whose starter goes on in the other", pool_size=2)
async def task_group(world: World, access: AsyncAccess) -> str:
    """Start a task in one context; it works when its starter is in the other."""
    may_work = asyncio.Event()

    async def work() -> str:
        await may_work.wait()
        return await _current_async(world, access, world.a)

    async with asyncio.TaskGroup() as group:
        with access.bound(world.a):
            task = group.create_task(work())
        with access.bound(world.b):
            may_work.set()
            await _current_async(world, access, world.b)
    return task.result()


@concurrency.leak("a task that outlives its session's block", pool_size=2)
async def outliving_task(world: World, access: AsyncAccess) -> str:
    """Let a task read by a session whose block is over, while the other one works."""
    may_work = asyncio.Event()

    async with access.session(world.a) as session:

        async def work() -> str:
            await may_work.wait()
            try:
                with access.bound(world.b):
                    return await world.see_async(session, world.b)
            finally:
                await session.close()

        task = asyncio.create_task(work())
    async with access.session(world.b) as other:
        await world.see_async(other, world.b)
        may_work.set()
        await asyncio.wait([task])
        await world.see_async(other, world.b)
    return task.result()


@concurrency.leak("a session shared by two tasks of two contexts", pool_size=2)
async def shared_session(world: World, access: AsyncAccess) -> str:
    """Let a task of one organization use the session of the other one's task."""
    async with access.session(world.a) as session:

        async def work() -> str:
            with access.bound(world.b):
                return await world.see_async(session, world.b)

        return await asyncio.create_task(work())


@concurrency.leak("a callback of the event loop that is planned in one context", pool_size=2)
async def callback(world: World, access: AsyncAccess) -> str:
    """Plan a callback in one context; the loop calls it while the other one works."""
    started: asyncio.Future[asyncio.Task[str]] = asyncio.get_running_loop().create_future()

    def start() -> None:
        started.set_result(asyncio.create_task(_current_async(world, access, world.a)))

    with access.bound(world.a):
        asyncio.get_running_loop().call_soon(start)
    with access.bound(world.b):
        return await (await started)
