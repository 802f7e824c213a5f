"""A stock of schemas for tests: an organization is claimed in milliseconds, and given back.

What is in stock are spares, as an app has them. So an organization of a test is provisioned as
any other, under an id that no test had before: nothing that a host's code remembers by an id is
met again. Behind the test its rows are deleted, its schema gets the name of a spare again, and
the registry forgets it.

One that a test has altered is not given back: that is told by its row in the registry, by the
definition of its schema and role, and by the rows that a migration had written there.
"""

from __future__ import annotations

import secrets
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from psycopg import sql
from psycopg.types.json import Jsonb
from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from orgtenancy import Organization, OrganizationStatus, Tenancy
from orgtenancy.naming import CONTROL_PLACEMENT, REGISTRY_SCHEMA, spare_schema_name
from orgtenancy.registry import members, store
from orgtenancy.registry.tables import organizations, spares
from orgtenancy.schemas.waiting import limit_lock_wait
from orgtenancy.testing.cleaning import empty
from orgtenancy.testing.contents import (
    Kind,
    Relation,
    Rows,
    definitions,
    driver_text,
    relations,
    role_definition,
    rows,
)

# A transaction that a test has left open keeps its organization.
_LOCK_TIMEOUT = 0.5

_LARGEST_BATCH = 16


@dataclass(frozen=True, slots=True)
class _Pristine:
    """A schema as the modules make it.

    Attributes:
        definition: How it is defined.
        role: What its role is, and who may become it.
        seeds: The rows that migrations have written, by table.
        sequences: Where sequences are that they have used.
    """

    definition: str
    role: object
    seeds: Mapping[str, Rows]
    sequences: Mapping[str, int]


class Stock:
    """Organizations for tests, of one database. Not for several threads.

    Args:
        tenancy: A tenancy with an `admin_url`; `install` was called.

    Attributes:
        tenancy: That tenancy.
    """

    def __init__(self, tenancy: Tenancy) -> None:
        self.tenancy = tenancy
        self._database = tenancy._database
        self._schemas = tenancy.placements[CONTROL_PLACEMENT].schemas
        self._pristine: dict[str, _Pristine] = {}
        self._taken: set[str] = set()
        self._ready = 0
        self._batch = 0

    def take(self, number: int = 1) -> tuple[Organization, ...]:
        """Provision organizations, each under an id that was never used.

        Args:
            number: How many.
        """
        if self._ready < number:
            self._fill(number)
        taken = tuple(self._schemas.provision(f"t{secrets.token_hex(6)}") for _ in range(number))
        self._ready -= number
        self._taken |= {organization.role_name for organization in taken}
        if any(organization.role_name not in self._pristine for organization in taken):
            self._ready = 0  # somebody else has claimed spares, or has put some there
        return taken

    @contextmanager
    def lent(self, number: int = 1) -> Iterator[tuple[Organization, ...]]:
        """Return a block that has organizations, which are given back behind it."""
        taken = self.take(number)
        try:
            yield taken
        finally:
            for organization in taken:
                self.give_back(organization)

    def give_back(self, organization: Organization) -> bool:
        """Take an organization's rows out, and make it a spare again.

        Returns:
            Whether that was done; one that was altered, or that somebody still works in, is
            left as it is.
        """
        pristine = self._pristine.get(organization.role_name)
        if pristine is None:
            return False
        try:
            with self._database.admin_engine.begin() as connection:
                limit_lock_wait(connection, _LOCK_TIMEOUT)
                if store.find(connection, organization.id, lock=True) != organization:
                    return False
                restored = self._restore(connection, organization, pristine)
                if restored is None:
                    return False
                self._make_spare(connection, organization)
        except DBAPIError:
            return False
        self.tenancy._forget(organization.id)
        self._pristine[organization.role_name] = restored
        self._taken.discard(organization.role_name)
        self._ready += 1
        return True

    def close(self) -> None:
        """Drop the organizations that were not given back; the spares are for the next run."""
        with self._database.admin_engine.begin() as connection:
            left = connection.scalars(
                select(organizations.c.id).where(organizations.c.role_name.in_(self._taken))
            ).all()
        for organization_id in left:
            self._schemas.drop(organization_id, confirm=organization_id, force=True)
        self._taken.clear()

    def _fill(self, number: int) -> None:
        # Doubled each time: one test alone waits for no more than it needs.
        self._batch = max(number, min(self._batch * 2, _LARGEST_BATCH))
        self._schemas.spares.fill(self._batch)
        with self._database.admin_engine.begin() as connection:
            ready = connection.execute(
                select(spares.c.role_name, spares.c.schema_name).where(
                    spares.c.ready_at.is_not(None), spares.c.placement == self._database.name
                )
            ).all()
            for role, schema in ready:
                if role not in self._pristine:
                    self._pristine[role] = _look(connection, schema, role)
        self._ready = len(ready)

    def _restore(
        self, connection: Connection, organization: Organization, pristine: _Pristine
    ) -> _Pristine | None:
        """Take out the rows that were not there; None if it was altered otherwise."""
        schema = organization.schema_name
        if definitions(connection, [schema]).get(schema) != pristine.definition:
            return None
        if role_definition(connection, organization.role_name) != pristine.role:
            return None
        found = relations(connection, [schema])
        _wait_for_writers(connection, found)
        keep = {*pristine.seeds, *pristine.sequences}
        was_made_anew = empty(connection, found, keep)
        seeds = [one for one in found if one.name in pristine.seeds]
        now = dict(zip((one.name for one in seeds), rows(connection, seeds), strict=True))
        if now != pristine.seeds or _values(found, pristine.sequences) != pristine.sequences:
            return None
        if not was_made_anew:
            return pristine
        return replace(pristine, definition=definitions(connection, [schema])[schema])

    def _make_spare(self, connection: Connection, organization: Organization) -> None:
        role = organization.role_name
        schema = spare_schema_name(role)
        members.remove_all(connection, organization.id)
        store.remove(connection, organization.id, OrganizationStatus.ACTIVE)
        statements = [
            sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(
                sql.Identifier(organization.schema_name), sql.Identifier(schema)
            ),
            sql.SQL(
                "INSERT INTO {} (role_name, schema_name, placement, revisions, settings_digest, "
                "ready_at) VALUES ({}, {}, {}, {}, {}, clock_timestamp())"
            ).format(
                sql.Identifier(REGISTRY_SCHEMA, spares.name),
                role,
                schema,
                organization.placement,
                Jsonb(dict(organization.revisions)),
                self._schemas.builder.settings_digest,
            ),
        ]
        connection.exec_driver_sql(driver_text(sql.SQL("; ").join(statements)))


