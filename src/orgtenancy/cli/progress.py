"""How far a job is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from orgtenancy.cli.output import tell

_SECONDS = 5.0  # between two lines


class Shown(Protocol):
    """How far something is."""

    @property
    def title(self) -> str:
        """What is done."""

    @property
    def total(self) -> int:
        """How many there are to do."""

    @property
    def done(self) -> int:
        """How many need no more work."""

    @property
    def failed(self) -> int:
        """How many failed."""


class OnProgress(Protocol):
    """Told of each schema of a job, or of what else is shown."""

    def __call__(self, progress: Shown) -> None:
        """Show it."""


@contextmanager
def show_progress() -> Iterator[OnProgress]:
    """Return what a job tells its progress; shown for the length of the block."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        redirect_stdout=False,
        transient=True,
    )
    with bar:
        task = bar.add_task("planning", total=None)

        def on_progress(progress: Shown) -> None:
            failed = f", {progress.failed} failed" if progress.failed else ""
            bar.update(
                task,
                description=f"{progress.title}{failed}",
                total=progress.total,
                completed=progress.done + progress.failed,
            )

        yield on_progress


class Lines:
    """Tells how far a job is in lines: at once, then every few seconds, and at its end.

    Args:
        clock: Seconds that only go up.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: tuple[float, int] | None = None
        self._told_at = 0.0

    def __call__(self, progress: Shown) -> None:
        """Tell it, unless a line was just written."""
        now, done = self._clock(), progress.done + progress.failed
        if self._began is None:
            self._began = now, done
        elif done < progress.total and now - self._told_at < _SECONDS:
            return
        self._told_at = now
        tell(f"{progress.title}: {self._numbers(progress, now - self._began[0], done)}")

    def _numbers(self, progress: Shown, seconds: float, done: int) -> str:
        parts = [f"{progress.done} of {progress.total} done"]
        if progress.failed:
            parts.append(f"{progress.failed} failed")
        here = done - (self._began[1] if self._began else 0)
        if here and seconds > 0:
            rate = here / seconds
            parts.append(f"{rate:.1f} a second")
            parts.append(f"{round((progress.total - done) / rate)} seconds left")
        return ", ".join(parts)


class StderrHandler(logging.Handler):
    """Writes what the library logs as lines of the command; one line for each failure.

    Args:
        with_traceback: Whether to write the traceback of an error too.
    """

    def __init__(self, *, with_traceback: bool) -> None:
        super().__init__(logging.WARNING)
        self._with_traceback = with_traceback

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        if self._with_traceback and record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        tell(text)


@contextmanager
def logging_to_stderr(*, with_traceback: bool) -> Iterator[None]:
    """Write what the library logs to stderr, for the length of a block."""
    logger = logging.getLogger("orgtenancy")
    handler = StderrHandler(with_traceback=with_traceback)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f}/s")
