"""A session or a connection of one organization begins another transaction."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from orgtenancy.testing.isolation.catalogue import Group, World
from orgtenancy.testing.isolation.driving import driver_of
from orgtenancy.testing.isolation.marks import NotApplicable
from orgtenancy.testing.isolation.scripts import Steps, Work
from orgtenancy.testing.isolation.subject import Access, AsyncAccess

transactions = Group("transaction")


def _after_the_other(world: World, do: Callable[[Any], str], *, core: bool = False) -> Steps:
    """Do something in one organization, on the connection that served the other one."""
    yield world.reading(world.b)
    if core:
        return (yield Work(None, do, within=world.a, core=True))
    return (yield Work(world.a, do))


@transactions.script("the transaction that begins by itself after a commit")
def after_commit(world: World) -> Steps:
    """Read before and after a commit."""

    def work(session: Session) -> str:
        world.see(session, world.a)
        session.commit()
        return world.see(session, world.a)

    return _after_the_other(world, work)


@transactions.script("the transaction that begins by itself after a rollback")
def after_rollback(world: World) -> Steps:
    """Read before and after a rollback."""

    def work(session: Session) -> str:
        world.see(session, world.a)
        session.rollback()
        return world.see(session, world.a)

    return _after_the_other(world, work)


@transactions.script("the transaction that begins by itself after an error")
def after_error(world: World) -> Steps:
    """Read after a statement that failed as the first of its transaction."""

    def work(session: Session) -> str:
        with suppress(Exception):
            session.execute(text("SELECT 1 / 0"))
        session.rollback()
        return world.see(session, world.a)

    return _after_the_other(world, work)


@transactions.script("a savepoint that is rolled back as the first thing")
def after_savepoint(world: World) -> Steps:
    """Begin with a savepoint, and read when it is gone."""

    def work(session: Session) -> str:
        savepoint = session.begin_nested()
        world.see(session, world.a)
        savepoint.rollback()
        return world.see(session, world.a)

    return _after_the_other(world, work)


@transactions.script("a session on another isolation level")
def isolation_level(world: World) -> Steps:
    """Read in a serializable transaction."""

    def work(session: Session) -> str:
        session.commit()  # or the transaction that has begun is gone on with
        session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
        return world.see(session, world.a)

    return _after_the_other(world, work)


@transactions.script("a session in autocommit")
def autocommit(world: World) -> Steps:
    """Read where there is no transaction."""

    def work(session: Session) -> str:
        session.commit()  # or the transaction that has begun is gone on with
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        return world.see(session, world.a)

    return _after_the_other(world, work)


@transactions.script("a core connection in autocommit")
def core_autocommit(world: World) -> Steps:
    """Do the same without the ORM."""

    def work(connection: Connection) -> str:
        return world.see(connection.execution_options(isolation_level="AUTOCOMMIT"), world.a)

    return _after_the_other(world, work, core=True)


@transactions.script("a core connection after a commit and a rollback")
def core_transactions(world: World) -> Steps:
    """Read in three transactions of one connection."""

    def work(connection: Connection) -> str:
        world.see(connection, world.a)
        connection.commit()
        world.see(connection, world.a)
        connection.rollback()
        return world.see(connection, world.a)

    return _after_the_other(world, work, core=True)


@transactions.script("a two-phase transaction")
def two_phase(world: World) -> Steps:
    """Write in two phases, and read after it."""

    def work(connection: Connection) -> str:
        with connection.begin_twophase() as transaction:
            world.see(connection, world.a)
            transaction.prepare()
            transaction.commit()
        return world.see(connection, world.a)

    with world.subject.owner.connect() as owner:
        if owner.scalar(text("SHOW max_prepared_transactions")) == "0":
            raise NotApplicable("the server has max_prepared_transactions = 0")
    return _after_the_other(world, work, core=True)


@transactions.leak("the driver's pipeline mode")
def pipeline(world: World, access: Access) -> str:
    """Begin two transactions in pipeline mode, on the connection that served the other one."""
    query = sql.SQL("SELECT mark FROM {}").format(world.table)
    with access.session(world.b) as session:
        world.see(session, world.b)
    seen = []
    with access.session(world.a) as session:
        driver = driver_of(session)
        with driver.pipeline():
            for _ in range(2):
                seen += driver.execute(query).fetchall()
                driver.commit()
    return world.check(seen, world.a)


@transactions.leak("the driver's pipeline mode, async")
async def pipeline_async(world: World, access: AsyncAccess) -> str:
    """Do the same on the async engine."""
    query = sql.SQL("SELECT mark FROM {}").format(world.table)
    async with access.session(world.b) as session:
        await world.see_async(session, world.b)
    seen = []
    async with access.session(world.a) as session:
        driver = await session.run_sync(driver_of)
        async with driver.pipeline():
            for _ in range(2):
                seen += await (await driver.execute(query)).fetchall()
                await driver.commit()
    return world.check(seen, world.a)
