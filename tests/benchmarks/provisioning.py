"""What a new organization takes, and what the same takes by other ways.

The baseline is the raw DDL script: role, schema, rights and tables as one message of one
transaction, sent by psycopg. All others make the same ten tables, but where said.

Every turn begins with new connections and one organization that is not measured: what a
backend keeps in its memory grows with the schemas it has seen, and would differ between those
who make as many in each turn and those who do not. What it takes to make a file may differ
between directories of a disk by so much that the baseline, again, is far from 1: then set
TMPDIR to a file system in memory.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

from alembic import command
from alembic.config import Config
from psycopg import sql
from sqlalchemy import Connection, Engine, NullPool, create_engine

from orgtenancy import Tenancy
from orgtenancy.community import community
from orgtenancy.naming import new_role_name
from orgtenancy.schemas import grants
from tests.benchmarks import fleet_ground as ground
from tests.benchmarks.django_app import client
from tests.benchmarks.fleet_ground import Place, Turn

RAW = "raw DDL script"
_ALEMBIC = Path(__file__).parent / "alembic_env"
_THREADS = 16


def main(arguments: Sequence[str]) -> None:
    """Measure, and print Markdown."""
    options = _parse(arguments)
    ground.tell_machine("sqlalchemy", "psycopg", "alembic", "django", "django-tenants")
    for before in options.organizations_before:
        print(f"\n## {before:,} organizations before\n")
        with ground.started() as server, tempfile.TemporaryDirectory() as folder:
            template = server.make("template")
            ground.fill(template, before)
            _measure(_Run(server, template, Path(folder)), options)
    print()
    ground.tell_load("at the end")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks provisioning")
    parser.add_argument(
        "--organizations-before", type=int, nargs="+", default=[0, 1_000], metavar="N"
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--each", type=int, default=3, help="organizations of a round")
    parser.add_argument("--bursts", type=int, default=20, help="of 16 claims at once")
    parser.add_argument("--command-line", action="store_true", help="also the command `alembic`")
    return parser.parse_args(arguments)


class _Run:
    """Databases with as many organizations, each for one contender."""

    def __init__(self, server: ground.Server, template: Place, folder: Path) -> None:
        self._server, self._template, self.folder = server, template, folder

    def place(self, name: str) -> Place:
        """Return a contender's database."""
        return self._server.make(name, self._template)


def _measure(run: _Run, options: argparse.Namespace) -> None:
    each = options.each
    with ExitStack() as stack:
        raw_place = run.place("raw")
        raw = stack.enter_context(_raw(raw_place, each))
        claims = stack.enter_context(closing(run.place("claims").tenancy()))
        contenders: dict[str, Turn] = {
            RAW: raw,
            # How much of a ratio is noise.
            f"{RAW}, again": stack.enter_context(_raw(run.place("raw_again"), each)),
            "provision, without spares": stack.enter_context(_ours(run.place("ours"), each)),
            "claim of a spare": _claim(claims, each),
            "create_all": stack.enter_context(_by(run.place("create_all"), each, _create_all)),
            "alembic upgrade": stack.enter_context(_by(run.place("alembic"), each, _upgrade)),
        }
        if options.command_line:
            contenders["alembic, command line"] = stack.enter_context(
                _command_line(run.place("command_line"), run.folder, each)
            )
        if ground.has_django_tenants():
            contenders |= stack.enter_context(_django(run, each))
        for contender in contenders.values():
            contender(-1)  # warm
        seconds = ground.take_turns(contenders, options.rounds)
        ground.table("one organization", seconds, RAW, what="organization")
        _measure_bursts(raw_place, raw, claims, options.bursts)


def _per_organization(number: int, each: int, make: Callable[[str], object]) -> float:
    """Make the organizations of a round, and return the seconds of one."""
    make(f"r{number + 1:04}-warm")
    names = [f"r{number + 1:04}-{n}" for n in range(each)]
    began = time.perf_counter()
    for name in names:
        make(name)
    return (time.perf_counter() - began) / each


@contextmanager
def _raw(place: Place, each: int) -> Iterator[Turn]:
    scripts = _scripts(place)

    def turn(number: int) -> float:
        with place.connect() as connection:
            # Composed outside the measured time.
            warm, *ours = [next(scripts)(connection) for _ in range(1 + each)]
            connection.execute(warm)
            began = time.perf_counter()
            for script in ours:
                connection.execute(script)
            return (time.perf_counter() - began) / each

    yield turn


def _scripts(place: Place, prefix: str = "raw") -> Iterator[Callable[[Any], bytes]]:
    """Yield what composes the script of one more schema for a connection."""
    ddl = ground.community_script()
    for number in itertools.count():
        yield partial(_script, place, schema=f"org_{prefix}-{number}", ddl=ddl)


def _script(place: Place, connection: Any, *, schema: str, ddl: str) -> bytes:
    role = new_role_name(place.name)
    return b";\n".join(
        [
            b"BEGIN",
            sql.SQL(";\n").join(_beginning(place, schema, role, connection)).as_bytes(connection),
            ddl.encode(),
            sql.SQL(";\n").join(grants.protect_versions(schema, role)).as_bytes(connection),
            b"COMMIT",
        ]
    )


def _beginning(place: Place, schema: str, role: str, driver: Any) -> list[sql.Composable]:
    version = driver.info.server_version // 10_000
    return ground.role_and_schema(schema, role, str(place.app.username), version)


@contextmanager
def _ours(place: Place, each: int) -> Iterator[Turn]:
    with closing(place.tenancy()) as tenancy:

        def turn(number: int) -> float:
            tenancy.close()  # the next call connects anew
            return _per_organization(number, each, tenancy.schemas.provision)

        yield turn


