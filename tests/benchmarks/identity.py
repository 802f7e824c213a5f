"""What a verified token, the registry and an organization's session cost a request."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib.metadata
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import psycopg

from orgtenancy.testing import LocalIssuer
from tests.benchmarks import ground, harness
from tests.benchmarks.contenders import PREPARED_STATEMENTS, Item, item, passes
from tests.benchmarks.harness import Cost, Costs, Spread
from tests.benchmarks.identity_apps import FULL, PEER, PLAIN, TOKEN, AppContender, Bench
from tests.benchmarks.identity_tokens import PEER as PYJWT
from tests.benchmarks.identity_tokens import token, verifications

_SEED = 20_261_123
_PACKAGES = ("pyjwt", "cryptography", "starlette", "fastapi", "flask", "sqlalchemy", "psycopg")
_ALGORITHMS = ("ES384", "RS256")
_SECTIONS = ("tokens", "starlette", "fastapi", "flask", "many")
_IN_USE, _AT_ONCE = 100, 16

Make: TypeAlias = Callable[[Bench], Sequence[AppContender]]


def main(arguments: Sequence[str]) -> None:
    """Measure, and print Markdown."""
    options = _parse(arguments)
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    print(f"Python {platform.python_version()}, {versions}.")
    print(
        f"{options.rounds} rounds of {options.requests} requests each; each ratio and each "
        "difference is the median of the rounds (and the quartiles)."
    )
    print(f"Load of the machine at the beginning: {os.getloadavg()[0]:.1f}.")
    if "tokens" in options.only:
        for algorithm in _ALGORITHMS:
            _verify(algorithm, options)
    if set(options.only) - {"tokens"}:
        with contextlib.ExitStack() as stack:
            prepared, _ = stack.enter_context(ground.prepared(options.organizations, options.keep))
            watch = stack.enter_context(ground.connect(prepared.admin))
            version = watch.info.server_version
            print(
                f"\nPostgreSQL {version // 10_000}.{version % 10_000}, "
                f"{options.organizations:,} organizations in the registry."
            )
            _serve_all(prepared, watch, options)
    print(f"\nLoad of the machine at the end: {os.getloadavg()[0]:.1f}.")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks identity")
    parser.add_argument("--quick", action="store_true", help="a minute, to see that it works")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the server's data there")
    parser.add_argument("--organizations", type=int, metavar="N", help="in the registry")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--requests", type=int, help="to each app in each round")
    parser.add_argument("--only", choices=_SECTIONS, nargs="+", default=_SECTIONS)
    options = parser.parse_args(arguments)
    options.organizations = options.organizations or (10 if options.quick else 1_000)
    options.rounds = options.rounds or (5 if options.quick else 40)
    options.requests = options.requests or (10 if options.quick else 40)
    return options


def _verify(algorithm: str, options: argparse.Namespace) -> None:
    with LocalIssuer(algorithm) as issuer:
        compared = verifications(issuer, algorithm)
        tokens = [token(issuer, f"b{n:05d}", f"user-{n}") for n in range(options.requests)]
        for contender in compared:
            contender.run(tokens)
        costs = harness.compare(compared, lambda number: tokens, options.rounds)
    print(f"\n### One token, {algorithm}\n")
    print(f"| | time, against {PYJWT} | µs |\n|---|---|---:|")
    for name in costs:
        against = harness.ratio(costs, name, PYJWT, lambda cost: cost.wall)
        cells = (
            name,
            "1" if name == PYJWT else against,
            harness.microseconds(costs, name, lambda cost: cost.wall),
        )
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def _serve_all(
    prepared: ground.Ground, watch: psycopg.Connection[Any], options: argparse.Namespace
) -> None:
    sections: list[tuple[str, str, Make]] = [
        ("starlette", algorithm, lambda bench: bench.starlette()) for algorithm in _ALGORITHMS
    ]
    sections.append(("fastapi", "ES384", lambda bench: bench.fastapi()))
    sections.append(("flask", "ES384", lambda bench: bench.flask()))
    for section, algorithm, make in sections:
        if section in options.only:
            with _bench(prepared, watch, algorithm) as bench:
                print(f"\n### {section.capitalize()}, {algorithm}, one request after the other\n")
                print(_parts_table(_serve(make(bench), 1, options)), flush=True)
    if "many" in options.only:
        with _bench(prepared, watch, "ES384", at_once=_AT_ONCE) as bench:
            used = min(_IN_USE, options.organizations)
            wanted = (PLAIN, TOKEN, FULL, PEER)
            ends = [app for app in bench.starlette() if app.name in wanted]
            options.requests *= 4  # the last of them are not at once
            print(
                f"\n### Starlette, ES384, {_AT_ONCE} requests at once, {used} of "
                f"{options.organizations:,} organizations\n"
            )
            print(_throughput_table(_serve(ends, used, options)), flush=True)


@contextlib.contextmanager
def _bench(
    prepared: ground.Ground, watch: psycopg.Connection[Any], algorithm: str, at_once: int = 1
) -> Iterator[Bench]:
    with LocalIssuer(algorithm) as issuer, asyncio.Runner() as loop:
        bench = Bench(prepared, watch, issuer, loop, at_once)
        try:
            yield bench
        finally:
            bench.close()


def _serve(apps: Sequence[AppContender], used: int, options: argparse.Namespace) -> Costs:
    """Send each app requests for so many organizations, drawn at random."""
    started = time.monotonic()
    visits = 6 if used * 12 > 5 * PREPARED_STATEMENTS else 12
    for app in apps:
        app.run(passes(used, max(visits, 60 // used)))
    gc.collect()

    def work(number: int) -> list[Item]:
        draw = random.Random(_SEED + number)
        return [
            item(draw.randrange(used), draw.randrange(ground.ROWS), "")
            for _ in range(options.requests)
        ]

    costs = harness.compare(apps, work, options.rounds)
    print(f"measured in {time.monotonic() - started:.0f} s", file=sys.stderr)
    return costs


def _parts_table(costs: Costs) -> str:
    """Return what each app takes, and how much of it its own part adds."""
    lines = [
        "| | time | µs more than the line above | of these the client's CPU | µs | client µs "
        "| server µs | requests a second |",
        "|---|---|---|---|---:|---:|---:|---:|",
    ]
    above = PLAIN
    for name in costs:
        own = name in (PLAIN, PEER, f"{PLAIN}, again")
        cells = [
            name,
            "1" if name == PLAIN else str(harness.ratio(costs, name, PLAIN, lambda c: c.wall)),
            "-" if own else _more(costs, name, above, lambda cost: cost.wall),
            "-" if own else _more(costs, name, above, lambda cost: cost.client),
            harness.microseconds(costs, name, lambda cost: cost.wall),
            harness.microseconds(costs, name, lambda cost: cost.client),
            harness.microseconds(costs, name, lambda cost: cost.server),
            _a_second(costs, name),
        ]
        lines.append(f"| {' | '.join(cells)} |")
        above = above if own else name
    return "\n".join(lines)


def _throughput_table(costs: Costs) -> str:
    lines = ["| | requests a second | against no tenancy |", "|---|---:|---|"]
    for name in costs:
        spread = harness.ratio(costs, PLAIN, name, lambda cost: cost.wall)
        against = "1" if name == PLAIN else str(spread)
        lines.append(f"| {name} | {_a_second(costs, name)} | {against} |")
    return "\n".join(lines)


def _more(costs: Costs, name: str, above: str, part: Callable[[Cost], float]) -> str:
    """Return by how many microseconds one costs more than another, round by round."""
    rounds = zip(costs[name], costs[above], strict=True)
    spread = Spread.of([(part(ours) - part(theirs)) * 1e6 for ours, theirs in rounds])
    return f"**{spread.median:.0f}** ({spread.low:.0f} to {spread.high:.0f})"


def _a_second(costs: Costs, name: str) -> str:
    return f"{1 / statistics.median(cost.wall for cost in costs[name]):,.0f}"
