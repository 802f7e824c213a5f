"""Items of a queue know for whom they are, and are worked on as such."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from orgtenancy import Organization, OrganizationQueue, Tenancy, acting, copy_context
from orgtenancy.errors import (
    OrganizationContextMissing,
    OrganizationMismatch,
    OrganizationUnavailable,
)
from tests.propagation.support import bound, marks, note, write, written

Two = tuple[Organization, Organization]
Run = Callable[[Awaitable[None]], None]


@pytest.fixture
def run_async(event_loop_runner: asyncio.Runner) -> Run:
    """Runs a coroutine where the tenancy's async engine is."""

    def run(coroutine: Awaitable[None]) -> None:
        async def within() -> None:
            async with asyncio.timeout(60):
                await coroutine

        event_loop_runner.run(within())

    return run


def test_each_item_is_worked_on_for_whom_it_was_put(
    tenancy: Tenancy, two_organizations: Two, run_async: Run
) -> None:
    queue = OrganizationQueue[str](tenancy, maxsize=2)

    async def consume() -> None:
        while True:
            async with queue.take() as item:
                await asyncio.to_thread(write, tenancy, item)

    async def main() -> None:
        # A consumer that was begun within a request belongs to nobody either.
        async with tenancy.session(two_organizations[0]):
            consumers = [asyncio.create_task(consume()) for _ in range(2)]
        for number in range(6):
            organization = two_organizations[number % 2]
            async with tenancy.session(organization):
                with acting(f"user-{number}", "http:1.2.3.4"):
                    await queue.put(f"item-{number}")
        await queue.join()
        for consumer in consumers:
            consumer.cancel()
        await asyncio.gather(*consumers, return_exceptions=True)

    run_async(main())
    for half, organization in enumerate(two_organizations):
        assert sorted(written(tenancy, organization), key=lambda n: n.mark) == [
            note(organization, f"item-{n}", "http:1.2.3.4", f"user-{n}") for n in range(half, 6, 2)
        ]


def test_nothing_is_put_without_an_organization(tenancy: Tenancy, run_async: Run) -> None:
    async def main() -> None:
        queue = OrganizationQueue[str](tenancy)
        with pytest.raises(OrganizationContextMissing):
            await queue.put("nobody's")
        with pytest.raises(OrganizationContextMissing):
            queue.put_nowait("nobody's")
        assert queue.empty()
        await queue.join()  # and nothing is waited for

    run_async(main())


def test_the_queue_is_bounded_and_join_waits_for_work_that_fails_too(
    tenancy: Tenancy, organization: Organization, run_async: Run
) -> None:
    async def main() -> None:
        queue = OrganizationQueue[int](tenancy, maxsize=1)
        async with tenancy.organization(organization):
            queue.put_nowait(1)
            assert (queue.maxsize, queue.qsize(), queue.full()) == (1, 1, True)
            with pytest.raises(asyncio.QueueFull):
                queue.put_nowait(2)
            waiting = asyncio.create_task(queue.put(2))
            await asyncio.sleep(0)
            assert not waiting.done()
        joined = asyncio.create_task(queue.join())

        async def fail() -> None:
            async with queue.take() as item:
                await waiting
                assert not joined.done()
                raise RuntimeError(item)

        with pytest.raises(RuntimeError, match="1"):
            await fail()
        taken = queue.get_nowait()
        assert not joined.done()
        queue.task_done()
        await joined
        assert (taken.item, taken.organization_id) == (2, organization.id)
        with pytest.raises(asyncio.QueueEmpty):
            queue.get_nowait()

    run_async(main())


def test_an_item_is_bound_for_its_block_and_nothing_is_left_after_it(
    tenancy: Tenancy, two_organizations: Two, run_async: Run
) -> None:
    a, b = two_organizations

    async def main() -> None:
        queue = OrganizationQueue[str](tenancy)
        before = bound()
        async with tenancy.session(a):
            with acting("ann", "http"):
                await queue.put("a's")
        async with queue.take():
            assert bound() == {"organization": a.id, "actor": "ann", "session": False}
            with pytest.raises(OrganizationMismatch):
                async with tenancy.session(b):
                    pass
        assert bound() == before

    run_async(main())


def test_an_item_of_a_closed_organization_is_refused_and_can_be_put_again(
    tenancy: Tenancy, organization: Organization, run_async: Run
) -> None:
    async def main() -> None:
        queue = OrganizationQueue[str](tenancy)
        async with tenancy.organization(organization):
            with acting("ann", "http"):
                await queue.put("later")
        await tenancy.organizations.fence_async(organization.id)
        taken = await queue.get()
        with pytest.raises(OrganizationUnavailable) as refusal:
            async with queue.bound(taken):
                pytest.fail("it was worked on")
        assert refusal.value.retry_after == 1
        await queue.put_again(taken)
        queue.task_done()
        await tenancy.organizations.unfence_async(organization.id)
        async with queue.take() as item:
            await asyncio.to_thread(copy_context(write), tenancy, item)
        await queue.join()

    run_async(main())
    assert written(tenancy, organization) == [note(organization, "later", "http")]
    assert marks(tenancy, organization) == ["later"]
