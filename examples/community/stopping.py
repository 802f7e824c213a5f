"""Ending at a signal, once, and undisturbed."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Protocol

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stoppable(Protocol):
    """A server that ends when it is told to, as uvicorn's does."""

    should_exit: bool


class Stop:
    """The first signal ends the demo; later ones do not disturb it while it cleans up.

    A supervisor, nox among them, sends SIGTERM soon after SIGINT.

    Attributes:
        server: What a signal ends, once it serves; before that, a KeyboardInterrupt unwinds.
    """

    def __init__(self) -> None:
        self.server: Stoppable | None = None
        self._is_requested = False

    def __enter__(self) -> Stop:
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *exc_info: object) -> None:
        # Python takes its handlers off before it has ended; what is ignored stays ignored.
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._is_requested:
            return
        self._is_requested = True
        if self.server is None:
            raise KeyboardInterrupt
        self.server.should_exit = True
