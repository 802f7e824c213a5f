"""How fast to ask, and when to ask again."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from orgtenancy.errors import IdentityProviderUnavailable

#: How often one request is sent at the most.
MAX_ATTEMPTS = 6

_MAX_DELAY = 60.0  # seconds, whatever a server asks for
_FIRST_DELAY = 0.5

_longest: ContextVar[float] = ContextVar("orgtenancy_logto_patience", default=math.inf)


class Pace:
    """A token bucket: so many requests a second, and that many at once after a rest.

    Threads share it.

    Args:
        per_second: Requests per second.
        clock: Seconds that only ever grow.
    """

    def __init__(self, per_second: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = per_second
        self._size = max(1.0, per_second)
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = self._size
        self._counted_at = clock()
        self._paused_until = -math.inf

    def reserve(self) -> float:
        """Take a token, and return the seconds after which the request may be sent."""
        with self._lock:
            now = self._clock()
            grown = self._tokens + (now - self._counted_at) * self._rate
            self._tokens = min(self._size, grown) - 1
            self._counted_at = now
            return max(0.0, -self._tokens / self._rate, self._paused_until - now)

    def give_back(self) -> None:
        """Put a token back: its request is not sent after all."""
        with self._lock:
            self._tokens += 1

    def pause(self, seconds: float) -> None:
        """Let nobody send anything for a while: the server asked for it."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + seconds)


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    """Give no request of a block more time than this, whoever sends it there."""
    token = _longest.set(seconds)
    try:
        yield
    finally:
        _longest.reset(token)


class Patience:
    """What is left of the time that a caller has.

    Args:
        seconds: How long; it may be infinite.
        clock: Seconds that only ever grow.
        sleep: Waits.
    """

    def __init__(
        self, seconds: float, *, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._end = clock() + min(seconds, _longest.get())
        self._clock = clock
        self._sleep = sleep

    def wait(self, seconds: float, reason: str) -> None:
        """Wait.

        Raises:
            IdentityProviderUnavailable: If the caller does not have that long.
        """
        if seconds <= 0:
            return
        if self._clock() + seconds > self._end:
            raise IdentityProviderUnavailable(
                f"Logto cannot be asked now: {reason}", retry_after=max(1, math.ceil(seconds))
            )
        self._sleep(seconds)

    @contextmanager
    def holding(self, lock: threading.Lock, reason: str) -> Iterator[None]:
        """Hold a lock for a block.

        Raises:
            IdentityProviderUnavailable: If the caller cannot wait for it any longer.
        """
        left = self._end - self._clock()
        # -1 waits for ever.
        if not lock.acquire(timeout=-1 if math.isinf(left) else max(0.0, left)):
            raise IdentityProviderUnavailable(f"Logto cannot be asked now: {reason}")
        try:
            yield
        finally:
            lock.release()


def backoff(attempt: int) -> float:
    """Return the seconds to wait after an attempt that failed, the first being 1."""
    jitter = random.uniform(0.5, 1.5)  # noqa: S311 - no secret
    return min(_MAX_DELAY, jitter * _FIRST_DELAY * 2.0 ** (attempt - 1))


def retry_after(header: str | None) -> float | None:
    """Return the seconds that a `Retry-After` asks for, 60 at the most; None if it is none.

    Args:
        header: Seconds, or a date, as RFC 9110 has it.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(_MAX_DELAY, float(text))
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    # Without a zone it is UTC: a date of HTTP is.
    aware = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return min(_MAX_DELAY, max(0.0, (aware - datetime.now(UTC)).total_seconds()))
