"""A query of the owner's in many organizations: read-only, bounded, and audited first."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from orgtenancy.registry import audit, store
from orgtenancy.registry.locations import Locations

_CURSOR = "orgtenancy_query"


@dataclass(frozen=True, slots=True)
class QueryRows:
    """What a query gave in one organization.

    Attributes:
        columns: The names of its columns.
        rows: Its rows, as many as were asked for.
        is_cut: Whether there are more.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A query, as the function that runs it in an organization.

    It goes through a cursor of the server's: one statement, which is a `SELECT` or `VALUES`, and
    no more of its rows than are asked for. A cursor has a snapshot before it runs anything, and a
    transaction with a snapshot stays read-only.

    Attributes:
        statement: The SQL.
        limit: How many rows.
        timeout: Seconds after which PostgreSQL cancels it.
    """

    statement: str
    limit: int
    timeout: float

    def __call__(self, session: Session) -> QueryRows:
        """Run it in the transaction of a session.

        Raises:
            sqlalchemy.exc.DBAPIError: What the server said to the transaction.
            psycopg.Error: What the server said to the query.
        """
        milliseconds = f"{max(1, round(self.timeout * 1000))}ms"
        session.execute(select(func.set_config("statement_timeout", milliseconds, True)))
        driver: Any = session.connection().connection.driver_connection
        with driver.cursor(_CURSOR) as cursor:
            cursor.execute(self.statement.encode())
            rows = cursor.fetchmany(self.limit + 1)
            columns = _unique([column.name for column in cursor.description or ()])
        return QueryRows(columns, tuple(rows[: self.limit]), len(rows) > self.limit)


def audit_query(
    locations: Locations, query: Query, organization_ids: Sequence[str] | None
) -> Sequence[str]:
    """Write who is about to read what, before it is read, and return where that is.

    Args:
        locations: Where organizations are.
        query: The query; its text is kept.
        organization_ids: Which organizations; all that are active if None.
    """
    details = {"query": query.statement}
    if organization_ids is not None:
        for database, its in locations.databases_of(organization_ids).items():
            with database.admin_engine.begin() as connection:
                audit.record_each(connection, "queried", its, details=details)
        return organization_ids
    found: list[str] = []
    for database in locations.placements:
        with database.admin_engine.begin() as connection:
            its = list(connection.scalars(store.ACTIVE))
            audit.record_each(connection, "queried", its, details=details)
        found += its
    return sorted(found)


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """Return names of columns, with a number where one comes again: `count`, `count_2`."""
    found: list[str] = []
    for name in names:
        candidates = itertools.chain([name], (f"{name}_{n}" for n in itertools.count(2)))
        found.append(next(one for one in candidates if one not in found))
    return tuple(found)
