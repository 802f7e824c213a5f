"""Draining a placement: all that is on it moves to others, one organization after the other.

What is left is what the registry there still has: so a drain that was killed is gone on with by
calling it again, and it has no journal but that of the moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event, Lock
from typing import TypeAlias

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from orgtenancy.errors import OrgTenancyError
from orgtenancy.operations.moving.mover import Mover
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.pagination import MAX_PAGE_SIZE, PageRequest
from orgtenancy.registry.tables import locations, moves
from orgtenancy.schemas import SchemaManager
from orgtenancy.schemas.fleet.workers import told
from orgtenancy.schemas.placing import weighted
from orgtenancy.schemas.placing.choosing import Chooser
from orgtenancy.schemas.placing.registering import register

#: Called with the id of an organization, and why it was not moved, or None if it was.
OnOrganization: TypeAlias = Callable[[str, str | None], None]


@dataclass(frozen=True, slots=True)
class DrainReport:
    """What became of the organizations of a placement.

    Attributes:
        placement: The placement.
        moved: Those that were moved.
        failed: By id, why an organization was not moved.
        is_empty: Whether none is left.
    """

    placement: str
    moved: tuple[str, ...]
    failed: Mapping[str, str]
    is_empty: bool


class Drain:
    """Empties one placement.

    Args:
        schemas: The schemas of the placement.
        mover: Moves the organizations.
        chooser: Chooses where each of them goes to.
        target: Where all of them go to instead.
        workers: How many are moved at the same time.
        on_organization: Called after each of them, by one thread at a time.
        cancel: Set it to stop: what is begun is finished.
    """

    def __init__(
        self,
        schemas: SchemaManager,
        mover: Mover,
        chooser: Chooser,
        *,
        target: str | None = None,
        workers: int = 2,
        on_organization: OnOrganization = lambda organization_id, error: None,
        cancel: Event | None = None,
    ) -> None:
        self._schemas = schemas
        self._database = schemas.builder.database
        self._mover = mover
        self._chooser = chooser
        self._target = target
        self._workers = workers
        self._on_organization = on_organization
        self._cancel = cancel if cancel is not None else Event()
        self._telling = Lock()
        self._moved: list[str] = []
        self._failed: dict[str, str] = {}

    def run(self) -> DrainReport:
        """Move all organizations, and drop the spares.

        Raises:
            PlacementUnavailable: If the target takes no organizations.
        """
        if self._target is not None:
            self._chooser.check(self._target)
        register(self._database, "draining")
        self._chooser.counts.forget()
        for organization_id in self._coming():
            self._finish(organization_id)
        with ThreadPoolExecutor(self._workers, "orgtenancy-drain") as threads:
            while (left := self._left()) and not self._cancel.is_set():
                list(threads.map(self._move, left))
        if not self._cancel.is_set():
            self._release()
            self._schemas.spares.discard(only_stale=False)
        is_empty = next(self._organizations(), None) is None
        return DrainReport(self._database.name, tuple(self._moved), dict(self._failed), is_empty)

    def _finish(self, organization_id: str) -> None:
        try:
            self._mover.resume(organization_id)
        except (OrgTenancyError, DBAPIError) as error:
            self._note(organization_id, error)

    def _left(self) -> list[Organization]:
        """Return those that were not tried yet; others may have come meanwhile."""
        tried = {*self._moved, *self._failed}
        return [one for one in self._organizations() if one.id not in tried]

    def _organizations(self) -> Iterator[Organization]:
        page: PageRequest | None = PageRequest(limit=MAX_PAGE_SIZE)
        while page is not None:
            got = self._schemas.list(page)
            yield from got.items
            more = got.next_cursor
            page = None if more is None else PageRequest(limit=MAX_PAGE_SIZE, cursor=more)

    def _move(self, organization: Organization) -> None:
        if self._cancel.is_set():
            return
        try:
            self._mover.move(organization.id, self._target_of(organization))
        except (OrgTenancyError, DBAPIError) as error:
            self._note(organization.id, error)
        else:
            self._note(organization.id)

    def _note(self, organization_id: str, error: Exception | None = None) -> None:
        said = told(error) if isinstance(error, DBAPIError) else str(error or "")
        reason = None if error is None else " ".join(said.split())
        with self._telling:
            if reason is None:
                self._moved.append(organization_id)
            else:
                self._failed[organization_id] = reason
            self._on_organization(organization_id, reason)

    def _target_of(self, organization: Organization) -> str:
        if self._target is not None:
            return self._target
        if (begun := self._mover.target_of(organization.id)) is not None:
            return begun
        # What was purged has no attributes by which it could be placed, and no data either.
        policy = weighted if organization.status is OrganizationStatus.PURGED else None
        return self._chooser.choose(
            organization.attributes, without=self._database.name, policy=policy
        )

    def _coming(self) -> Sequence[str]:
        """Return those whose move to here was broken off."""
        statement = select(moves.c.organization_id).where(moves.c.target == self._database.name)
        with self._database.control.admin_engine.begin() as connection:
            return connection.scalars(statement).all()

    def _release(self) -> None:
        """Take back what was reserved here for organizations that nobody made."""
        statement = select(locations.c.organization_id).where(
            locations.c.placement == self._database.name
        )
        with self._database.control.admin_engine.begin() as connection:
            reserved = connection.scalars(statement).all()
        for organization_id in reserved:
            self._schemas.locations.release(organization_id)
