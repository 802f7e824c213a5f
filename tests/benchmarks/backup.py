"""What a backup of one organization takes, beside few and many others in its database.

The baseline is `COPY` alone: all tables of the organization, in the binary form and in one
snapshot, read as psycopg reads it, and written to a file that is on the disk at the end; and the
same with the rows thrown away. A backup adds what the rows add up to, compression, a seal, and a
line of the audit. All of it takes turns, also with the same beside another number of
organizations: how flat it is, is a ratio within one round.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from psycopg import sql
from sqlalchemy import Connection

from orgtenancy import Organization, Tenancy
from orgtenancy.embedded import _binaries
from orgtenancy.errors import EmbeddedServerError
from orgtenancy.operations.backup import generate_key
from orgtenancy.operations.data.copying import columns_of, copy_out
from orgtenancy.operations.data.digests import digests
from orgtenancy.operations.data.snapshots import snapshot
from orgtenancy.operations.data.tables import Table
from tests.benchmarks import community_data
from tests.benchmarks import fleet_ground as ground
from tests.benchmarks.fleet_ground import Place
from tests.benchmarks.harness import cpu_times

COPY = "COPY to a file"
THROWN_AWAY = "COPY, rows thrown away"
BACKUP = "backup"
DUMP = "pg_dump -n"

# About 10 MB of rows, as COPY writes them.
SIZES = community_data.Sizes(200, 30, 5_000, 20_000, 10_000, 200, 15_000, 5_000)

_LARGE = 5_000


def main(arguments: Sequence[str]) -> None:
    """Measure, and print Markdown."""
    options = _parse(arguments)
    ground.tell_machine("sqlalchemy", "psycopg", "zstandard", "pyrage")
    with ExitStack() as stack:
        server = stack.enter_context(ground.started())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours: dict[int, dict[str, _Measured]] = {}
        dumps: dict[int, dict[str, _Measured]] = {}
        for others in options.others:
            place = server.make(f"beside_{others}")
            tenancy = stack.enter_context(closing(place.tenancy()))
            ground.fill(place, others)
            organization = tenancy.schemas.provision("acme")
            community_data.fill(place.admin, organization, SIZES)
            ours[others] = _contenders(place, tenancy, organization, folder)
            if (pg_dump := _pg_dump(place)) is not None:
                dump = _Measured(partial(_dump, pg_dump, place, organization, folder))
                dumps[others] = {COPY: _Measured(ours[others][COPY].work), DUMP: dump}
            if others == options.others[0]:
                print(f"\n{_bytes_of(tenancy, organization) / 1e6:.1f} MB of rows.")
        _measure(ours, options.rounds, BACKUP)
        if dumps:
            _measure(dumps, options.dumps, DUMP)
        else:
            print("\nThere is no pg_dump here that is as new as the server.")
    print()
    ground.tell_load("at the end")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks backup")
    parser.add_argument("--others", type=int, nargs="+", default=[10, 1_000], metavar="N")
    parser.add_argument("--large", action="store_true", help=f"also beside {_LARGE:,} others")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--dumps", type=int, default=3, help="rounds with pg_dump")
    options = parser.parse_args(arguments)
    options.others = sorted({*options.others, *([_LARGE] if options.large else [])})
    return options


@dataclass(frozen=True)
class _Measured:
    """Some work, as one that takes turns.

    Attributes:
        work: What is done.
        place: In which database, if its backends stay.
        cpu: The seconds of CPU time of each turn, of this process and of the backends.
    """

    work: Callable[[], object]
    place: Place | None = None
    cpu: list[float] = field(default_factory=list)

    def __call__(self, number: int) -> float:
        """Do it, and return how long it took."""
        before, ours = self._backends(), time.process_time()
        began = time.perf_counter()
        self.work()
        seconds = time.perf_counter() - began
        spent = time.process_time() - ours
        after = self._backends()
        self.cpu.append(spent + sum(time - before.get(pid, 0.0) for pid, time in after.items()))
        return seconds

    def _backends(self) -> dict[int, float]:
        if self.place is None:
            return {}
        with self.place.connect() as connection:
            query = (
                "SELECT pid FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()"
            )
            pids = connection.execute(query, [self.place.name]).fetchall()
        return cpu_times(int(str(pid)) for (pid,) in pids)


def _contenders(
    place: Place, tenancy: Tenancy, organization: Organization, folder: Path
) -> dict[str, _Measured]:
    numbers = count()
    _, public = generate_key()

    def copy_to_file() -> None:
        target = folder / f"{place.name}-{next(numbers)}"
        with target.open("xb") as file:
            _copy(tenancy, organization, file.write)
            file.flush()
            os.fsync(file.fileno())
        target.unlink()

    def back_up(key: str | None = None) -> None:
        target = folder / f"{place.name}-{next(numbers)}"
        tenancy.backups.write(organization.id, target, key=key)
        target.unlink()

    def add_up() -> None:
        with _reading(tenancy, organization) as (connection, tables):
            digests(connection, tables)

    works: dict[str, Callable[[], object]] = {
        COPY: copy_to_file,
        f"{COPY}, again": copy_to_file,
        THROWN_AWAY: partial(_copy, tenancy, organization, len),
        f"{THROWN_AWAY}, read in blocks": partial(_bytes_of, tenancy, organization),
        BACKUP: back_up,
        "backup, encrypted": partial(back_up, public),
        "what the rows add up to": add_up,
    }
    return {name: _Measured(work, place) for name, work in works.items()}


def _copy(tenancy: Tenancy, organization: Organization, write: Callable[[Any], object]) -> None:
    """Copy all rows out, as psycopg's manual shows it."""
    with _reading(tenancy, organization) as (connection, tables):
        driver: Any = connection.connection.driver_connection
        for table in tables:
            statement = sql.SQL("COPY {} ({}) TO STDOUT (FORMAT binary)").format(
                table.identifier, columns_of(table)
            )
            with driver.cursor() as cursor, cursor.copy(statement) as copy:
                for row in copy:
                    write(row)


