"""What is left of a wave, and who does it next."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable
from threading import Condition

from orgtenancy.schemas.fleet.jobs import JobItem

_LONGEST_WAIT = 1.0  # seconds until a worker without work asks again whether to stop


class Schedule:
    """What is left of a wave, handed out one by one to whichever worker asks.

    Args:
        items: The schemas.
        should_stop: Says that nothing more is to be begun.
    """

    def __init__(self, items: Iterable[JobItem], should_stop: Callable[[], bool]) -> None:
        self._ready = deque((item, 1) for item in items)
        self._later: list[tuple[float, int, JobItem, int]] = []  # a heap, by when they are due
        self._running = 0
        self._should_stop = should_stop
        self._changed = Condition()

    def take(self) -> tuple[JobItem, int] | None:
        """Return a schema and the number of the attempt; None if there is nothing more to do."""
        with self._changed:
            while not self._should_stop():
                now = time.monotonic()
                while self._later and self._later[0][0] <= now:
                    _, _, item, attempt = heapq.heappop(self._later)
                    self._ready.append((item, attempt))
                if self._ready:
                    self._running += 1
                    return self._ready.popleft()
                if not self._later and not self._running:
                    return None
                due = self._later[0][0] - now if self._later else _LONGEST_WAIT
                self._changed.wait(min(due, _LONGEST_WAIT))
            return None

    def put_back(self, item: JobItem, attempt: int, delay: float | None) -> None:
        """Return what was taken: to be tried again after so many seconds, or never."""
        with self._changed:
            self._running -= 1
            if delay is not None:
                due = time.monotonic() + delay
                heapq.heappush(self._later, (due, id(item), item, attempt + 1))
            self._changed.notify_all()
