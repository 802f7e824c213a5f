"""A database of a test's own, on the server of the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from uuid import uuid4

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

from orgtenancy import OrganizationModule, PageRequest, Settings, Tenancy
from orgtenancy.naming import control_role_name, role_prefix
from tests.support.notes import notes


class FreshDatabase:
    """A database without anything in it, and questions to its catalog.

    Attributes:
        name: Its name.
        url: The app's login.
        admin_url: The owner.
    """

    def __init__(self, url: URL, admin_url: URL) -> None:
        self.name = str(url.database)
        self.url = url
        self.admin_url = admin_url

    def tenancy(
        self,
        modules: Sequence[OrganizationModule] = (notes,),
        *,
        url: URL | None = None,
        admin_url: URL | None = None,
        **settings: object,
    ) -> Tenancy:
        """Return a new tenancy on it; the caller closes it."""
        return Tenancy(
            url or self.url,
            admin_url=admin_url or self.admin_url,
            modules=modules,
            settings=Settings.model_validate({"listen": False, **settings}),
        )

    def ask(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return what the owner sees; the parameters may be one mapping."""
        given = parameters[0] if parameters and isinstance(parameters[0], dict) else parameters
        with psycopg.connect(dsn(self.admin_url), autocommit=True) as connection:
            cursor = connection.execute(query.encode(), given or None)
            return cursor.fetchall() if cursor.description else []

    def schemas(self) -> set[str]:
        """Return the names of all schemas of organizations."""
        return {
            row[0]
            for row in self.ask(r"SELECT nspname FROM pg_namespace WHERE nspname LIKE 'org\_%'")
        }

    def roles(self) -> set[str]:
        """Return the names of all roles of this database's organizations."""
        found = self.ask(
            "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s) AND rolname <> %s",
            role_prefix(self.name),
            control_role_name(self.name),
        )
        return {row[0] for row in found}

    def backends(self, query: str) -> list[int]:
        """Return the processes of this database whose last query is this one."""
        found = self.ask(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query = %s",
            query,
        )
        return [row[0] for row in found]

    def wait_until_idle(self) -> None:
        """Wait until the server has noticed that clients in a transaction are gone."""
        busy = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND state <> 'idle'"
        )
        eventually(lambda: not self.ask(busy), 60)


def dsn(url: URL) -> str:
    """Return a URL as libpq reads it."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def eventually(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until a condition holds, and fail if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def all_organizations(tenancy: Tenancy) -> list[Any]:
    """Return what `schemas.list` knows, over all its pages."""
    found: list[Any] = []
    cursor: str | None = None
    while True:
        page = tenancy.schemas.list(PageRequest(limit=100, cursor=cursor))
        found.extend(page.items)
        if (cursor := page.next_cursor) is None:
            return found


def assert_nothing_is_unknown(database: FreshDatabase, tenancy: Tenancy) -> None:
    """Compare the catalogs with what `schemas.list` knows: nothing may be there but that."""
    known = all_organizations(tenancy)
    assert database.schemas() <= {o.schema_name for o in known}
    assert database.roles() <= {o.role_name for o in known}
    for organization in known:
        if organization.is_active:
            assert organization.schema_name in database.schemas()
            assert organization.role_name in database.roles()


@contextmanager
def fresh_database(url: str, admin_url: str) -> Iterator[FreshDatabase]:
    """Make a database, and drop it afterwards together with the roles named after it."""
    name = f"test_{uuid4().hex[:12]}"
    admin = make_url(admin_url)
    database = FreshDatabase(make_url(url).set(database=name), admin.set(database=name))
    with psycopg.connect(dsn(admin), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name))
        )
    try:
        yield database
    finally:
        with psycopg.connect(dsn(admin), autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )
            roles = connection.execute(
                "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)", [role_prefix(name)]
            ).fetchall()
            for (role,) in cast("list[tuple[str]]", roles):
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