def _bytes_of(tenancy: Tenancy, organization: Organization) -> int:
    """Copy all rows out, as a backup does, and return how many bytes they are."""
    with _reading(tenancy, organization) as (connection, tables):
        return sum(
            len(block) for table in tables for block in copy_out(connection, table, binary=True)
        )


@contextmanager
def _reading(
    tenancy: Tenancy, organization: Organization
) -> Iterator[tuple[Connection, list[Table]]]:
    with (
        tenancy._database.admin_engine.connect() as connection,
        snapshot(connection, organization, operation="measure") as tables,
    ):
        yield connection, tables


def _dump(pg_dump: Path, place: Place, organization: Organization, folder: Path) -> None:
    url = place.admin.set(drivername="postgresql").render_as_string(hide_password=False)
    schema = f'"{organization.schema_name}"'
    command = [str(pg_dump), "-Fc", "-n", schema, "-f", str(folder / "dump"), "-d", url]
    subprocess.run(command, check=True)


def _pg_dump(place: Place) -> Path | None:
    """Return the program, which must be as new as the server."""
    with place.connect() as connection:
        major = connection.info.server_version // 10_000
    try:
        program = _binaries.find(major).folder / "pg_dump"
    except EmbeddedServerError:
        return None
    return program if os.access(program, os.X_OK) else None


def _measure(turns: Mapping[int, Mapping[str, _Measured]], rounds: int, subject: str) -> None:
    """Let all take turns, and print their ratios to COPY, and those of one to itself."""
    everybody = {
        f"{name}, beside {others:,}": turn
        for others, ours in turns.items()
        for name, turn in ours.items()
    }
    for turn in everybody.values():
        turn(-1)  # warm
        turn.cpu.clear()
    seconds = ground.take_turns(everybody, rounds)
    for others, ours in turns.items():
        title = f"beside {others:,} organizations"
        beside = {name: seconds[f"{name}, beside {others:,}"] for name in ours}
        ground.table(title, beside, COPY, what="organization")
        if THROWN_AWAY in ours:
            two = {name: beside[name] for name in (THROWN_AWAY, subject)}
            ground.table(f"{title}, rows thrown away", two, THROWN_AWAY, what="organization")
        if all(turn.place for turn in ours.values()):
            cpu = {name: turn.cpu for name, turn in ours.items()}
            title = f"{title}, CPU time of client and server"
            ground.table(title, cpu, COPY, what="organization")
    first, *_ = turns
    for name in (COPY, subject):
        rows = {f"beside {others:,}": seconds[f"{name}, beside {others:,}"] for others in turns}
        ground.table(f"{name}, beside more", rows, f"beside {first:,}", what="organization")
