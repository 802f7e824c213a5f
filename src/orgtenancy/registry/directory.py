"""Cached look-ups of organizations, for the request path."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.exc import DBAPIError

from orgtenancy.database.engines import Database
from orgtenancy.database.placements import Placements, tell_placement
from orgtenancy.errors import OrganizationNotFound, OrganizationUnavailable
from orgtenancy.naming import validate_organization_id
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import store
from orgtenancy.registry.locations import locating
from orgtenancy.registry.tables import organization_from, organizations

_MAX_ENTRIES = 65_536
# Seconds to remember that an organization is closed. PostgreSQL tells who remembers an open one
# that it was closed, but nobody tells who does not listen that one was opened.
_MAX_AGE_CLOSED = 1.0
# Seconds after which to look again, where a status does not last.
_RETRY_AFTER = {OrganizationStatus.PROVISIONING: 1, OrganizationStatus.FENCED: 1}


class _LookUp:
    """What is to be asked, and of whom: told once for code that waits and code that awaits.

    Attributes:
        question: A database and what to ask it; None when there is nothing more to ask.
        found: The organization, if there is one.
    """

    __slots__ = ("_asks_where", "_id", "_listen", "_location", "_placements", "found", "question")

    def __init__(
        self, placements: Placements, listen: Callable[[Database], None], organization_id: str
    ) -> None:
        self._placements = placements
        self._listen = listen
        self._id = organization_id
        self._location: str | None = None
        self._asks_where = placements.are_several
        self.found: Organization | None = None
        statement = (locating if self._asks_where else _by_id)(organization_id)
        self.question: tuple[Database, Select[Any]] | None = placements.control, statement

    def answer(self, row: Row[Any] | None) -> None:
        """Take the answer, and find out what to ask next.

        Raises:
            OrganizationUnavailable: If it is on a placement, and not in the registry there.
            PlacementNotFound: If the tenancy does not name its placement.
        """
        if self._asks_where and row is not None and row.location is not None:
            self._ask_there(str(row.location))
        elif row is not None or self._asks_where or not self._placements.are_several:
            self.question = None
            self.found = None if row is None else organization_from(row)
        else:  # it may have been moved between the two questions
            self._asks_where = True
            self.question = self._placements.control, locating(self._id)

    def _ask_there(self, location: str) -> None:
        if location == self._location:
            raise OrganizationUnavailable(
                f"organization {self._id!r} is being made on placement {location!r}, or is on its "
                "way there",
                status=OrganizationStatus.PROVISIONING,
                retry_after=_RETRY_AFTER[OrganizationStatus.PROVISIONING],
                organization_id=self._id,
                placement=location,
            )
        self._location = location
        self._asks_where = False
        database = self._placements.named(location, self._id)
        self._listen(database)
        self.question = database, _by_id(self._id)


class OrganizationDirectory:
    """Finds organizations in the registry, and remembers them for a while.

    An entry is at most `registry_max_age` seconds old. A change elsewhere drops it at
    once where the process listens. A stale entry never opens what was closed: suspending,
    moving or dropping an organization also takes its rights away in the database.

    Where there are several placements, the control server says which one an organization is
    on, and the registry there says everything else.

    Args:
        placements: The databases, read as the app's login.
        listen: Called with a database before it is read: where changes are to be heard of,
            the process must listen first.
    """

    def __init__(
        self, placements: Placements, listen: Callable[[Database], None] = lambda database: None
    ) -> None:
        self._placements = placements
        self._listen = listen
        self._max_age = placements.control.settings.registry_max_age
        self._entries: dict[str, tuple[float, Organization]] = {}
        self._generation = 0
        self._lock = Lock()

    def get(self, organization_id: str) -> Organization:
        """Return an organization, in whatever status.

        Raises:
            InvalidOrganizationId: If the id breaks a naming rule.
            OrganizationNotFound: If the registry does not have it.
            OrganizationUnavailable: If it is just being made or moved, and in no registry.
            PlacementNotFound: If the tenancy does not name its placement.
        """
        if (cached := self._cached(organization_id)) is not None:
            return cached
        generation = self._prepare(organization_id)
        look_up = _LookUp(self._placements, self._listen, organization_id)
        while (question := look_up.question) is not None:
            database, statement = question
            try:
                with database.control_session() as session:
                    row = session.execute(statement).one_or_none()
                    session.commit()
            except DBAPIError as error:
                tell_placement(error, database)
                raise
            look_up.answer(row)
        return self._remember(generation, organization_id, look_up.found)

    async def get_async(self, organization_id: str) -> Organization:
        """Return an organization, as `get` does, without blocking the event loop."""
        if (cached := self._cached(organization_id)) is not None:
            return cached
        generation = self._prepare(organization_id)
        look_up = _LookUp(self._placements, self._listen, organization_id)
        while (question := look_up.question) is not None:
            database, statement = question
            try:
                async with database.control_async_session() as session:
                    row = (await session.execute(statement)).one_or_none()
                    await session.commit()
            except DBAPIError as error:
                tell_placement(error, database)
                raise
            look_up.answer(row)
        return self._remember(generation, organization_id, look_up.found)

    def forget(self, organization_id: str) -> None:
        """Drop what is remembered of an organization."""
        with self._lock:
            self._generation += 1
            self._entries.pop(organization_id, None)

    def clear(self) -> None:
        """Drop everything that is remembered."""
        with self._lock:
            self._generation += 1
            self._entries.clear()

    def _cached(self, organization_id: str) -> Organization | None:
        entry = self._entries.get(organization_id)
        return entry[1] if entry is not None and entry[0] >= time.monotonic() else None

    def _prepare(self, organization_id: str) -> int:
        validate_organization_id(organization_id)
        self._listen(self._placements.control)
        return self._generation

    def _remember(
        self, generation: int, organization_id: str, organization: Organization | None
    ) -> Organization:
        if organization is None:
            raise OrganizationNotFound(
                f"no organization {organization_id!r}", organization_id=organization_id
            )
        with self._lock:
            # What was read before a change was announced may be older than the change.
            if generation == self._generation:
                if len(self._entries) >= _MAX_ENTRIES:
                    self._entries.clear()
                age = self._max_age
                if not organization.is_active:
                    age = min(age, _MAX_AGE_CLOSED)
                self._entries[organization_id] = (time.monotonic() + age, organization)
        return organization


def active(placements: Placements) -> list[str]:
    """Return the ids of the organizations of all placements that are open for work, in order."""
    found: list[str] = []
    for database in placements:
        with database.control_session() as session:
            found += session.scalars(store.ACTIVE)
            session.commit()
    return sorted(found)


async def active_async(placements: Placements) -> list[str]:
    """Return the same, without blocking the event loop."""
    found: list[str] = []
    for database in placements:
        async with database.control_async_session() as session:
            found += await session.scalars(store.ACTIVE)
            await session.commit()
    return sorted(found)


def ensure_active(organization: Organization) -> Organization:
    """Return the organization if requests may work in it.

    Raises:
        OrganizationUnavailable: With its status, if they may not.
    """
    if organization.status is OrganizationStatus.ACTIVE:
        return organization
    raise OrganizationUnavailable(
        f"organization {organization.id!r} is {organization.status}",
        status=organization.status,
        retry_after=_RETRY_AFTER.get(organization.status),
        organization_id=organization.id,
        schema=organization.schema_name,
        placement=organization.placement,
    )


def _by_id(organization_id: str) -> Select[Any]:
    return select(organizations).where(organizations.c.id == organization_id)
