"""What was begun in one organization is consumed in another, or when its block is over."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

from psycopg import sql
from sqlalchemy import select
from sqlalchemy.orm import Session

from orgtenancy.testing.isolation.catalogue import Group, World
from orgtenancy.testing.isolation.driving import driver_of
from orgtenancy.testing.isolation.subject import Access, AsyncAccess

later = Group("later")

_ROWS = 5


def _write(session: Session, world: World, organization: str) -> None:
    for _ in range(_ROWS):
        world.write(session, organization)


@later.leak("a generator that is consumed in the other one's context", pool_size=2)
def generator(world: World, access: Access) -> str:
    """Begin a generator in one context, and go on in the other."""

    def marks() -> Generator[str, None, None]:
        with access.current() as session:
            _write(session, world, world.a)
            yield from session.scalars(_stream(world))

    with access.bound(world.a):
        begun = marks()
        next(begun)
    try:
        with access.bound(world.b):
            return world.check(list(begun), world.b)
    finally:
        begun.close()


@later.leak("a generator that is consumed in the other one's context, async", pool_size=2)
async def generator_async(world: World, access: AsyncAccess) -> str:
    """Do the same with an async generator."""

    async def marks() -> AsyncGenerator[str, None]:
        async with access.current() as session:
            await session.run_sync(_write, world, world.a)
            async for mark in await session.stream_scalars(_stream(world)):
                yield mark

    with access.bound(world.a):
        begun = marks()
        await anext(begun)
    try:
        with access.bound(world.b):
            return world.check([mark async for mark in begun], world.b)
    finally:
        await begun.aclose()


@later.leak("a generator of one organization that waits while the other one works", pool_size=2)
def waiting_generator(world: World, access: Access) -> str:
    """Work for one organization while a generator of the other one holds its session."""

    def marks() -> Generator[str, None, None]:
        with access.session(world.a) as session:
            yield from session.scalars(select(world.subject.model.mark))

    begun = marks()
    try:
        world.check(next(begun), world.a)
        with access.session(world.b) as session:
            world.see(session, world.b)
            return world.check(list(begun), world.a)
    finally:
        begun.close()


@later.leak("a generator that is only made in one context, and begins in the other's")
def generator_begun_late(world: World, access: Access) -> str:
    """Make a generator in one context; its body runs in the other."""

    def marks() -> Generator[str, None, None]:
        with access.current() as session:
            yield from session.scalars(select(world.subject.model.mark))

    with access.bound(world.a):
        made = marks()
    with access.bound(world.b):
        return world.check(list(made), world.b)


@later.leak("a generator that is abandoned, and then nobody's work")
def abandoned(world: World, access: Access) -> str:
    """Close a generator half way, and work for no organization."""

    def marks() -> Generator[str, None, None]:
        with access.session(world.a) as session:
            yield from session.scalars(select(world.subject.model.mark))

    begun = marks()
    world.check(next(begun), world.a)
    begun.close()
    with access.current() as session:
        return world.see(session, None)


@later.leak("a stream of rows that is read in the other one's context", pool_size=2)
def stream(world: World, access: Access) -> str:
    """Read the rest of a stream in another context."""
    with access.session(world.a) as session:
        _write(session, world, world.a)
        rows = session.scalars(_stream(world))
        next(rows)
        with access.bound(world.b):
            return world.check(rows.all(), world.b)


@later.leak("a stream of rows that is read in the other one's context, async", pool_size=2)
async def stream_async(world: World, access: AsyncAccess) -> str:
    """Do the same on the async engine."""
    async with access.session(world.a) as session:
        await session.run_sync(_write, world, world.a)
        rows = await session.stream_scalars(_stream(world))
        await anext(aiter(rows))
        with access.bound(world.b):
            return world.check(await rows.all(), world.b)


@later.leak("a cursor of the driver that is read in the other one's context", pool_size=2)
def driver_cursor(world: World, access: Access) -> str:
    """Read a server-side cursor of the driver in another context."""
    with access.session(world.a) as session, driver_of(session).cursor("proof") as cursor:
        cursor.execute(sql.SQL("SELECT mark FROM {}").format(world.table))
        with access.bound(world.b):
            return world.check(cursor.fetchall(), world.b)


@later.leak("a cursor of the driver that is read in the other one's context, async", pool_size=2)
async def driver_cursor_async(world: World, access: AsyncAccess) -> str:
    """Do the same on the async engine."""
    async with access.session(world.a) as session:
        driver = await session.run_sync(driver_of)
        async with driver.cursor("proof") as cursor:
            await cursor.execute(sql.SQL("SELECT mark FROM {}").format(world.table))
            with access.bound(world.b):
                return world.check(await cursor.fetchall(), world.b)


def _stream(world: World) -> Any:
    return select(world.subject.model.mark).execution_options(yield_per=1)
