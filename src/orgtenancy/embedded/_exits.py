"""Stopping servers when the process ends, by itself or by a signal."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Protocol

from orgtenancy.errors import EmbeddedServerError

# The signals whose default action ends the process without running `atexit`.
# SIGINT is not among them: Python raises KeyboardInterrupt, which unwinds.
_DEADLY = (signal.SIGTERM, signal.SIGHUP)


class Stoppable(Protocol):
    """What is stopped at the end of the process."""

    def stop(self) -> None:
        """Stop; a second call does nothing."""


_running: list[Stoppable] = []
_depth = 0
_pending: int | None = None
_masks = threading.local()


def add(server: Stoppable) -> None:
    """Remember a server until it stops."""
    _install()
    _running.append(server)


def discard(server: Stoppable) -> None:
    """Forget a server that has stopped."""
    with contextlib.suppress(ValueError):
        _running.remove(server)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off a deadly signal while a server starts or stops.

    The handler runs between two steps of the main thread. In the middle of a start
    it would leave a server behind; in the middle of a stop it would wait for locks
    that the interrupted frame holds.
    """
    global _depth
    if not _in_main_thread():
        yield
        return
    for number in _DEADLY:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _on_signal)
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0 and _pending is not None:
            _end(_pending)
        if _depth == 0 and not _running:
            _restore_handlers()


def stop_all() -> None:
    """Stop every server of this process, the newest first."""
    failure: EmbeddedServerError | None = None
    for server in reversed(_running.copy()):
        try:
            server.stop()
        except EmbeddedServerError as exc:
            failure = exc
    if failure is not None:
        raise failure


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _pending
    if _depth:
        _pending = number
    else:
        _end(number)


def _end(number: int) -> None:
    try:
        stop_all()
    finally:
        # The process ends as it would have without us, so that its parent sees the signal.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@functools.cache
def _install() -> None:
    atexit.register(stop_all)
    os.register_at_fork(
        before=_block, after_in_parent=_unblock, after_in_child=_become_an_ordinary_child
    )


def _block() -> None:
    # Python forgets, in a new child, the signals that came before its hooks ran.
    # Without a handler of ours they would have ended the child; blocked, they wait.
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _DEADLY)


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _become_an_ordinary_child() -> None:
    global _depth, _pending
    _running.clear()
    _depth, _pending = 0, None
    _restore_handlers()
    _unblock()


def _restore_handlers() -> None:
    for number in _DEADLY:
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, signal.SIG_DFL)
