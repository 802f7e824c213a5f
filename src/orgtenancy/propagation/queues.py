"""A queue of asyncio whose items know for whom they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from orgtenancy.context import (
    actor_var,
    bind,
    current_actor,
    current_organization,
    current_origin,
    origin_var,
    session_var,
)
from orgtenancy.organizations import Actor

if TYPE_CHECKING:
    from orgtenancy.tenancy import Tenancy

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OrganizationItem(Generic[T]):
    """What was put into a queue, and for whom.

    Attributes:
        item: What was put.
        organization_id: The organization that was bound.
        actor: Who acted, if known.
        origin: Where that came from.
    """

    item: T
    organization_id: str
    actor: Actor | None
    origin: str


class OrganizationQueue(Generic[T]):
    """An `asyncio.Queue` that carries organization, actor and origin with each item.

    ```python
    queue = OrganizationQueue[str](tenancy, maxsize=100)
    await queue.put("welcome")          # in a request

    while True:                         # a task of the app
        async with queue.take() as item:
            await send(item)            # bound to the request's organization
    ```

    Args:
        tenancy: Finds the organizations.
        maxsize: Items after which `put` waits; 0 for no limit.
    """

    def __init__(self, tenancy: Tenancy, maxsize: int = 0) -> None:
        self._tenancy = tenancy
        self._queue: asyncio.Queue[OrganizationItem[T]] = asyncio.Queue(maxsize)

    @property
    def maxsize(self) -> int:
        """How many items it holds at most; 0 for no limit."""
        return self._queue.maxsize

    def qsize(self) -> int:
        """Return how many items wait."""
        return self._queue.qsize()

    def empty(self) -> bool:
        """Return whether no item waits."""
        return self._queue.empty()

    def full(self) -> bool:
        """Return whether `put` would wait."""
        return self._queue.full()

    async def put(self, item: T) -> None:
        """Put an item for the current organization; waits while the queue is full.

        Raises:
            OrganizationContextMissing: If no organization is bound.
        """
        await self._queue.put(_labelled(item))

    def put_nowait(self, item: T) -> None:
        """Put an item for the current organization.

        Raises:
            OrganizationContextMissing: If no organization is bound.
            asyncio.QueueFull: If the queue is full.
        """
        self._queue.put_nowait(_labelled(item))

    async def put_again(self, taken: OrganizationItem[T]) -> None:
        """Put back what `get` gave: it stays whose it was."""
        await self._queue.put(taken)

    async def get(self) -> OrganizationItem[T]:
        """Remove the next item, unopened: nothing is bound. `task_done` is the caller's."""
        return await self._queue.get()

    def get_nowait(self) -> OrganizationItem[T]:
        """Remove the next item, as `get` does.

        Raises:
            asyncio.QueueEmpty: If there is none.
        """
        return self._queue.get_nowait()

    @asynccontextmanager
    async def bound(self, taken: OrganizationItem[T]) -> AsyncIterator[T]:
        """Work on what `get` gave, inside its organization, as its actor.

        Raises:
            OrganizationNotFound: If the organization is gone.
            OrganizationUnavailable: If it is not open for work.
        """
        # Look-ups of a request are remembered for as short: PostgreSQL refuses what is closed.
        async with self._tenancy.organization(taken.organization_id):
            with (
                bind(session_var, None),
                bind(actor_var, taken.actor),
                bind(origin_var, taken.origin),
            ):
                yield taken.item

    @asynccontextmanager
    async def take(self) -> AsyncIterator[T]:
        """Wait for the next item, and work on it: `bound`, and `task_done` however it ends."""
        taken = await self.get()
        try:
            async with self.bound(taken) as item:
                yield item
        finally:
            self.task_done()

    def task_done(self) -> None:
        """Say that an item that `get` gave is done."""
        self._queue.task_done()

    async def join(self) -> None:
        """Wait until every item was taken and done."""
        await self._queue.join()


def _labelled(item: T) -> OrganizationItem[T]:
    return OrganizationItem(item, current_organization().id, current_actor(), current_origin())
