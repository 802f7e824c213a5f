"""Measures contenders against each other on a machine that has other things to do.

All contenders run in one process and take turns in many short rounds, in another order
each time. Each round gives each contender the same work, so what disturbs the machine for
a while disturbs all of them; ratios are made within a round, and the median over the
rounds is reported together with its quartiles. A turn begins with a few transactions that
are not measured: the one before left the processor's caches to somebody else.

The client's cost is the CPU time of the measuring thread. The server's is the CPU time
that the kernel charged to the contender's backends; it is unknown for a server on another
machine, and for a round in which a backend was replaced.
"""

from __future__ import annotations

import gc
import os
import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

Work_contra = TypeVar("Work_contra", contravariant=True)
Work = TypeVar("Work")

_LEAD_IN = 5
_TICK = 1 / os.sysconf("SC_CLK_TCK")


class Contender(Protocol[Work_contra]):
    """One way of doing the work."""

    @property
    def name(self) -> str:
        """What the tables call it."""

    def run(self, work: Sequence[Work_contra]) -> None:
        """Do the work."""

    def backends(self) -> Iterable[int]:
        """Return the process ids of its connections' backends."""


@dataclass(frozen=True)
class Cost:
    """What one piece of work cost in one round, in seconds."""

    wall: float
    client: float
    server: float | None

    @property
    def cpu(self) -> float | None:
        """Client and server together."""
        return None if self.server is None else self.client + self.server


Costs = Mapping[str, Sequence[Cost]]


def compare(
    contenders: Sequence[Contender[Work]],
    make_work: Callable[[int], Sequence[Work]],
    rounds: int,
) -> dict[str, list[Cost]]:
    """Let the contenders take turns.

    Args:
        contenders: All of them warm.
        make_work: Returns the work of a round, the same for each contender.
        rounds: How many.
    """
    order = random.Random(rounds)
    costs: dict[str, list[Cost]] = {contender.name: [] for contender in contenders}
    gc.collect()
    gc.freeze()  # what the warm-up left is nobody's garbage
    try:
        for number in range(rounds):
            work = make_work(number)
            for contender in order.sample(contenders, len(contenders)):
                costs[contender.name].append(_measure(contender, work))
    finally:
        gc.unfreeze()
    return costs


def _measure(contender: Contender[Work], work: Sequence[Work]) -> Cost:
    contender.run(work[:_LEAD_IN])
    before = cpu_times(contender.backends())
    wall, client = time.perf_counter(), time.thread_time()
    contender.run(work)
    client, wall = time.thread_time() - client, time.perf_counter() - wall
    after = cpu_times(contender.backends())
    server = None
    if before and before.keys() == after.keys():
        server = sum(after.values()) - sum(before.values())
    return Cost(
        wall=wall / len(work),
        client=client / len(work),
        server=None if server is None else server / len(work),
    )


def cpu_times(processes: Iterable[int]) -> dict[int, float]:
    """Return the CPU seconds of those processes that this machine has."""
    times = {process: _cpu_time(process) for process in processes}
    return {process: seconds for process, seconds in times.items() if seconds is not None}


def _cpu_time(process: int) -> float | None:
    folder = Path("/proc", str(process))
    try:
        # Nanoseconds on the CPU; kernels without it count ticks of 10 ms.
        return int((folder / "schedstat").read_text().split()[0]) * 1e-9
    except (OSError, IndexError):
        pass
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) * _TICK  # utime and stime


@dataclass(frozen=True)
class Spread:
    """A median with the quartiles around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        if len(values) < 2:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(low, median, high)

    def __str__(self) -> str:
        return f"**{self.median:.2f}** ({self.low:.2f}-{self.high:.2f})"


def ratio(
    costs: Costs, name: str, baseline: str, part: Callable[[Cost], float | None]
) -> Spread | None:
    """Return how much of a cost a contender has for one of the baseline, round by round."""
    pairs = [
        (ours, theirs)
        for mine, base in zip(costs[name], costs[baseline], strict=True)
        if (ours := part(mine)) is not None and (theirs := part(base))
    ]
    return Spread.of([ours / theirs for ours, theirs in pairs]) if pairs else None


def microseconds(costs: Costs, name: str, part: Callable[[Cost], float | None]) -> str:
    """Return the median of an absolute cost."""
    values = [value for cost in costs[name] if (value := part(cost)) is not None]
    return f"{statistics.median(values) * 1e6:.0f}" if values else "-"


HEADER = (
    "| | time | CPU, client + server | CPU, client | CPU, server | client µs | server µs |\n"
    "|---|---|---|---|---|---:|---:|"
)


def table(costs: Costs, baseline: str) -> str:
    """Return a Markdown table of the ratios to the baseline."""
    lines = [HEADER]
    for name in costs:
        ratios: list[Spread | None] = [
            ratio(costs, name, baseline, lambda cost: cost.wall),
            ratio(costs, name, baseline, lambda cost: cost.cpu),
            ratio(costs, name, baseline, lambda cost: cost.client),
            ratio(costs, name, baseline, lambda cost: cost.server),
        ]
        cells = [
            name,
            *("1" if name == baseline else "-" if r is None else str(r) for r in ratios),
            microseconds(costs, name, lambda cost: cost.client),
            microseconds(costs, name, lambda cost: cost.server),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
