"""The server of the benchmarks of provisioning, migration and drift.

Each contender works in a database of its own, all copies of one with the same schemas: the
work of one leaves no trace in the catalogs of another, and all catalogs have the same size.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import os
import platform
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

from orgtenancy import OrganizationModule, Settings, Tenancy, embedded
from orgtenancy.community import community
from orgtenancy.schemas import grants
from orgtenancy.schemas.revisions import Revisions
from tests.benchmarks.ground import SERVER_SETTINGS, connect
from tests.benchmarks.harness import Spread

_SETTINGS = {**SERVER_SETTINGS, "max_locks_per_transaction": "1024"}

#: Takes a number of the round, and returns its seconds.
Turn: TypeAlias = Callable[[int], float]
Seconds: TypeAlias = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Place:
    """A database of a contender's own.

    Attributes:
        app: The app's login.
        admin: The owner.
    """

    app: URL
    admin: URL

    @property
    def name(self) -> str:
        """The database's name."""
        return str(self.admin.database)

    def tenancy(self, modules: Sequence[OrganizationModule] = (community,)) -> Tenancy:
        """Return a new tenancy; the caller closes it."""
        settings = Settings(listen=False)
        return Tenancy(self.app, admin_url=self.admin, modules=modules, settings=settings)

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """Open a connection of the owner, in autocommit."""
        return connect(self.admin)

    def schemas(self) -> list[str]:
        """Return the schemas of the organizations."""
        with self.connect() as connection:
            rows = connection.execute("SELECT schema_name FROM orgtenancy.organizations ORDER BY 1")
            return [str(name) for (name,) in rows]


class Server:
    """Makes databases. Made by `started`."""

    def __init__(self, app: URL, admin: URL) -> None:
        self._app, self._admin = app, admin

    def make(self, name: str, template: Place | None = None) -> Place:
        """Make a database, a copy of another one if given, to which nobody is connected."""
        with connect(self._admin) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                    sql.Identifier(name),
                    sql.Identifier(template.name if template else "template0"),
                )
            )
        place = Place(self._app.set(database=name), self._admin.set(database=name))
        # A control role is named after its database, and a login's rights belong to one.
        with contextlib.closing(place.tenancy()) as tenancy:
            tenancy.install()
        return place

    def drop(self, place: Place) -> None:
        """Drop a database."""
        with connect(self._admin) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(place.name))
            )


@contextmanager
def started(*, durable: bool = False) -> Iterator[Server]:
    """Start a server that is private, temporary, and made to survive a crash only if asked."""
    if os.environ.get("DATABASE_URL"):
        raise SystemExit("The benchmark starts a server of its own: unset DATABASE_URL.")
    settings = {**_SETTINGS, "fsync": "on"} if durable else _SETTINGS
    with embedded.server(settings=settings) as server:
        with connect(make_url(server.admin_url)) as connection:
            version = connection.info.server_version
        print(f"PostgreSQL {version // 10_000}.{version % 10_000}; ", end="")
        print(", ".join(f"{name} {value}" for name, value in settings.items()) + ".", flush=True)
        yield Server(make_url(server.url), make_url(server.admin_url))


def fill(place: Place, number: int) -> None:
    """Provision organizations until there are so many."""
    with contextlib.closing(place.tenancy()) as tenancy, ThreadPoolExecutor(2) as threads:
        there = len(place.schemas())
        names = [f"b{n:05}" for n in range(there, number)]
        for done, _ in enumerate(threads.map(tenancy.schemas.provision, names), there + 1):
            if done % 250 == 0 or done == number:
                print(f"provisioned {done} of {number}", file=sys.stderr, flush=True)
    with place.connect() as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def role_and_schema(schema: str, role: str, login: str, version: int) -> list[sql.Composable]:
    """Return the statements that make an organization's role and its empty schema."""
    return [
        *grants.create_role(role, login, version),
        *grants.create_schema(schema, role),
        *grants.enter_schema(schema, None),
    ]


def community_script() -> str:
    """Return the DDL of the community's tables, as it is sent for each schema."""
    (stage,) = Revisions([community]).fresh_path().stages
    assert stage.script is not None
    return ";\n".join(stage.script)


def write_steps(folder: Path, number: int) -> OrganizationModule:
    """Return the community with more revisions, all of the same shape: see `step_id`."""
    for path in community.migrations.glob("*.py"):
        (folder / path.name).write_text(path.read_text())
    before = Revisions([community]).heads["community"]
    for step in range(1, number + 1):
        text = _STEP.format(before=before, revision=step_id(step), step=step)
        (folder / f"{step_id(step)}.py").write_text(text)
        before = step_id(step)
    return community.model_copy(update={"migrations": folder})


def step_id(step: int) -> str:
    """Return the id of a revision that `write_steps` wrote."""
    return f"step_{step:04}"


_STEP = '''\
"""A nullable column, an index and a table."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("posts", sa.Column("step_{step}", sa.Text(), nullable=True))
    op.create_index("ix_posts_step_{step}", "posts", ["step_{step}"])
    op.create_table(
        "step_{step}",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
    )


def downgrade() -> None:
    op.drop_table("step_{step}")
    op.drop_column("posts", "step_{step}")
'''


def take_turns(contenders: Mapping[str, Turn], rounds: int) -> dict[str, list[float]]:
    """Let the contenders do the same work in each round, in another order each time."""
    order = random.Random(rounds)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    gc.collect()
    gc.freeze()
    try:
        for number in range(rounds):
            for name in order.sample(list(contenders), len(contenders)):
                seconds[name].append(contenders[name](number))
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    finally:
        gc.unfreeze()
    return seconds


def table(title: str, seconds: Seconds, baseline: str, *, what: str) -> None:
    """Print the ratios to the baseline, made within a round, and the medians in ms."""
    print(f"\n### {title}\n\n| | ratio | ms per {what} |\n|---|---|---:|")
    for name, values in seconds.items():
        ratio = "1"
        if name != baseline:
            pairs = zip(values, seconds[baseline], strict=True)
            ratio = str(Spread.of([ours / theirs for ours, theirs in pairs]))
        spread = Spread.of([value * 1e3 for value in values])
        print(f"| {name} | {ratio} | {spread.median:.2f} ({spread.low:.2f}-{spread.high:.2f}) |")
    sys.stdout.flush()


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def tell_machine(*packages: str) -> None:
    """Print versions, and how busy the machine is."""
    versions = ", ".join(f"{name} {_version(name)}" for name in packages)
    print(f"Python {platform.python_version()}, {versions}.")
    tell_load("at the beginning")


def tell_load(when: str) -> None:
    """Print how busy the machine is."""
    print(f"Load of the machine {when}: {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs.")
    sys.stdout.flush()


def has_django_tenants() -> bool:
    """Return whether django-tenants is installed."""
    return _version("django-tenants") != "not installed"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
