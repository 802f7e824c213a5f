"""How long it takes to compare every schema with what its revisions make."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from contextlib import closing

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from orgtenancy.community import community
from tests.benchmarks import fleet_ground as ground
from tests.benchmarks.fleet_ground import Place, Turn
from tests.benchmarks.migrators import enter

_OURS = "tenancy.schemas.drift()"


def main(arguments: Sequence[str]) -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks drift")
    parser.add_argument("--schemas", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", type=int, default=20, help="schemas of the slow contender")
    options = parser.parse_args(arguments)
    ground.tell_machine("sqlalchemy", "psycopg", "alembic")
    with ground.started() as server:
        place = server.make("fleet")
        ground.fill(place, options.schemas)
        contenders: dict[str, Turn] = {
            _OURS: lambda number: _drift(place) / options.schemas,
            "Alembic, compare_metadata": lambda number: _compare(place, options.peers),
        }
        seconds = ground.take_turns(contenders, options.rounds)
    print(
        f"\n{options.schemas:,} schemas without a difference; Alembic compared {options.peers} "
        "of them, and only tables, columns, types, indexes and foreign keys."
    )
    ground.table("drift", seconds, _OURS, what="schema")
    print(f"\n| | s for {options.schemas:,} schemas |\n|---|---:|")
    for name, values in seconds.items():
        print(f"| {name} | {ground.percentile(values, 50) * options.schemas:.1f} |")
    print()
    ground.tell_load("at the end")


def _drift(place: Place) -> float:
    with closing(place.tenancy()) as tenancy:
        began = time.perf_counter()
        report = tenancy.schemas.drift()
        taken = time.perf_counter() - began
    if not report.is_clean:
        raise RuntimeError(f"differences where there are none: {report.findings[:3]}")
    return taken


def _compare(place: Place, number: int) -> float:
    """Compare some schemas, and return the seconds of one."""
    engine = create_engine(place.admin)
    schemas = place.schemas()[:number]
    began = time.perf_counter()
    for schema in schemas:
        with engine.begin() as connection:
            enter(connection, schema)
            compare_metadata(MigrationContext.configure(connection), community.metadata)
    taken = (time.perf_counter() - began) / number
    engine.dispose()
    return taken
