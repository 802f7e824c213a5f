"""Blocks of two organizations are nested, and sessions escape from theirs."""

from __future__ import annotations

from contextlib import closing, suppress

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from orgtenancy.testing.isolation.catalogue import Group, World
from orgtenancy.testing.isolation.scripts import Steps, Work
from orgtenancy.testing.isolation.subject import Access, AsyncAccess

contexts = Group("context")


@contexts.leak("one organization's context inside the other's, and back", pool_size=2)
def nested(world: World, access: Access) -> str:
    """Read before, inside and after a nested context."""
    with access.bound(world.a):
        with access.current() as session:
            world.see(session, world.a)
        with access.bound(world.b), access.current() as session:
            world.see(session, world.b)
        with access.current() as session:
            return world.see(session, world.a)


@contexts.leak("one organization's context inside the other's, and back, async", pool_size=2)
async def nested_async(world: World, access: AsyncAccess) -> str:
    """Do the same on the async engine."""
    with access.bound(world.a):
        async with access.current() as session:
            await world.see_async(session, world.a)
        with access.bound(world.b):
            async with access.current() as session:
                await world.see_async(session, world.b)
        async with access.current() as session:
            return await world.see_async(session, world.a)


@contexts.leak("one organization's session inside the other's", pool_size=2)
def nested_sessions(world: World, access: Access) -> str:
    """Open a session inside another one's block, and read in both."""
    with access.session(world.a) as outer:
        world.see(outer, world.a)
        with access.session(world.b) as inner:
            world.see(inner, world.b)
        return world.see(outer, world.a)


@contexts.leak("one organization's session inside the other's, async", pool_size=2)
async def nested_sessions_async(world: World, access: AsyncAccess) -> str:
    """Do the same on the async engine."""
    async with access.session(world.a) as outer:
        await world.see_async(outer, world.a)
        async with access.session(world.b) as inner:
            await world.see_async(inner, world.b)
        return await world.see_async(outer, world.a)


@contexts.leak("a session used in the other one's context", pool_size=2)
def foreign_session(world: World, access: Access) -> str:
    """Read by a session that is still open, while the context is another's."""
    with access.session(world.a) as session, access.bound(world.b):
        return world.see(session, world.b)


@contexts.leak("a session used in the other one's context, async", pool_size=2)
async def foreign_session_async(world: World, access: AsyncAccess) -> str:
    """Do the same on the async engine."""
    async with access.session(world.a) as session:
        with access.bound(world.b):
            return await world.see_async(session, world.b)


@contexts.leak(
    "a connection with an open transaction, used in the other one's context", pool_size=2
)
def foreign_connection(world: World, access: Access) -> str:
    """Do the same with a core connection, whose transaction has begun."""
    with access.bound(world.a), access.engine.connect() as connection:
        world.see(connection, world.a)
        with access.bound(world.b):
            return world.see(connection, world.b)


@contexts.leak(
    "a connection with an open transaction, used in the other one's context, async", pool_size=2
)
async def foreign_connection_async(world: World, access: AsyncAccess) -> str:
    """Do the same on the async engine."""
    with access.bound(world.a):
        async with access.engine.connect() as connection:
            await connection.run_sync(world.see, world.a)
            with access.bound(world.b):
                return await connection.run_sync(world.see, world.b)


@contexts.script("a session used after its block, in the other one's", pool_size=2)
def escaped_session(world: World) -> Steps:
    """Keep a session, and read by it in another's transaction."""
    kept: list[Session] = []

    def read(_: Session) -> str:
        with closing(kept[0]) as session:
            return world.see(session, world.b)

    yield Work(world.a, kept.append)
    return (yield Work(world.b, read))


@contexts.script("an object that is loaded late, in the other one's block", pool_size=2)
def escaped_object(world: World) -> Steps:
    """Keep an object whose attributes are to be read again, and read them."""
    model = world.subject.model
    kept: list[tuple[Session, object]] = []

    def load(session: Session) -> None:
        found = session.get(model, 1)
        session.expire(found)
        kept.append((session, found))

    def read(_: Session) -> str:
        ((session, found),) = kept
        with closing(session):
            if found not in session:
                session.add(found)
            session.refresh(found)
            return world.check(getattr(found, "mark", ""), world.b)

    yield Work(world.a, load)
    return (yield Work(world.b, read))


@contexts.script("a session of no organization")
def no_organization(world: World) -> Steps:
    """Open a session where no context was ever bound, and after one has ended."""

    def read(session: Session) -> str:
        return world.see(session, None)

    with suppress(Exception):
        yield world.reading(None, within=world.a)
    return (yield Work(None, read))


@contexts.script("a core connection of no organization")
def no_organization_core(world: World) -> Steps:
    """Do the same without the ORM, on a connection that served an organization."""

    def read(connection: Connection) -> str:
        return world.see(connection, None)

    yield world.reading(world.a)
    return (yield Work(None, read, core=True))


@contexts.script("a context that an error has ended")
def ended_by_an_error(world: World) -> Steps:
    """Work for nobody after an error has left an organization's context."""

    def fail(session: Session) -> None:
        session.execute(select(world.subject.model.id))
        raise RuntimeError("planned")

    with suppress(RuntimeError):
        yield Work(None, fail, within=world.a)
    return (yield Work(None, lambda session: world.see(session, None)))
