"""Keys of rows: UUID version 7, made by the client.

Ordered by time, so that an index grows at its end and the newest rows are found by key,
and portable: a row keeps its key when its organization moves to another server.
"""

from __future__ import annotations

import os
import time
from threading import Lock
from uuid import UUID

_COUNTER_BITS = 42
_TAIL_BITS = 32

_lock = Lock()
_last_millisecond = 0
_last_counter = 0


def uuid7() -> UUID:
    """Return a new UUID version 7, greater than every one this process made before.

    RFC 9562, section 6.2, method 1: behind the milliseconds stands a counter of 42 bits,
    seeded at random in each millisecond, and 32 random bits. A clock that steps back
    does not break the order: the counter goes on in the last millisecond seen.
    """
    global _last_millisecond, _last_counter
    with _lock:
        millisecond = time.time_ns() // 1_000_000
        if millisecond > _last_millisecond:
            _last_millisecond = millisecond
            # The top bit starts at 0: two trillion keys fit into one millisecond.
            _last_counter = int.from_bytes(os.urandom(6)) & ((1 << (_COUNTER_BITS - 1)) - 1)
        else:
            _last_counter += 1
            if _last_counter >> _COUNTER_BITS:
                _last_counter = 0
                _last_millisecond += 1
        millisecond, counter = _last_millisecond, _last_counter
    tail = int.from_bytes(os.urandom(_TAIL_BITS // 8))
    return UUID(
        int=(millisecond & (1 << 48) - 1) << 80
        | 0x7 << 76
        | (counter >> 30) << 64
        | 0b10 << 62
        | (counter & (1 << 30) - 1) << 32
        | tail
    )
