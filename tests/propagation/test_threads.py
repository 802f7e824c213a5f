"""A copied context: the organization goes along, the session does not."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier, Thread
from typing import Any

import pytest

from orgtenancy import (
    Organization,
    OrganizationExecutor,
    Tenancy,
    acting,
    copy_context,
    current_organization,
    current_session,
)
from orgtenancy.errors import OrganizationContextMissing
from tests.propagation.support import bound, marks, note, write, written
from tests.support.notes import AsyncNoteRepository, NoteRepository

Two = tuple[Organization, Organization]
NOTHING = {"organization": None, "actor": None, "session": False}

host_var: contextvars.ContextVar[str] = contextvars.ContextVar("host", default="unset")


def in_thread(function: Any) -> None:
    thread = Thread(target=function)
    thread.start()
    thread.join(30)


def test_a_thread_works_for_the_organization_actor_and_origin_of_the_copy(
    tenancy: Tenancy, two_organizations: Two
) -> None:
    a, b = two_organizations
    with tenancy.organization(a), acting("ann", "job:report"):
        copied = copy_context(lambda: write(tenancy, "thread"))
    with tenancy.organization(b):
        in_thread(copied)
        assert copied() == "thread"
        assert current_organization().id == b.id
    assert written(tenancy, a) == [note(a, "thread", "job:report")] * 2
    assert written(tenancy, b) == []


def test_a_thread_without_a_copy_is_refused(tenancy: Tenancy, organization: Organization) -> None:
    refused: list[BaseException] = []

    def work() -> None:
        try:
            write(tenancy, "lost")
        except OrganizationContextMissing as error:
            refused.append(error)

    with tenancy.organization(organization):
        in_thread(work)
        assert len(refused) == 1
    in_thread(copy_context(work))
    assert len(refused) == 2
    assert marks(tenancy, organization) == []


def test_the_session_does_not_go_along(tenancy: Tenancy, organization: Organization) -> None:
    refused: list[bool] = []

    def work() -> None:
        for reach in (current_session, lambda: NoteRepository().count()):
            with pytest.raises(OrganizationContextMissing, match="no session is open"):
                reach()
            refused.append(True)

    with tenancy.session(organization) as session:
        copied = copy_context(work)
        in_thread(copied)
        copied()
        assert current_session() is session
    assert len(refused) == 4


def test_one_copy_serves_many_calls_at_once(tenancy: Tenancy, organization: Organization) -> None:
    together = Barrier(4, timeout=30)

    def work(number: int) -> tuple[str, str]:
        before = host_var.get()
        host_var.set(f"{number}")
        together.wait()
        return before, host_var.get()

    with tenancy.organization(organization):
        host_var.set("mine")
        copied = copy_context(work)
    with ThreadPoolExecutor(4) as threads:
        seen = list(threads.map(copied, range(4)))
    assert seen == [("mine", str(number)) for number in range(4)]
    assert host_var.get() == "mine"


def test_a_coroutine_function_keeps_its_context_over_every_await(
    tenancy: Tenancy, two_organizations: Two, event_loop_runner: asyncio.Runner
) -> None:
    a, b = two_organizations

    async def work(note_id: int) -> str:
        await asyncio.sleep(0)
        async with tenancy.session():
            await AsyncNoteRepository().write(note_id, "one")
            await asyncio.sleep(0)
        return current_organization().id

    async def main() -> None:
        async with tenancy.organization(a):
            copied = copy_context(work)
            late = copy_context(lambda: work(9))  # no coroutine function, and returns one
            part = copy_context(partial(work, 8))
        assert inspect.iscoroutinefunction(copied)
        assert inspect.iscoroutinefunction(part)
        async with tenancy.organization(b):
            found = await asyncio.gather(copied(1), copied(2), part(), late(), work(3))
            assert list(found) == [a.id] * 4 + [b.id]
            assert await copied(4) == a.id
            assert current_organization().id == b.id

    event_loop_runner.run(main())
    for organization, expected in ((a, {1, 2, 4, 8, 9}), (b, {3})):
        with tenancy.session(organization):
            assert {item.id for item in NoteRepository().list().items} == expected


def test_timeouts_and_cancellations_reach_a_copied_coroutine(tenancy: Tenancy) -> None:
    ended: list[str] = []

    async def work() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(host_var.get())
            raise
        return ""

    async def swallow() -> str:
        try:
            raise KeyError("inside")
        except KeyError:
            await asyncio.sleep(0)
            return "swallowed"

    async def main() -> None:
        host_var.set("copied")
        copied = copy_context(work)
        host_var.set("later")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await copied()
        task = asyncio.create_task(copied())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await copy_context(swallow)() == "swallowed"

    asyncio.run(main())
    assert ended == ["copied", "copied"]


def test_generators_are_refused_since_they_run_where_they_are_consumed() -> None:
    def chunks() -> Iterator[int]:
        yield 1

    async def async_chunks() -> AsyncIterator[int]:
        yield 1

    for fn in (chunks, async_chunks, partial(chunks)):
        with pytest.raises(TypeError, match="makes a generator"):
            copy_context(fn)
    for late in (lambda: chunks(), lambda: async_chunks()):
        with pytest.raises(TypeError, match="makes a generator"):
            copy_context(late)()


def test_an_executor_works_for_whoever_submitted(tenancy: Tenancy, two_organizations: Two) -> None:
    a, b = two_organizations
    with OrganizationExecutor(1) as executor:
        for organization in (a, b):
            with tenancy.session(organization), acting("ann", "job:x"):
                assert executor.submit(write, tenancy, "submit").result(30) == "submit"
                results = executor.map(write, [tenancy] * 2, ["map", "map"], timeout=30)
            assert list(results) == ["map", "map"]
        assert executor.submit(bound).result(30) == NOTHING
        with pytest.raises(OrganizationContextMissing):
            executor.submit(write, tenancy, "lost").result(30)
    for organization in (a, b):
        assert written(tenancy, organization) == [
            note(organization, mark, "job:x") for mark in ("submit", "map", "map")
        ]


def test_an_executor_serves_the_event_loop(
    tenancy: Tenancy, two_organizations: Two, event_loop_runner: asyncio.Runner
) -> None:
    async def main(executor: OrganizationExecutor) -> None:
        loop = asyncio.get_running_loop()

        async def work(organization: Organization) -> None:
            async with tenancy.session(organization):
                await loop.run_in_executor(executor, write, tenancy, organization.id)

        await asyncio.gather(*(work(organization) for organization in two_organizations))

    with OrganizationExecutor(2) as executor:
        event_loop_runner.run(main(executor))
    for organization in two_organizations:
        assert marks(tenancy, organization) == [organization.id]


def test_a_plain_executor_is_refused_and_to_thread_keeps_the_organization(
    tenancy: Tenancy, organization: Organization, event_loop_runner: asyncio.Runner
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with tenancy.organization(organization):
            await asyncio.to_thread(write, tenancy, "to_thread")
            with pytest.raises(OrganizationContextMissing):
                await loop.run_in_executor(None, write, tenancy, "lost")

    event_loop_runner.run(main())
    assert marks(tenancy, organization) == ["to_thread"]


def test_work_that_begins_after_a_suspension_is_refused(
    tenancy: Tenancy, organization: Organization
) -> None:
    from orgtenancy.errors import OrganizationUnavailable

    with tenancy.organization(organization):
        copied = copy_context(lambda: write(tenancy, "late"))
    tenancy.organizations.suspend(organization.id)
    with pytest.raises(OrganizationUnavailable) as refusal:
        copied()
    assert refusal.value.status == "suspended"
    tenancy.organizations.resume(organization.id)
    assert marks(tenancy, organization) == []