@contextmanager
def lent(stock: Stock, tenancy: Tenancy, number: int) -> Iterator[tuple[Organization, ...]]:
    """Return a block that has organizations of a tenancy, given back behind it.

    Args:
        stock: Where they are from, if it is that tenancy's. Some of a host's tests may have
            another one, and their organizations come from its own spares.
        tenancy: The tenancy of the test.
        number: How many.
    """
    if stock.tenancy is tenancy:
        with stock.lent(number) as taken:
            yield taken
        return
    other = Stock(tenancy)
    try:
        with other.lent(number) as taken:
            yield taken
    finally:
        other.close()


def _wait_for_writers(connection: Connection, found: Iterable[Relation]) -> None:
    """Wait for the end of what is not committed: those rows would be met by the next test."""
    if written := [one.identifier for one in found if one.size and one.kind is Kind.TABLE]:
        lock = sql.SQL("LOCK TABLE {} IN SHARE MODE").format(sql.SQL(", ").join(written))
        connection.exec_driver_sql(driver_text(lock))


def _look(connection: Connection, schema: str, role: str) -> _Pristine:
    found = relations(connection, [schema])
    written = [one for one in found if one.size]
    counted = zip(written, rows(connection, written), strict=True)
    return _Pristine(
        definition=definitions(connection, [schema])[schema],
        role=role_definition(connection, role),
        seeds={one.name: its for one, its in counted if its.count},
        sequences=_values(found, {one.name for one in found}),
    )


def _values(found: Iterable[Relation], names: Container[str]) -> dict[str, int]:
    """Return where sequences are that were used, of those with some names."""
    return {
        one.name: one.last_value
        for one in found
        if one.last_value is not None and one.name in names
    }
