"""Several databases that are the placements of one tenancy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql

from orgtenancy import Organization, OrganizationModule, Placement, Settings, Tenancy, weighted
from orgtenancy.schemas.placing import Policy
from tests.schemas.databases import FreshDatabase, dsn, fresh_database
from tests.support.notes import notes


@dataclass(frozen=True)
class Cells:
    """The databases, by the names of the placements."""

    databases: Mapping[str, FreshDatabase]

    @property
    def control(self) -> FreshDatabase:
        return self.databases["default"]

    def __getitem__(self, name: str) -> FreshDatabase:
        return self.databases[name]

    def placements(self, **given: Mapping[str, Any]) -> dict[str, Placement]:
        """Return what a tenancy is told of them; more of it by name."""
        return {
            name: Placement(
                url=None if one is self.control else one.url,
                admin_url=None if one is self.control else one.admin_url,
                **given.get(name, {}),
            )
            for name, one in self.databases.items()
        }

    def tenancy(
        self,
        *,
        placements: Mapping[str, Placement] | None = None,
        place: Policy = weighted,
        modules: Sequence[OrganizationModule] = (notes,),
        **settings: object,
    ) -> Tenancy:
        """Return a new tenancy on all of them; the caller closes it."""
        return Tenancy(
            self.control.url,
            admin_url=self.control.admin_url,
            modules=modules,
            settings=Settings.model_validate({"listen": False, **settings}),
            placements=self.placements() if placements is None else placements,
            place=place,
        )

    def where(self, organization_id: str) -> list[str]:
        """Return which registries have an organization."""
        query = "SELECT id FROM orgtenancy.organizations WHERE id = %s"
        return [name for name, one in self.databases.items() if one.ask(query, organization_id)]

    def location(self, organization_id: str) -> str | None:
        """Return what the control server says of where an organization is."""
        query = "SELECT placement FROM orgtenancy.locations WHERE organization_id = %s"
        found = self.control.ask(query, organization_id)
        return str(found[0][0]) if found else None


@contextmanager
def fresh_cells(*servers: tuple[str, str, str]) -> Iterator[Cells]:
    """Make a database for each (name, app's URL, owner's URL), the first for `default`."""
    with ExitStack() as stack:
        yield Cells(
            {
                name: stack.enter_context(fresh_database(url, admin_url))
                for name, url, admin_url in servers
            }
        )


@contextmanager
def down(database: FreshDatabase) -> Iterator[None]:
    """Let a database take no connections, and end those that it has."""
    name = sql.Identifier(database.name)
    maintenance = dsn(database.admin_url.set(database="postgres"))

    def allow(yes: bool) -> None:
        with psycopg.connect(maintenance, autocommit=True) as connection:
            connection.execute(
                sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(name, sql.Literal(yes))
            )
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                [database.name],
            )

    allow(False)
    try:
        yield
    finally:
        allow(True)


def new_id() -> str:
    return f"t{uuid4().hex[:12]}"


def write(tenancy: Tenancy, organization: Organization | str, note: int = 1) -> None:
    """Write one row, as a request does."""
    with tenancy.session(organization) as session:
        session.connection().exec_driver_sql(
            "INSERT INTO notes (id, body) VALUES (%s, '')", (note,)
        )


def count(tenancy: Tenancy, organization: Organization | str) -> int:
    """Return how many rows a request sees."""
    with tenancy.session(organization) as session:
        found = session.connection().exec_driver_sql("SELECT count(*) FROM notes").scalar_one()
    return int(found)
