"""What is done for one organization, whatever state it is found in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from orgtenancy.errors import AdoptionRefused
from orgtenancy.operations.adoption import journal, planning, switching
from orgtenancy.operations.adoption.checking import find_broken
from orgtenancy.operations.adoption.copying import copy
from orgtenancy.operations.adoption.findings import Finding
from orgtenancy.operations.adoption.mapping import AdoptionMapping
from orgtenancy.operations.adoption.organizations import SourceOrganization
from orgtenancy.operations.adoption.reports import (
    AdoptedOrganization,
    AdoptionState,
    VerifiedOrganization,
)
from orgtenancy.operations.adoption.resolving import Resolved
from orgtenancy.operations.adoption.verifying import verify
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.schemas.building import SchemaBuilder
from orgtenancy.schemas.dropping import drop
from orgtenancy.schemas.fleet.workers import Worker

_DROPPED = frozenset({OrganizationStatus.ARCHIVED, OrganizationStatus.PURGED})


@dataclass(frozen=True)
class OrganizationWork:
    """Does what is asked for one organization after the other; threads share it.

    Attributes:
        builder: Makes schemas, where the source and the organizations are.
        mapping: What is declared.
        resolved: What becomes of the source, in any fresh schema.
        on_change: Called with the id of an organization that changed.
        on_adopted: Called with an organization that was switched.
    """

    builder: SchemaBuilder
    mapping: AdoptionMapping
    resolved: Resolved
    on_change: Callable[[str], None]
    on_adopted: Callable[[Organization], None]

    def copy(
        self, worker: Worker, one: SourceOrganization, *, catch_up: bool
    ) -> AdoptedOrganization:
        """Copy an organization that is not here, or bring one along that is copied."""
        began = time.monotonic()
        with worker.connection() as connection:
            entry = self._entry(connection, one)
            if entry is not None and entry.switched_at is not None:
                return _done(one, AdoptionState.SWITCHED, _rows(entry))
            if entry is not None and self._is_stale(entry):
                self._discard(connection, entry)
                entry = None
            if entry is not None and not catch_up:
                return _done(one, AdoptionState.COPIED, _rows(entry))
            with self._named(one):
                if entry is not None:
                    brought = switching.refresh(
                        connection, self.builder.database, self.mapping, self.resolved, one.key
                    )
                    rows, changed = brought.rows, brought.changed
                else:
                    rows = changed = copy(
                        connection, self.builder, self.mapping, self.resolved, one
                    )
        self.on_change(one.id)
        seconds = time.monotonic() - began
        return _done(one, AdoptionState.COPIED, rows, changed, seconds)

    def switch(
        self, worker: Worker, one: SourceOrganization, *, keep_fenced: bool
    ) -> AdoptedOrganization:
        """Switch an organization that is copied."""
        with worker.connection() as connection:
            entry = self._entry(connection, one)
            if entry is not None and entry.switched_at is not None:
                return _done(one, AdoptionState.SWITCHED, _rows(entry))
            if entry is not None and self._is_stale(entry):
                raise AdoptionRefused(
                    f"the copy of organization {one.id!r} is of another mapping, or at other "
                    "revisions: run the adoption again",
                    organization_id=one.id,
                )
            with self._named(one):
                brought = switching.switch(
                    connection,
                    self.builder.database,
                    self.mapping,
                    self.resolved,
                    one.key,
                    keep_fenced=keep_fenced,
                )
        self.on_change(brought.organization.id)
        self.on_adopted(brought.organization)
        return _done(one, AdoptionState.SWITCHED, brought.rows, brought.changed, brought.seconds)

    def verify(self, worker: Worker, one: SourceOrganization) -> VerifiedOrganization:
        """Compare both sides of an organization that is here."""
        entry = one.entry
        if entry is None or entry.organization is None:
            raise AdoptionRefused(
                f"organization {one.id!r} was adopted, and is not here any more",
                organization_id=one.id,
            )
        tables = self.resolved.here(entry.organization.schema_name)
        with worker.connection() as connection:
            return verify(connection, self.builder.database, tables, one, entry, entry.organization)

    def _entry(self, connection: Connection, one: SourceOrganization) -> journal.Entry | None:
        with connection.begin():
            return journal.find(connection, self.mapping.source, one.key)

    def _is_stale(self, entry: journal.Entry) -> bool:
        """Return whether a copy has to be made anew.

        Raises:
            AdoptionRefused: If it is open: somebody may have written in it.
        """
        organization = entry.organization
        if organization is None or organization.status in _DROPPED:
            return True
        if organization.status is not OrganizationStatus.FENCED:
            raise AdoptionRefused(
                f"organization {organization.id!r} is {organization.status}, and was not "
                "switched: look who opened it, and fence it or drop it",
                organization_id=organization.id,
                schema=organization.schema_name,
            )
        heads = dict(self.builder.revisions.heads)
        return entry.mapping != self.mapping.digest or dict(organization.revisions) != heads

    def _discard(self, connection: Connection, entry: journal.Entry) -> None:
        """Drop a copy. Killed in between, the next run finds it archived, and drops the rest."""
        if (organization := entry.organization) is not None:
            database = self.builder.database
            drop(database, organization.id, confirm=organization.id, force=True)
            self.on_change(organization.id)
        with connection.begin():
            journal.forget(connection, self.mapping.source, entry.key)

    @contextmanager
    def _named(self, one: SourceOrganization) -> Iterator[None]:
        """Name the rows that keep an organization, where PostgreSQL names one at the most."""
        try:
            yield
        except (DataError, IntegrityError) as error:
            findings = self._find_broken(one)
            if not findings:
                raise
            raise AdoptionRefused(
                f"rows of organization {one.id!r} cannot be here: "
                + "; ".join(map(str, findings[:3])),
                findings=map(str, findings),
                organization_id=one.id,
            ) from error

    def _find_broken(self, one: SourceOrganization) -> list[Finding]:
        try:
            with (
                self.builder.database.admin_engine.connect() as connection,
                planning.fresh(connection, self.builder, self.mapping) as made,
            ):
                tables = self.resolved.here(made.schema)
                return list(find_broken(connection, tables, lambda t: t.named_rows_of(one.key)))
        except DBAPIError:
            return []  # what PostgreSQL said of the rows themselves is told instead


def _rows(entry: journal.Entry) -> int:
    return sum(digest.rows for digest in entry.digests.values())


def _done(
    one: SourceOrganization,
    state: AdoptionState,
    rows: int,
    changed: int = 0,
    seconds: float = 0.0,
) -> AdoptedOrganization:
    return AdoptedOrganization(
        key=one.key, id=one.id, state=state, rows=rows, changed=changed, seconds=seconds
    )
