"""Stopping a job from a terminal: one signal lets it finish what it has begun, two end it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event, Thread, current_thread, main_thread
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it


class Stop:
    """Whether somebody wants the job to stop.

    Attributes:
        event: Set once somebody does.
        signal: By which signal, or None.
    """

    def __init__(self) -> None:
        self.event = Event()
        self.signal: int | None = None

    def go_on(self) -> bool:
        """Whether nobody does."""
        return not self.event.is_set()

    @property
    def exit_code(self) -> int | None:
        """What a shell calls an end by that signal, or None."""
        return None if self.signal is None else 128 + self.signal


@contextmanager
def stopped_by_signals(begun: str) -> Iterator[Stop]:
    """Listen to SIGINT and SIGTERM for the length of a block, and answer on stderr.

    In another thread than the main one, where Python hears no signals, nothing is listened to.

    Args:
        begun: What is finished after the first signal.
    """
    stop = Stop()
    if current_thread() is not main_thread():
        yield stop
        return
    # A handler interrupts the main thread anywhere, also while that thread holds the lock of
    # the event: it must take no lock itself. This queue's `put` takes none.
    arrived: SimpleQueue[int | None] = SimpleQueue()
    thread = Thread(
        target=_obey, args=(arrived, stop, begun), name="orgtenancy-signals", daemon=True
    )
    thread.start()

    def hear(number: int, frame: Any) -> None:
        arrived.put(number)

    before = {number: signal.signal(number, hear) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        arrived.put(None)
        thread.join()


def _obey(arrived: SimpleQueue[int | None], stop: Stop, begun: str) -> None:
    while (number := arrived.get()) is not None:
        if stop.signal is not None:
            _tell(f"{_SHOW_CURSOR if os.isatty(2) else ''}stopped at once")
            os._exit(128 + number)
        stop.signal = number
        _tell(f"stopping: {begun} is finished first; once more to stop at once")
        stop.event.set()


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
