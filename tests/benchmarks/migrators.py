"""The ways to migrate many schemas that `migration` compares.

Each works in a database of its own, and each turn is an upgrade by one more revision.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from alembic import command
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, create_engine

from orgtenancy.community import community
from orgtenancy.schemas.fleet.jobs import JobOptions
from orgtenancy.schemas.revisions import Revisions
from tests.benchmarks import fleet_ground as ground
from tests.benchmarks.django_app import client
from tests.benchmarks.fleet_ground import Place, Turn
from tests.benchmarks.provisioning import alembic_config


class Fleet:
    """A template with schemas, and the revisions to come."""

    def __init__(self, server: ground.Server, steps: int, folder: Path) -> None:
        self.server, self.steps, self.folder = server, steps, folder
        revisions = folder / "revisions"
        revisions.mkdir()
        self.module = ground.write_steps(revisions, steps)
        self.revisions = Revisions([self.module])
        self.template = server.make("template")

    def place(self, name: str) -> Place:
        """Return a copy of the template."""
        return self.server.make(name, self.template)


class Peer:
    """A contender that remembers how far it is."""

    step = 0

    def turn(self, workers: int) -> Turn | None:
        """Return what migrates by one revision and gives the seconds of one schema."""
        raise NotImplementedError

    def no_op(self) -> float:
        """Migrate to where all schemas are, and return the seconds of one schema."""
        raise NotImplementedError


class RawLoop:
    def __init__(self, fleet: Fleet, place: Place) -> None:
        self._fleet, self.place, self._schemas = fleet, place, place.schemas()
        self._first = Revisions([community]).heads["community"]
        self.step = 0

    def turn(self, workers: int) -> Turn:
        return lambda number: self.migrate(workers)

    def migrate(self, workers: int) -> float:
        revisions = self._fleet.revisions
        before = ground.step_id(self.step) if self.step else self._first
        (stage,) = revisions.path(frozenset({before}), ground.step_id(self.step + 1)).stages
        assert stage.script is not None
        ddl = ";\n".join(stage.script).encode()
        waiting = iter(self._schemas)

        def work(number: int) -> None:
            with self.place.connect() as connection:
                for schema in waiting:
                    connection.execute(_message(schema, ddl))

        self.step += 1
        began = time.perf_counter()
        with ThreadPoolExecutor(workers) as threads:
            list(threads.map(work, range(workers)))
        return (time.perf_counter() - began) / len(self._schemas)


def _message(schema: str, ddl: bytes) -> bytes:
    path = sql.SQL("SET LOCAL search_path TO {}, pg_temp").format(sql.Identifier(schema))
    return b"BEGIN;\n" + path.as_bytes(None) + b";\n" + ddl + b";\nCOMMIT"


class Ours(Peer):
    def __init__(self, fleet: Fleet, place: Place) -> None:
        self._fleet, self.place = fleet, place
        self._number = len(place.schemas())

    def turn(self, workers: int) -> Turn:
        return lambda number: self.migrate(workers)

    def migrate(self, workers: int) -> float:
        self.step += 1
        return self._run(workers)

    def no_op(self) -> float:
        return self._run(1)

    def _run(self, workers: int) -> float:
        # A tenancy of its own, as in a release: revisions are loaded and compiled anew.
        with closing(self.place.tenancy([self._fleet.module])) as tenancy:
            began = time.perf_counter()
            tenancy.schemas.fleet.migrate(
                ground.step_id(self.step), options=JobOptions(workers=workers)
            )
            return (time.perf_counter() - began) / self._number


class AlembicPeer(Peer):
    """Alembic, schema by schema, each in a transaction with the schema as its path."""

    def __init__(
        self,
        fleet: Fleet,
        name: str,
        number: int,
        upgrade: Callable[[Connection, Path, str], None],
    ) -> None:
        self._migrations = fleet.module.migrations
        place = fleet.place(f"alembic_{name}")
        self._schemas = place.schemas()[:number]
        self._engine = create_engine(place.admin)
        self._upgrade = upgrade

    def turn(self, workers: int) -> Turn | None:
        def turn(number: int) -> float:
            self.step += 1
            return self.no_op()

        return turn if workers == 1 else None

    def no_op(self) -> float:
        began = time.perf_counter()
        for schema in self._schemas:
            with self._engine.begin() as connection:
                enter(connection, schema)
                self._upgrade(connection, self._migrations, ground.step_id(self.step))
        return (time.perf_counter() - began) / len(self._schemas)


def enter(connection: Connection, schema: str) -> None:
    """Make a schema the path of the transaction."""
    statement = sql.SQL("SET LOCAL search_path TO {}, pg_temp").format(sql.Identifier(schema))
    connection.exec_driver_sql(statement.as_string(None))


_directories: dict[Path, ScriptDirectory] = {}


def by_context(connection: Connection, migrations: Path, target: str) -> None:
    """The best that Alembic's own interface allows: the revisions are loaded once."""
    directory = _directories.get(migrations)
    if directory is None:
        directory = _directories[migrations] = ScriptDirectory.from_config(
            alembic_config(migrations)
        )
    found = directory
    context = MigrationContext.configure(
        connection, opts={"fn": lambda heads, context: found._upgrade_revs(target, heads)}
    )
    with Operations.context(context):
        context.run_migrations()


def by_command(connection: Connection, migrations: Path, target: str) -> None:
    command.upgrade(alembic_config(migrations, connection), target)


@contextmanager
def django_tenants(fleet: Fleet, number: int) -> Iterator[DjangoPeer]:
    place = fleet.place("django")
    # The tenants are made before the steps are there to be applied.
    first, all_steps = fleet.folder / "first", fleet.folder / "all"
    first.mkdir()
    all_steps.mkdir()
    client.write_migrations(place.admin, first)
    names = client.write_migrations(place.admin, all_steps, fleet.steps)
    with client.started(place.admin, first) as django:
        django.ask("migrate_public")
        django.create([f"peer_{n:04}" for n in range(number)])
    with client.started(place.admin, all_steps) as django:
        yield DjangoPeer(django, names, number)


class DjangoPeer(Peer):
    """`migrate_schemas`: the standard executor, and processes where several work."""

    def __init__(self, django: client.DjangoTenants, names: list[str], number: int) -> None:
        self._django, self._names, self._number = django, names, number

    def turn(self, workers: int) -> Turn:
        def turn(number: int) -> float:
            self.step += 1
            return self._run(workers)

        return turn

    def no_op(self) -> float:
        return self._run(1)

    def _run(self, workers: int) -> float:
        executor = "standard" if workers == 1 else "multiprocessing"
        target = self._names[self.step]
        return self._django.migrate(target, executor=executor, workers=workers) / self._number
