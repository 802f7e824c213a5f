"""What a server with thousands of organizations costs, size by size.

A server that keeps its data, with settings as a host would have them, is filled from one
size to the next; at each size everything that is known to grow is measured once. These are
no ratios: they say at which size which limit is met.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

from orgtenancy import Organization, Tenancy, embedded
from orgtenancy.community import community
from orgtenancy.embedded import _binaries
from orgtenancy.naming import new_role_name

SIZES = (100, 1_000, 2_500, 5_000)

#: As a host would have them, but for the locks, which 5,000 organizations ask for.
SETTINGS = {"max_connections": "100", "max_locks_per_transaction": "64", "shared_buffers": "256MB"}

_SERVE = """
import sys
from orgtenancy import embedded
folder, *pairs = sys.argv[1:]
with embedded.server(folder, settings=dict(pair.split("=") for pair in pairs)):
    print("ready", flush=True)
    sys.stdin.read()
"""


def main(options: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks capacity")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    given = parser.parse_args(options)
    if os.environ.get("DATABASE_URL"):
        raise SystemExit("The benchmark starts a server of its own: unset DATABASE_URL.")
    rows: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="orgtenancy-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for size in sorted(given.sizes):
            for line, value in _measure(folder / "server", size):
                rows.setdefault(line, []).append(value)
                print(f"{size}: {line}: {value}", file=sys.stderr, flush=True)
    print("| | " + " | ".join(f"{size:,}" for size in sorted(given.sizes)) + " |")
    print("|---|" + "---:|" * len(given.sizes))
    for line, values in rows.items():
        print(f"| {line} | {' | '.join(values)} |")


def _measure(folder: Path, size: int) -> Iterator[tuple[str, str]]:
    with embedded.server(folder, settings=SETTINGS) as server:
        app, admin = make_url(server.url), make_url(server.admin_url)
        with Tenancy(app, admin_url=admin, modules=[community]) as tenancy:
            tenancy.install()
            organizations = _fill(tenancy, size)
            with _connect(admin) as connection:
                connection.execute("VACUUM ANALYZE")
                connection.execute("CHECKPOINT")
                yield from _catalog(connection, folder)
            yield from _times(tenancy)
            yield from _roles(app, admin, organizations[-1])
            yield from _memory(app, organizations)
            yield from _dumps(admin, organizations[0])
    for method in ("fsync", "syncfs"):
        yield f"restart after a crash, {method}", f"{_restart(folder, method):.1f} s"


def _fill(tenancy: Tenancy, size: int) -> list[Organization]:
    names = [f"c{number:05d}" for number in range(size)]
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(lambda name: tenancy.schemas.provision(name), names))


def _catalog(connection: psycopg.Connection[Any], folder: Path) -> Iterator[tuple[str, str]]:
    row = connection.execute(
        "SELECT pg_database_size(current_database()), (SELECT count(*) FROM pg_class), "
        "(SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class "
        "WHERE relnamespace = 11 AND relkind = 'r')"
    ).fetchone()
    assert row is not None
    files = sum(1 for path in (folder / "data" / "base").rglob("*") if path.is_file())
    yield "database", f"{row[0] / 1e6:,.0f} MB"
    yield "of it, catalogs", f"{row[2] / 1e6:,.0f} MB"
    yield "relations", f"{row[1]:,}"
    yield "files", f"{files:,}"


def _times(tenancy: Tenancy) -> Iterator[tuple[str, str]]:
    schemas = tenancy.schemas
    seconds = [_timed(partial(schemas.provision, f"n{time.time_ns()}")) for _ in range(15)]
    yield "provision without a spare", f"{statistics.median(seconds) * 1e3:.0f} ms"
    schemas.spares.fill(15)
    seconds = [_timed(partial(schemas.provision, f"s{time.time_ns()}")) for _ in range(15)]
    yield "claim of a spare", f"{statistics.median(seconds) * 1e3:.1f} ms"
    yield "status of the fleet", f"{_timed(schemas.status) * 1e3:.0f} ms"
    yield "migration with nothing to do", f"{_timed(schemas.migrate) * 1e3:.0f} ms"
    yield "drift check", f"{_timed(schemas.drift):.1f} s"


def _roles(app: URL, admin: URL, organization: Organization) -> Iterator[tuple[str, str]]:
    """Measure `SET LOCAL ROLE`, in the steady state and after roles have changed."""
    enter = sql.SQL("BEGIN; SET LOCAL ROLE {}").format(sql.Identifier(organization.role_name))
    with _connect(admin) as owner, _connect(app) as connection:

        def switch() -> None:
            connection.execute(enter)
            connection.execute("COMMIT")

        switch()
        steady = [_timed(switch) for _ in range(50)]
        changed = []
        for _ in range(5):
            role = sql.Identifier(new_role_name(str(admin.database)))
            owner.execute(sql.SQL("CREATE ROLE {}").format(role))
            owner.execute(sql.SQL("GRANT {} TO {}").format(role, sql.Identifier(str(app.username))))
            changed.append(_timed(switch))
            owner.execute(sql.SQL("DROP ROLE {}").format(role))
            switch()
    yield "taking a role", f"{statistics.median(steady) * 1e3:.2f} ms"
    yield "the same, after any role was made", f"{statistics.median(changed) * 1e3:.1f} ms"


def _memory(app: URL, organizations: Sequence[Organization]) -> Iterator[tuple[str, str]]:
    """Measure a backend that has read every table of many organizations."""
    tables = [sql.Identifier(name) for name in community.metadata.tables]
    for limit in (300, 1_000):
        with _connect(app) as connection:
            for organization in organizations[:limit]:
                connection.execute(
                    sql.SQL("BEGIN; SET LOCAL ROLE {}; SET LOCAL search_path TO {}").format(
                        sql.Identifier(organization.role_name),
                        sql.Identifier(organization.schema_name),
                    )
                )
                for table in tables:
                    connection.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(table))
                connection.execute("COMMIT")
            megabytes = _private_memory(connection.info.backend_pid) / 1e6
        touched = min(limit, len(organizations))
        yield (
            f"a backend that served {limit:,}",
            f"{megabytes:.0f} MB" + (f" ({touched})" if touched < limit else ""),
        )


def _private_memory(process: int) -> int:
    # Not the private pages of `smaps`: a page of the shared buffers that nobody else has
    # touched counts as one.
    lines = Path("/proc", str(process), "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def _dumps(admin: URL, organization: Organization) -> Iterator[tuple[str, str]]:
    """Measure pg_dump of one organization and of the database, with these settings."""
    yield "pg_dump of one organization", _dump(admin, "-n", organization.schema_name)
    yield "pg_dump of the database", _dump(admin)


def _dump(admin: URL, *arguments: str) -> str:
    program = _binaries.find(None).folder / "pg_dump"
    url = admin.set(drivername="postgresql").render_as_string(hide_password=False)
    started = time.perf_counter()
    result = subprocess.run(
        [program, "-d", url, "-f", os.devnull, *arguments], capture_output=True, text=True
    )
    if result.returncode:
        return "fails: " + result.stderr.strip().splitlines()[0].partition("ERROR:")[2].strip()
    return f"{time.perf_counter() - started:.1f} s"


def _restart(folder: Path, method: str) -> float:
    """Kill the server, and return the seconds that its next start takes."""
    _with_server(folder, {}, lambda: _kill_server(folder))
    started = time.perf_counter()
    _with_server(folder, {"recovery_init_sync_method": method}, lambda: None)
    return time.perf_counter() - started


def _with_server(folder: Path, more: dict[str, str], work: Callable[[], None]) -> None:
    pairs = [f"{name}={value}" for name, value in {**SETTINGS, **more}.items()]
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(folder), *pairs],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            work()
        finally:
            if process.stdin is not None:
                process.stdin.close()


def _kill_server(folder: Path) -> None:
    first_line = (folder / "data" / "postmaster.pid").read_text().splitlines()[0]
    os.kill(int(first_line), signal.SIGKILL)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@contextmanager
def _connect(url: URL) -> Iterator[psycopg.Connection[Any]]:
    dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection
