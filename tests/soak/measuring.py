"""Memory and connections, sample by sample."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

_MB = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """What was there at one moment.

    Attributes:
        at: When, by the monotonic clock.
        workers: MB of memory that the processes of the application hold.
        backends: MB that each of the server's processes for them has for itself.
    """

    at: float
    workers: float
    backends: tuple[float, ...]


def take(workers: Sequence[int], backends: Sequence[int]) -> Sample:
    """Measure processes, which may end meanwhile."""
    resident = sum(psutil.Process(pid).memory_info().rss for pid in workers) / _MB
    own = []
    for pid in backends:
        try:
            own.append(psutil.Process(pid).memory_full_info().uss / _MB)
        except psutil.Error:
            continue
    return Sample(time.monotonic(), resident, tuple(own))


@dataclass(frozen=True, slots=True)
class Growth:
    """A figure in the second quarter of the run, and in its last.

    Attributes:
        told: What it is.
        before: The median of the second quarter.
        after: The median of the last.
        slack: What it may grow by, beyond a tenth.
    """

    told: str
    before: float
    after: float
    slack: float

    @property
    def is_flat(self) -> bool:
        return self.after <= self.before * 1.1 + self.slack

    def __str__(self) -> str:
        return f"{self.told}: {self.before:.1f} -> {self.after:.1f}"


def growth(samples: Sequence[Sample]) -> list[Growth]:
    """Compare the second quarter of the run with the last."""
    start, end = samples[0].at, samples[-1].at

    def quarter(number: int) -> list[Sample]:
        length = (end - start) / 4
        low, high = start + (number - 1) * length, start + number * length
        return [s for s in samples if low <= s.at <= high and s.backends]

    second, last = quarter(2), quarter(4)
    if not second or not last:
        return []
    figures: list[tuple[str, Callable[[Sample], float], float]] = [
        ("processes, MB", lambda s: s.workers, 8),
        ("server's processes together, MB", lambda s: sum(s.backends), 10),
        ("the largest of them, MB", lambda s: max(s.backends), 3),
        ("connections", lambda s: len(s.backends), 2),
    ]
    return [
        Growth(told, _median(second, figure), _median(last, figure), slack)
        for told, figure, slack in figures
    ]


def _median(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> float:
    return statistics.median(map(figure, samples))
