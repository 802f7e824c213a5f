"""What a release costs: a nullable column, an index and a table in every schema.

The baseline is a loop over the schemas with psycopg: path, DDL and stamp of a schema as one
message, no journal, as many threads as the others have workers. Each turn is an upgrade by
one more revision of the same shape, so that nothing is measured but upgrades.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread

import psutil
import psycopg

from tests.benchmarks import fleet_ground as ground
from tests.benchmarks.fleet_ground import Place, Turn
from tests.benchmarks.migrators import (
    AlembicPeer,
    Fleet,
    Ours,
    Peer,
    RawLoop,
    by_command,
    by_context,
    django_tenants,
)

RAW = "raw psycopg loop"
OURS = "fleet.migrate"


def main(arguments: Sequence[str]) -> None:
    """Measure, and print Markdown."""
    options = _parse(arguments)
    ground.tell_machine("sqlalchemy", "psycopg", "alembic", "django", "django-tenants")
    with ground.started(durable=options.durable) as server, tempfile.TemporaryDirectory() as folder:
        number = options.rounds * len(options.workers)
        fleet = Fleet(server, number, Path(folder))
        if options.scale:
            _measure_scale(fleet, options)
        else:
            _measure(fleet, options)
    print()
    ground.tell_load("at the end")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks migration")
    parser.add_argument("--schemas", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--peers", type=int, default=40, help="schemas of the slow contenders")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--durable", action="store_true", help="with fsync, as in production")
    parser.add_argument("--scale", action="store_true", help="what more schemas cost, and memory")
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 2_500, 5_000])
    return parser.parse_args(arguments)


def _measure(fleet: Fleet, options: argparse.Namespace) -> None:
    ground.fill(fleet.template, options.schemas)
    print(f"\n{options.schemas:,} schemas.", end=" ")
    if not options.no_peers:
        print(f"The slow contenders migrate {options.peers} of them; times are per schema.")
    with ExitStack() as stack:
        raw, ours = RawLoop(fleet, fleet.place("raw")), Ours(fleet, fleet.place("ours"))
        again = RawLoop(fleet, fleet.place("raw_again"))
        peers: dict[str, Peer] = {}
        if not options.no_peers:
            peers = {
                "Alembic, MigrationContext": AlembicPeer(
                    fleet, "context", options.peers, by_context
                ),
                "Alembic, command.upgrade": AlembicPeer(
                    fleet, "command", options.peers, by_command
                ),
            }
            if ground.has_django_tenants():
                peers["django-tenants"] = stack.enter_context(django_tenants(fleet, options.peers))
        for workers in options.workers:
            contenders: dict[str, Turn] = {
                RAW: raw.turn(workers),
                f"{RAW}, again": again.turn(workers),  # how much of a ratio is noise
                OURS: ours.turn(workers),
            }
            for name, peer in peers.items():
                if (turn := peer.turn(workers)) is not None:
                    contenders[name] = turn
            seconds = ground.take_turns(contenders, options.rounds)
            plural = "worker" if workers == 1 else "workers"
            ground.table(f"{workers} {plural}", seconds, RAW, what="schema")
        _measure_no_op({OURS: ours, **peers}, options)


def _measure_no_op(contenders: Mapping[str, Peer], options: argparse.Namespace) -> None:
    print(
        f"\n### nothing to do\n\n| | s for {options.schemas:,} schemas | measured |\n|---|---:|---|"
    )
    for name, contender in contenders.items():
        times = [contender.no_op() for _ in range(options.rounds)]
        median = ground.percentile(times, 50) if len(times) > 1 else times[0]
        measured = "all" if name == OURS else f"{options.peers} schemas, scaled"
        print(f"| {name} | {median * options.schemas:.3f} | {measured} |", flush=True)


def _measure_scale(fleet: Fleet, options: argparse.Namespace) -> None:
    workers = options.workers[-1]
    print(f"\n{workers} workers.\n")
    print(
        "| schemas | raw, ms per schema | fleet.migrate, ms per schema | ratio "
        "| runner's memory, growth in MB | private memory of all its backends, at most, MB "
        "| raw: its backends |\n|---:|---:|---:|---|---:|---:|---:|"
    )
    for size in options.sizes:
        ground.fill(fleet.template, size)
        raw, ours = RawLoop(fleet, fleet.place("raw")), Ours(fleet, fleet.place("ours"))
        with _watched(ours.place) as our_memory, _watched(raw.place) as raw_memory:
            seconds = ground.take_turns(
                {RAW: raw.turn(workers), OURS: ours.turn(workers)}, options.rounds
            )
        base, mine = (ground.percentile(seconds[name], 50) for name in (RAW, OURS))
        print(
            f"| {size:,} | {base * 1e3:.2f} | {mine * 1e3:.2f} | **{mine / base:.2f}** "
            f"| {our_memory.runner:.0f} | {our_memory.backends:.0f} | {raw_memory.backends:.0f} |",
            flush=True,
        )
        fleet.server.drop(raw.place)
        fleet.server.drop(ours.place)


class _Memory:
    """The most that was seen, in MB."""

    def __init__(self) -> None:
        self.runner = 0.0
        self.backends = 0.0


@contextmanager
def _watched(place: Place) -> Iterator[_Memory]:
    """Look at the memory of this process and of a database's backends, now and then."""
    memory, done = _Memory(), Event()
    process = psutil.Process(os.getpid())
    before = process.memory_info().rss

    def watch() -> None:
        with place.connect() as connection:
            while not done.wait(0.3):
                memory.runner = max(memory.runner, (process.memory_info().rss - before) / 1e6)
                memory.backends = max(memory.backends, _private_memory(connection))

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        done.set()
        thread.join()


def _private_memory(connection: psycopg.Connection[tuple[object, ...]]) -> float:
    rows = connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    ).fetchall()
    total = 0.0
    for (pid,) in rows:
        try:
            total += psutil.Process(int(str(pid))).memory_full_info().uss / 1e6
        except psutil.Error:  # it ended meanwhile
            continue
    return total
