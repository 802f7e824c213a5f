"""What it costs to work inside an organization, against the same code without tenancy."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib.metadata
import platform
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg

from tests.benchmarks import contenders, ground, harness, latency
from tests.benchmarks.contenders import AsyncContender, Item, SyncContender

_SEED = 20_240_607
_PACKAGES = ("sqlalchemy", "psycopg", "fastapi-tenancy", "sqlalchemy-tenants")


def main(arguments: Sequence[str]) -> None:
    """Measure, and print Markdown."""
    options = _parse(arguments)
    _explain(options)
    with contextlib.ExitStack() as stack:
        prepared, address = stack.enter_context(
            ground.prepared(max(options.organizations), options.keep)
        )
        watch = stack.enter_context(ground.connect(prepared.admin))
        print(f"PostgreSQL {_server_version(watch)}, {len(prepared.organizations)} organizations.")
        if options.latency:
            port = stack.enter_context(latency.proxy(address, options.latency / 1000))
            prepared = prepared.through(port)
        for mode in options.mode:
            with _contenders(mode, prepared, watch, max(options.organizations)) as made:
                _measure(mode, made, options)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks request_path")
    parser.add_argument("--quick", action="store_true", help="a minute, to see that it works")
    parser.add_argument("--latency", type=float, default=0.0, metavar="MS", help="of a round trip")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the server's data there")
    parser.add_argument("--organizations", type=_numbers, metavar="N,N,...")
    parser.add_argument("--mode", choices=("sync", "async"), nargs="+", default=("sync", "async"))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--transactions", type=int, help="of each contender in each round")
    parser.add_argument("--only", nargs="+", help="contenders whose name contains one of these")
    options = parser.parse_args(arguments)
    options.organizations = options.organizations or ((1, 10) if options.quick else (1, 100, 1000))
    options.rounds = options.rounds or (20 if options.quick else 10 if options.latency else 50)
    options.transactions = options.transactions or (25 if options.quick or options.latency else 40)
    return options


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _explain(options: argparse.Namespace) -> None:
    versions = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    print(f"Python {platform.python_version()}, {versions}.")
    print(
        f"{options.rounds} rounds of {options.transactions} transactions each; "
        f"each ratio is the median of the rounds (and the quartiles)."
    )
    if options.latency:
        print(f"A proxy adds {options.latency} ms to each round trip.")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "is not installed"


def _server_version(watch: psycopg.Connection[Any]) -> str:
    number = watch.info.server_version
    return f"{number // 10_000}.{number % 10_000}"


@contextlib.contextmanager
def _contenders(
    mode: str, prepared: ground.Ground, watch: psycopg.Connection[Any], organizations: int
) -> Iterator[Sequence[SyncContender] | Sequence[AsyncContender]]:
    with asyncio.Runner() as loop:
        made: Sequence[SyncContender] | Sequence[AsyncContender]
        if mode == "sync":
            made = contenders.sync_contenders(prepared, watch, organizations)
        else:
            made = contenders.async_contenders(prepared, watch, organizations, loop)
        try:
            yield made
        finally:
            for contender in made:
                contender.close()


def _measure(
    mode: str,
    made: Sequence[SyncContender] | Sequence[AsyncContender],
    options: argparse.Namespace,
) -> None:
    chosen = [c for c in made if contenders.is_wanted(c.name, options.only)]
    for contender in chosen:
        contender.fill(max(options.organizations))
    for workload in contenders.WORKLOADS:
        able = [c for c in chosen if not c.reads_only or workload is contenders.READ]
        for organizations in options.organizations:
            started = time.monotonic()
            for contender in able:
                contender.workload = workload
                warm_up = _warm_up(organizations, contender.visits, short=bool(options.latency))
                contender.run(warm_up)
            gc.collect()
            costs = harness.compare(
                able,
                lambda number, n=organizations: _work(number, n, options.transactions),  # type: ignore[misc]
                options.rounds,
            )
            plural = "" if organizations == 1 else "s"
            print(f"\n### {mode}, {workload.name}, {organizations:,} organization{plural}\n")
            print(harness.table(costs, contenders.BASELINE), flush=True)
            took = time.monotonic() - started
            print(f"{mode}, {workload.name}, {organizations}: {took:.0f} s", file=sys.stderr)


def _warm_up(organizations: int, visits: int, *, short: bool) -> list[Item]:
    """Return work that visits each organization so often, and each connection."""
    if organizations * visits > 5 * contenders.PREPARED_STATEMENTS * contenders.POOL:
        visits = 6  # more would not help: they have more statements than are kept
    if short:
        visits = min(visits, 6 if organizations > 100 else 12)
    return contenders.passes(organizations, max(visits, 60 // organizations))


def _work(number: int, organizations: int, transactions: int) -> list[Item]:
    draw = random.Random(_SEED + number)
    return [
        contenders.item(
            draw.randrange(organizations), draw.randrange(ground.ROWS), f"round {number} item {n}"
        )
        for n in range(transactions)
    ]
