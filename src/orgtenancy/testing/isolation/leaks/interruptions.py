"""Work of one organization is broken off, and the next one gets its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from orgtenancy.testing.isolation.catalogue import Group, World
from orgtenancy.testing.isolation.scripts import Steps, Work
from orgtenancy.testing.isolation.subject import AsyncAccess

interruptions = Group("interruption")

_SLEEP = text("SELECT pg_sleep(60)")


class _Planned(Exception):
    """An error of the application."""


def _broken_off(world: World, break_off: Callable[[Session], Any]) -> Steps:
    """Break off work of one organization, and let the other one and it go on."""

    def work(session: Session) -> None:
        world.write(session, world.a)
        break_off(session)

    with suppress(Exception):
        yield Work(world.a, work)
    yield world.writing(world.b)
    return (yield world.writing(world.a))


@interruptions.script("an error of the application between them")
def application_error(world: World) -> Steps:
    """Raise in the middle of a transaction."""

    def fail(session: Session) -> None:
        raise _Planned

    return _broken_off(world, fail)


@interruptions.script("an error of the database between them")
def database_error(world: World) -> Steps:
    """Send a statement that fails."""
    return _broken_off(world, lambda session: session.execute(text("SELECT 1 / 0")))


@interruptions.script("an error of the database that is swallowed, between them")
def swallowed_error(world: World) -> Steps:
    """Go on to the commit of a transaction that has failed."""

    def fail(session: Session) -> None:
        with suppress(Exception):
            session.execute(text("SELECT 1 / 0"))

    return _broken_off(world, fail)


@interruptions.script("a statement timeout between them")
def statement_timeout(world: World) -> Steps:
    """Let the server end a statement."""

    def wait(session: Session) -> None:
        session.execute(text("SET LOCAL statement_timeout = '20ms'"))
        session.execute(_SLEEP)

    return _broken_off(world, wait)


@interruptions.script("a lost connection between them")
def lost_connection(world: World) -> Steps:
    """Let the server end the connection."""

    def lose(session: Session) -> None:
        pid = session.scalar(text("SELECT pg_backend_pid()"))
        with world.subject.owner.connect() as owner:
            owner.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        session.execute(text("SELECT 1"))

    return _broken_off(world, lose)


@interruptions.script("a savepoint that is rolled back, between them")
def rolled_back_savepoint(world: World) -> Steps:
    """Roll back what a savepoint did to the path and to rows."""

    def roll_back(session: Session) -> None:
        savepoint = session.begin_nested()
        session.execute(text("SET LOCAL search_path TO pg_catalog"))
        savepoint.rollback()
        world.see(session, world.a)
        raise _Planned

    return _broken_off(world, roll_back)


@interruptions.leak("a task cancelled while its statement runs, between them")
async def cancelled(world: World, access: AsyncAccess) -> str:
    """Cancel a task when the server is at work for it."""
    pid = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(_sleep(world, access, pid))
    await _until_asleep(world, task, pid)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return await _both_go_on(world, access)


@interruptions.leak("a timeout of a task while its statement runs, between them")
async def timed_out(world: World, access: AsyncAccess) -> str:
    """Do the same with `asyncio.timeout`, which passes when the server is at work."""
    loop = asyncio.get_running_loop()
    pid = loop.create_future()
    timeout = asyncio.timeout(None)

    async def sleep() -> None:
        async with timeout:
            await _sleep(world, access, pid)

    task = asyncio.create_task(sleep())
    await _until_asleep(world, task, pid)
    timeout.reschedule(loop.time())
    await asyncio.gather(task, return_exceptions=True)
    return await _both_go_on(world, access)


async def _sleep(world: World, access: AsyncAccess, pid: asyncio.Future[int]) -> None:
    async with access.session(world.a) as session:
        await session.run_sync(world.write, world.a)
        pid.set_result(int(await session.scalar(text("SELECT pg_backend_pid()")) or 0))
        await session.execute(_SLEEP)


async def _until_asleep(world: World, task: asyncio.Task[None], pid: asyncio.Future[int]) -> None:
    asleep = text("SELECT FROM pg_stat_activity WHERE pid = :pid AND wait_event = 'PgSleep'")
    both: tuple[asyncio.Future[Any], ...] = (task, pid)
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    while not task.done():
        with world.subject.owner.connect() as owner:
            if owner.execute(asleep, {"pid": await pid}).first() is not None:
                return
        await asyncio.sleep(0.005)
    await task


async def _both_go_on(world: World, access: AsyncAccess) -> str:
    evidence = ""
    for organization in (world.b, world.a):
        async with access.session(organization) as session:
            await session.run_sync(world.write, organization)
            evidence = await world.see_async(session, organization)
    return evidence
