"""Who is cancelled while connecting leaves no connection behind, and no place in the pool."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from sqlalchemy import event, make_url, text
from sqlalchemy.util import await_only

from orgtenancy import Organization, Settings, Tenancy, embedded
from tests.support.notes import notes

SETTINGS = Settings(pool_size=1, max_overflow=0, pool_timeout=2, listen=False)


@pytest.fixture
def without_collector() -> Iterator[None]:
    """What is closed is closed by the code, and not when the garbage collector comes around."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def backends(tenancy: Tenancy, application: str) -> int:
    query = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = :application")
    with tenancy._database.admin_engine.connect() as connection:
        return int(connection.execute(query, {"application": application}).scalar_one())


async def eventually(condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come about")


@pytest.mark.usefixtures("without_collector")
def test_a_server_that_does_not_answer_sees_the_end_of_a_cancelled_attempt(
    organization: Organization,
) -> None:
    asyncio.run(cancel_before_the_answer(organization))


async def cancel_before_the_answer(organization: Organization) -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        silent = Tenancy(f"postgresql://app@127.0.0.1:{port}/app", settings=SETTINGS)

        async def work() -> None:
            async with silent.session(organization) as session:
                await session.execute(text("SELECT 1"))

        task = asyncio.create_task(work())
        client, _ = await loop.sock_accept(listener)
        with client:
            assert await loop.sock_recv(client, 10_000)  # what libpq begins with
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert await asyncio.wait_for(loop.sock_recv(client, 10_000), 5) == b""
        await silent.aclose()


@pytest.mark.usefixtures("without_collector")
def test_who_is_cancelled_before_the_server_is_known_leaves_no_connection(
    server: embedded.EmbeddedServer, tenancy: Tenancy, organization: Organization
) -> None:
    asyncio.run(cancel_before_the_server_is_known(server, tenancy, organization))


async def cancel_before_the_server_is_known(
    server: embedded.EmbeddedServer, tenancy: Tenancy, organization: Organization
) -> None:
    application = f"hasty-{uuid4().hex[:8]}"
    url = make_url(server.url).update_query_dict({"application_name": application})
    hasty = Tenancy(url, modules=[notes], settings=SETTINGS)
    reached = asyncio.Event()
    waits = True

    # The last of those that are called: the dialect asks its questions before.
    @event.listens_for(hasty.async_engine.sync_engine, "connect")
    def wait_for_ever(*args: object) -> None:
        if waits:
            reached.set()
            await_only(asyncio.sleep(60))

    async def work() -> int:
        async with hasty.session(organization) as session:
            return int((await session.execute(text("SELECT 1"))).scalar_one())

    task = asyncio.create_task(work())
    await asyncio.wait_for(reached.wait(), 30)
    assert backends(tenancy, application) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    await eventually(lambda: backends(tenancy, application) == 0)

    waits = False
    assert await work() == 1  # and the one place of the pool is free
    await hasty.aclose()
