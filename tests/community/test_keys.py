"""Keys of rows."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orgtenancy.community import keys
from orgtenancy.community.keys import uuid7


@given(st.integers(2, 2_000))
def test_keys_are_monotonic(number: int) -> None:
    made = [uuid7() for _ in range(number)]
    assert all(a < b for a, b in pairwise(made))
    assert all(str(a) < str(b) for a, b in pairwise(made))


@given(st.lists(st.integers(0, 2**47), min_size=1, max_size=50))
def test_a_clock_that_jumps_does_not_break_the_order(clock: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "_last_millisecond", 0)
        patch.setattr(keys, "_last_counter", 0)
        made = []
        for millisecond in clock:
            patch.setattr(time, "time_ns", lambda ms=millisecond: ms * 1_000_000)
            made += [uuid7(), uuid7()]
    assert all(a < b for a, b in pairwise(made))
    assert [key.int >> 80 for key in made[::2]] == [max(clock[: i + 1]) for i in range(len(clock))]


def test_a_full_counter_borrows_the_next_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns() // 1_000_000 + 60_000
    monkeypatch.setattr(keys, "_last_millisecond", now)
    monkeypatch.setattr(keys, "_last_counter", (1 << 42) - 2)
    last, first = uuid7(), uuid7()
    assert last < first
    assert (last.int >> 80, first.int >> 80) == (now, now + 1)


def test_a_key_is_a_uuid_of_version_7_with_the_time_in_front() -> None:
    before = time.time_ns() // 1_000_000
    key = uuid7()
    after = time.time_ns() // 1_000_000
    assert key.version == 7
    assert key.variant == "specified in RFC 4122"
    # Earlier tests may have run ahead by a borrowed millisecond.
    assert before <= key.int >> 80 <= after + 2


def test_threads_never_get_the_same_key() -> None:
    with ThreadPoolExecutor(8) as threads:
        made = [
            k for ks in threads.map(lambda _: [uuid7() for _ in range(2_000)], range(8)) for k in ks
        ]
    assert len(set(made)) == len(made)
