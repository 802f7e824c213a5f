"""A host's app and its functions as subjects: they work on the host's own `Tenancy`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from psycopg import sql
from sqlalchemy import Connection, text

from orgtenancy import Tenancy
from orgtenancy.naming import schema_name
from orgtenancy.schemas.revisions.stamping import VERSION_TABLE
from orgtenancy.testing.isolation.apps.access import AppAccess
from orgtenancy.testing.isolation.apps.holding import end_work_in
from orgtenancy.testing.isolation.apps.pools import pools_of
from orgtenancy.testing.isolation.apps.requests import Requests
from orgtenancy.testing.isolation.apps.under_proof import AppUnderProof, Plant
from orgtenancy.testing.isolation.subject import Access, AsyncAccess
from orgtenancy.testing.isolation.tenancy_subject import TenancySubject, _Access, _AsyncAccess

_RELATIONS = text(
    "SELECT c.relname FROM pg_class c WHERE c.relnamespace = to_regnamespace(quote_ident(:schema))"
    " AND c.relkind = ANY(:kinds) AND c.relispopulated ORDER BY c.relname"
)
_TABLES = ["r", "p"]
_MATERIALIZED_VIEW = "m"


class HostSubject(TenancySubject):
    """A host's `Tenancy` with its own pools, which are made small, and all of its tables.

    Args:
        tenancy: It is the one that the host's code works on.
        plant: Writes something with a mark into an organization.
        name: What the report calls it.
    """

    def __init__(self, tenancy: Tenancy, *, plant: Plant | None, name: str) -> None:
        super().__init__(tenancy, name=name)
        self.tenancy = tenancy
        self._plant_mark = plant

    @contextmanager
    def prepared(self, marks: dict[str, str]) -> Iterator[None]:
        """Make the organizations, and let the host write into them."""
        with pools_of(self.tenancy, 2), super().prepared(marks):
            try:
                yield
            finally:
                for organization in marks:
                    end_work_in(self.tenancy, organization)

    @contextmanager
    def opened(self, pool_size: int) -> Iterator[Access]:
        """Give the tenancy so many connections."""
        with pools_of(self.tenancy, pool_size):
            yield _Access(self.tenancy)

    @asynccontextmanager
    async def opened_async(self, pool_size: int) -> AsyncIterator[AsyncAccess]:
        """Give the tenancy so many connections, in the running event loop."""
        with pools_of(self.tenancy, pool_size):
            try:
                yield _AsyncAccess(self.tenancy)
            finally:
                await self.tenancy._database.aclose()

    def stored(self, organization: str) -> list[str]:
        """Return all rows that are stored in an organization's schema, read by the owner."""
        schema = schema_name(organization)
        rows = super().stored(organization)
        with self.tenancy._database.admin_engine.begin() as connection:
            for relation in _relations(connection, schema, [*_TABLES, _MATERIALIZED_VIEW]):
                name = sql.Identifier(schema, relation)
                statement = sql.SQL("SELECT t::text FROM {} AS t").format(name)
                found = connection.exec_driver_sql(statement.as_string(None))
                rows += [row for (row,) in found]
        return rows

    def reset(self, organization: str, mark: str) -> None:
        """Empty an organization's tables, and let the host write into them again."""
        schema = schema_name(organization)
        end_work_in(self.tenancy, organization)
        with self.tenancy._database.admin_engine.begin() as connection:
            tables = _relations(connection, schema, _TABLES)
            # Which revision the schema is at is no data of the organization.
            emptied = [table for table in tables if table != VERSION_TABLE]
            if emptied:
                names = sql.SQL(", ").join(sql.Identifier(schema, table) for table in emptied)
                # No CASCADE: a table outside of the schema is not to be emptied with them.
                statement = sql.SQL("TRUNCATE {}").format(names)
                connection.exec_driver_sql(statement.as_string(None))
        super().reset(organization, mark)
        if self._plant_mark is not None:
            plant(self.tenancy, self._plant_mark, organization, mark)


class AppSubject(HostSubject):
    """A host's app.

    Args:
        tenancy: What it works on.
        app: The app, and how it is asked.
        plant: What writes a mark, if the app's own description says nothing.
    """

    def __init__(self, tenancy: Tenancy, app: AppUnderProof, *, plant: Plant | None = None) -> None:
        super().__init__(tenancy, plant=app.plant or plant, name="app")
        self._app = app

    @contextmanager
    def prepared(self, marks: dict[str, str]) -> Iterator[None]:
        """Start the app, and learn what there is to ask for."""
        client = self._app.client()
        with super().prepared(marks):
            client.start()
            try:
                self._client = client
                self._requests = Requests(self._app, marks, client)
                self._requests.find()
                yield
            finally:
                client.close()

    def reset(self, organization: str, mark: str) -> None:
        """Do the same; the rows have other ids then."""
        super().reset(organization, mark)
        self._must_learn = True

    @contextmanager
    def opened(self, pool_size: int) -> Iterator[AppAccess]:
        """Give the app so many connections."""
        with pools_of(self.tenancy, pool_size):
            try:
                if self._must_learn:
                    self._requests.learn()
                    self._must_learn = False
                yield AppAccess(self.tenancy, self._client, self._requests)
            finally:
                self._client.close_pools(self.tenancy)


class FunctionsSubject(HostSubject):
    """A host's functions of a session.

    Args:
        tenancy: Whose sessions they get.
        functions: What is called: `function(session)`, or `async def` with an async session.
        plant: Writes something with a mark into an organization.
    """

    def __init__(
        self,
        tenancy: Tenancy,
        functions: Sequence[Callable[[Any], Any]],
        *,
        plant: Plant | None = None,
    ) -> None:
        super().__init__(tenancy, plant=plant, name="callables")
        self.functions = [one for one in functions if not _is_async(one)]
        self.async_functions = [one for one in functions if _is_async(one)]


def plant(tenancy: Tenancy, write: Plant, organization: str, mark: str) -> None:
    """Let a host write a mark into an organization, in a transaction of its own."""
    function: Any = write
    if _is_async(function):
        asyncio.run(_plant_async(tenancy, function, organization, mark))
        return
    with tenancy.session(organization) as session:
        function(session, mark)


async def _plant_async(tenancy: Tenancy, function: Any, organization: str, mark: str) -> None:
    try:
        async with tenancy.session(organization) as session:
            await function(session, mark)
    finally:
        await tenancy._database.aclose()


def _relations(connection: Connection, schema: str, kinds: Sequence[str]) -> Sequence[str]:
    found = connection.scalars(_RELATIONS, {"schema": schema, "kinds": list(kinds)})
    return found.all()


def _is_async(function: Any) -> bool:
    called = getattr(function, "__call__", None)  # noqa: B004 - an object with an async `__call__`
    return any(
        inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one)
        for one in (function, called)
    )
