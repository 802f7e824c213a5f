"""A database of a Citus cluster: `ORGTENANCY_TEST_CITUS_URL`, the coordinator's superuser.

The cluster's nodes must be reachable from here under the addresses they know each other by, and
let that superuser, and the logins that are made here, in without a password.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import URL, make_url

from orgtenancy import Tenancy
from orgtenancy.community import community
from orgtenancy.naming import role_prefix
from tests.schemas.databases import FreshDatabase, dsn
from tests.support.notes import notes

VARIABLE = "ORGTENANCY_TEST_CITUS_URL"


@dataclass(frozen=True)
class Node:
    """A node of the cluster."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class CitusDatabase(FreshDatabase):
    """A database of the coordinator, with its workers."""

    def __init__(self, url: URL, admin_url: URL, workers: list[Node]) -> None:
        super().__init__(url, admin_url)
        self.workers = workers

    def node_of(self, schema: str) -> str:
        """Return which node has the tables of a schema."""
        query = """
            SELECT DISTINCT nodename || ':' || nodeport FROM citus_shards
            JOIN pg_class c ON c.oid = table_name::oid
            WHERE relnamespace = to_regnamespace(%s)
        """
        (found,) = self.ask(query, f'"{schema}"')
        return str(found[0])

    def is_distributed(self, schema: str) -> bool:
        query = "SELECT EXISTS (SELECT FROM pg_dist_schema WHERE schemaid = to_regnamespace(%s))"
        return bool(self.ask(query, f'"{schema}"')[0][0])


@pytest.fixture(scope="session")
def cluster() -> tuple[URL, list[Node]]:
    """The coordinator's superuser, and the workers; skipped where there is no cluster."""
    given = os.environ.get(VARIABLE)
    if not given:
        pytest.skip(f"not run: {VARIABLE} names no Citus cluster")
    url = make_url(given).set(drivername="postgresql+psycopg")
    with psycopg.connect(dsn(url), autocommit=True) as connection:
        rows = connection.execute(
            "SELECT nodename, nodeport FROM pg_dist_node "
            "WHERE groupid > 0 AND noderole = 'primary' ORDER BY nodeid"
        ).fetchall()
    return url, [Node(host, port) for host, port in rows]


@contextmanager
def citus_database(superuser: URL, workers: list[Node]) -> Iterator[CitusDatabase]:
    """Make a database on every node, with the extension, an owner and an app's login."""
    name = f"test_{uuid4().hex[:12]}"
    owner, app = f"owner_{name}", f"app_{name}"
    nodes = [superuser, *(superuser.set(host=one.host, port=one.port) for one in workers)]
    with ExitStack() as stack:
        stack.callback(_drop_roles, nodes, name, [owner, app])
        for node in nodes:
            _on(node, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            stack.callback(
                _on, node, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )
            _on(node.set(database=name), sql.SQL("CREATE EXTENSION citus"))
        here = superuser.set(database=name)
        with psycopg.connect(dsn(here), autocommit=True) as connection:
            connection.execute(
                "SELECT citus_set_coordinator_host(%s, %s)", [superuser.host, superuser.port]
            )
            for one in workers:
                connection.execute("SELECT citus_add_node(%s, %s)", [one.host, one.port])
            for statement in (
                sql.SQL("CREATE ROLE {} LOGIN SUPERUSER").format(sql.Identifier(owner)),
                sql.SQL("CREATE ROLE {} LOGIN NOINHERIT").format(sql.Identifier(app)),
            ):
                connection.execute(statement)
        yield CitusDatabase(
            here.set(username=app, password=None), here.set(username=owner, password=None), workers
        )


@pytest.fixture(scope="package")
def citus(cluster: tuple[URL, list[Node]]) -> Iterator[CitusDatabase]:
    """A database of the cluster."""
    with citus_database(*cluster) as database:
        yield database


@pytest.fixture
def fresh_citus(cluster: tuple[URL, list[Node]]) -> Iterator[CitusDatabase]:
    """Another one, with nothing in it."""
    with citus_database(*cluster) as database:
        yield database


@pytest.fixture
def tenancy(citus: CitusDatabase) -> Iterator[Tenancy]:
    """An installed tenancy with the community, on the coordinator."""
    with citus.tenancy([community, notes]) as tenancy:
        tenancy.install()
        yield tenancy


def _on(url: URL, statement: sql.Composed | sql.SQL) -> None:
    with psycopg.connect(dsn(url), autocommit=True) as connection:
        connection.execute("SET citus.enable_create_database_propagation TO off")
        connection.execute(statement)


def _drop_roles(nodes: list[URL], name: str, logins: list[str]) -> None:
    for node in nodes:
        with psycopg.connect(dsn(node), autocommit=True) as connection:
            connection.execute("SET citus.enable_ddl_propagation TO off")
            rows = connection.execute(
                "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s) OR rolname = ANY(%s)",
                [role_prefix(name), logins],
            ).fetchall()
            for (role,) in rows:
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