def _claim(tenancy: Tenancy, each: int) -> Turn:
    def turn(number: int) -> float:
        tenancy.close()
        tenancy.schemas.spares.fill(1 + each)
        return _per_organization(number, each, tenancy.schemas.provision)

    return turn


@contextmanager
def _by(place: Place, each: int, fill: Callable[[Connection], None]) -> Iterator[Turn]:
    """Make role, schema and rights as the raw script does, and the tables some other way."""
    engine = create_engine(place.admin)

    def make(name: str) -> None:
        with engine.begin() as connection:
            _begin_schema(place, connection, f"org_{name}")
            fill(connection)

    def turn(number: int) -> float:
        engine.dispose()
        return _per_organization(number, each, make)

    yield turn
    engine.dispose()


def _begin_schema(place: Place, connection: Connection, schema: str) -> None:
    driver = connection.connection.driver_connection
    role = new_role_name(place.name)
    grants.execute(connection, _beginning(place, schema, role, driver))


def _create_all(connection: Connection) -> None:
    community.metadata.create_all(connection)


def _upgrade(connection: Connection) -> None:
    command.upgrade(alembic_config(community.migrations, connection), "heads")


def alembic_config(migrations: Path | str, connection: Connection | None = None) -> Config:
    """Return what a host configures Alembic with."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_ALEMBIC))
    config.set_main_option("version_locations", str(migrations))
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _command_line(place: Place, folder: Path, each: int) -> Iterator[Turn]:
    url = place.admin.render_as_string(hide_password=False)
    ini = folder / "alembic.ini"
    ini.write_text(
        f"[alembic]\nscript_location = {_ALEMBIC}\nversion_locations = {community.migrations}\n"
        f"path_separator = os\nsqlalchemy.url = {url.replace('%', '%%')}\n"
    )
    engine: Engine = create_engine(place.admin, poolclass=NullPool)

    def make(name: str) -> None:
        with engine.begin() as connection:
            _begin_schema(place, connection, f"org_{name}")
        alembic = [sys.executable, "-m", "alembic", "-c", str(ini), "-x", f"schema=org_{name}"]
        subprocess.run([*alembic, "upgrade", "heads"], check=True, capture_output=True)

    def turn(number: int) -> float:
        engine.dispose()
        return _per_organization(number, each, make)

    yield turn


@contextmanager
def _django(run: _Run, each: int) -> Iterator[dict[str, Turn]]:
    """It knows no roles, and makes none."""
    migrated, cloned = run.place("django"), run.place("django_clone")
    client.write_migrations(migrated.admin, run.folder)
    for place in (migrated, cloned):
        with client.started(place.admin, run.folder) as django:
            django.ask("migrate_public")
            django.create(["base"])
    with (
        client.started(migrated.admin, run.folder) as by_migrations,
        client.started(cloned.admin, run.folder, base_schema="base") as by_clone,
    ):
        yield {
            "django-tenants": _django_turn(by_migrations, each),
            "django-tenants, clone": _django_turn(by_clone, each),
        }


def _django_turn(django: client.DjangoTenants, each: int) -> Turn:
    def turn(number: int) -> float:
        django.ask("reconnect")
        django.create([f"r{number + 1:04}_warm"])
        return django.create([f"r{number + 1:04}_{n}" for n in range(each)]) / each

    return turn


def _measure_bursts(place: Place, raw: Turn, claims: Tenancy, bursts: int) -> None:
    spares = claims.schemas.spares
    spares.fill(1)
    claims.schemas.provision("bursts-warm")
    latencies: dict[str, list[float]] = {}
    with ExitStack() as stack:
        connections = [stack.enter_context(place.connect()) for _ in range(_THREADS)]
        scripts = _scripts(place, "at-once")

        def scripts_at_once() -> list[float]:
            composed = [next(scripts)(connection) for connection in connections]
            calls = zip(connections, composed, strict=True)
            return _at_once([partial(connection.execute, script) for connection, script in calls])

        def claims_at_once(prefix: str) -> list[float]:
            names = [f"{prefix}-{n}" for n in range(_THREADS)]
            return _at_once([partial(claims.schemas.provision, name) for name in names])

        for burst in range(bursts):
            seconds = {RAW: [raw(burst)], "the same at once": scripts_at_once()}
            spares.fill(_THREADS)
            seconds["claims, with spares ready"] = claims_at_once(f"ready{burst:03}")
            spares.fill(_THREADS)
            with spares.keep(2 * _THREADS):
                seconds["claims, with a refill beside"] = claims_at_once(f"refill{burst:03}")
            for name, values in seconds.items():
                latencies.setdefault(name, []).extend(values)
    base = ground.percentile(latencies[RAW], 50)
    print(f"\n### {_THREADS} at once, threads of one process\n")
    print(f"| | median, ratio to one {RAW} | p99 | median ms | p99 ms |\n|---|---|---|---|---|")
    for name, values in latencies.items():
        median, p99 = ground.percentile(values, 50), ground.percentile(values, 99)
        print(
            f"| {name} | **{median / base:.2f}** | **{p99 / base:.2f}** "
            f"| {median * 1e3:.1f} | {p99 * 1e3:.1f} |",
            flush=True,
        )


def _at_once(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Make all calls at once, in a thread each, and return how long each of them waited."""
    barrier = Barrier(len(calls))

    def timed(call: Callable[[], object]) -> float:
        barrier.wait(60)
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(timed, calls))
