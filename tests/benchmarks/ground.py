"""The server and the organizations that the request path is measured on.

All contenders work in the same schemas of the same database, which `SchemaManager` made,
so that PostgreSQL's catalogs are the same for each of them. Only the login differs: a
library that takes no role works as a login with rights on every schema.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

from orgtenancy import Organization, Settings, Tenancy, embedded
from orgtenancy.community import community
from tests.benchmarks import rls

#: The login of those that take no role, and its password on our own private server.
PEER = "bench_peer"
_PASSWORD = "bench"
#: The organization that stands for an application without tenancy: it has all rows.
PLAIN = "plain"
#: People in each organization.
ROWS = 20
_BATCH = 25

T = TypeVar("T")

#: Those of a temporary server, and what is more like one that keeps its data. Nothing
#: is vacuumed in the middle of a measurement.
SERVER_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_connections": "200",
    "max_locks_per_transaction": "512",
    "autovacuum": "off",
}


@dataclass(frozen=True)
class Ground:
    """Where to connect, and what is there.

    Attributes:
        app: The app's login, which takes the role of an organization.
        peer: A login with rights on every schema, and that of `plain` as its path.
        tenants: The login that sqlalchemy-tenants works as.
        admin: The owner.
        organizations: All of them but `plain`.
    """

    app: URL
    peer: URL
    tenants: URL
    admin: URL
    organizations: Sequence[Organization]

    def through(self, port: int) -> Ground:
        """Return the same with a proxy on the loopback address before the server."""
        return replace(
            self,
            app=_through(self.app, port),
            peer=_through(self.peer, port),
            tenants=_through(self.tenants, port),
        )


def organization_id(organization: int) -> str:
    """Return the id of an organization."""
    return f"b{organization:05d}"


def user_id(organization: int, row: int) -> str:
    """Return the key of a person."""
    return f"user-{organization:05d}-{row:03d}"


@contextmanager
def prepared(number: int, directory: Path | None) -> Iterator[tuple[Ground, str]]:
    """Start a server with so many organizations; also yield where it listens."""
    if os.environ.get("DATABASE_URL"):
        raise SystemExit(
            "The benchmark starts a server of its own, to see its CPU time: unset DATABASE_URL."
        )
    with embedded.server(directory, settings=SERVER_SETTINGS) as server:
        app, admin = make_url(server.url), make_url(server.admin_url)
        tenancy = Tenancy(app, admin_url=admin, modules=[community], settings=Settings())
        try:
            tenancy.install()
            names = [PLAIN, *(organization_id(n) for n in range(number))]
            with ThreadPoolExecutor(2) as threads:
                made = threads.map(lambda name: tenancy.schemas.provision(name), names)
                plain, *organizations = _with_progress(made, len(names))
        finally:
            tenancy.close()
        with connect(admin) as connection:
            _make_login(connection, str(admin.database), plain.schema_name)
            _grant(connection, [plain, *organizations])
            _fill(connection, plain, organizations)
            if has_sqlalchemy_tenants():
                rls.prepare(connection, _PASSWORD, plain, organizations)
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")
        peer = app.set(username=PEER, password=_PASSWORD)
        tenants = app.set(username=rls.LOGIN, password=_PASSWORD)
        yield Ground(app, peer, tenants, admin, organizations), _address(app)


def has_sqlalchemy_tenants() -> bool:
    """Return whether sqlalchemy-tenants is installed."""
    return importlib.util.find_spec("sqlalchemy_tenants") is not None


def connect(url: URL) -> psycopg.Connection[tuple[object, ...]]:
    """Open a connection of psycopg, in autocommit."""
    return psycopg.connect(
        url.set(drivername="postgresql").render_as_string(hide_password=False), autocommit=True
    )


def _with_progress(made: Iterator[Organization], number: int) -> list[Organization]:
    organizations = []
    for organization in made:
        organizations.append(organization)
        if len(organizations) % 100 == 0 or len(organizations) == number:
            print(f"provisioned {len(organizations)} of {number}", file=sys.stderr, flush=True)
    return organizations


def _make_login(
    connection: psycopg.Connection[tuple[object, ...]], database: str, schema: str
) -> None:
    known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [PEER]).fetchone()
    if known is None:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(PEER), _PASSWORD)
        )
    connection.execute(
        sql.SQL("ALTER ROLE {} SET search_path TO {}, pg_temp").format(
            sql.Identifier(PEER), sql.Identifier(schema)
        )
    )
    connection.execute(
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
            sql.Identifier(database), sql.Identifier(PEER)
        )
    )


def _grant(
    connection: psycopg.Connection[tuple[object, ...]], organizations: Sequence[Organization]
) -> None:
    grant = (
        "GRANT USAGE ON SCHEMA {0} TO {1}; "
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {0} TO {1}"
    )
    for batch in _batches(organizations):
        connection.execute(
            sql.SQL("; ").join(
                sql.SQL(grant).format(sql.Identifier(o.schema_name), sql.Identifier(PEER))
                for o in batch
            )
        )


def _fill(
    connection: psycopg.Connection[tuple[object, ...]],
    plain: Organization,
    organizations: Sequence[Organization],
) -> None:
    insert = (
        "INSERT INTO {}.user_profiles (user_id, username, display_name, bio) "
        "SELECT format('user-%s-%s', to_char(o, 'FM00000'), to_char(n, 'FM000')), "
        "format('name-%s-%s', o, n), 'A person', 'Nothing yet' "
        "FROM generate_series({}, {}) o, generate_series(0, {}) n ON CONFLICT DO NOTHING"
    )

    def people(schema: str, first: int, last: int) -> sql.Composed:
        return sql.SQL(insert).format(sql.Identifier(schema), first, last, ROWS - 1)

    connection.execute(people(plain.schema_name, 0, len(organizations) - 1))
    for batch in _batches(list(enumerate(organizations))):
        connection.execute(
            sql.SQL("; ").join(people(o.schema_name, number, number) for number, o in batch)
        )


def _batches(things: Sequence[T]) -> Iterator[list[T]]:
    iterator = iter(things)
    while batch := list(itertools.islice(iterator, _BATCH)):
        yield batch


def _address(url: URL) -> str:
    host, port = url.query.get("host", url.host), url.query.get("port", url.port)
    return f"{host}/.s.PGSQL.{port}" if str(host).startswith("/") else f"{host}:{port}"


def _through(url: URL, port: int) -> URL:
    return url.set(host="127.0.0.1", port=port).difference_update_query(["host", "port"])
