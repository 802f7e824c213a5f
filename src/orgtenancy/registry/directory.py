"""Cached look-ups of organizations, for the request path."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Any

from sqlalchemy import Select, select

from orgtenancy.database.engines import Database
from orgtenancy.errors import OrganizationNotFound, OrganizationUnavailable
from orgtenancy.naming import validate_organization_id
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry.tables import organization_from, organizations

_MAX_ENTRIES = 65_536
# Seconds to remember that an organization is closed. PostgreSQL tells who remembers an open one
# that it was closed, but nobody tells who does not listen that one was opened.
_MAX_AGE_CLOSED = 1.0
# Seconds after which to look again, where a status does not last.
_RETRY_AFTER = {OrganizationStatus.PROVISIONING: 1, OrganizationStatus.FENCED: 1}


class OrganizationDirectory:
    """Finds organizations in the registry, and remembers them for a while.

    An entry is at most `registry_max_age` seconds old. A change elsewhere drops it at
    once where the process listens. A stale entry never opens what was closed: suspending
    or dropping an organization also takes its rights away in the database.

    Args:
        database: The control server, read as the app's login.
        listen: Called before each look-up: where changes are to be heard of, the process
            must listen before it reads.
    """

    def __init__(self, database: Database, listen: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._listen = listen
        self._max_age = database.settings.registry_max_age
        self._entries: dict[str, tuple[float, Organization]] = {}
        self._generation = 0
        self._lock = Lock()

    def get(self, organization_id: str) -> Organization:
        """Return an organization, in whatever status.

        Raises:
            InvalidOrganizationId: If the id breaks a naming rule.
            OrganizationNotFound: If the registry does not have it.
        """
        if (cached := self._cached(organization_id)) is not None:
            return cached
        generation = self._prepare(organization_id)
        with self._database.control_session() as session:
            row = session.execute(_by_id(organization_id)).one_or_none()
            session.commit()
        return self._remember(
            generation, organization_id, None if row is None else organization_from(row)
        )

    async def get_async(self, organization_id: str) -> Organization:
        """Return an organization, as `get` does, without blocking the event loop."""
        if (cached := self._cached(organization_id)) is not None:
            return cached
        generation = self._prepare(organization_id)
        async with self._database.control_async_session() as session:
            row = (await session.execute(_by_id(organization_id))).one_or_none()
            await session.commit()
        return self._remember(
            generation, organization_id, None if row is None else organization_from(row)
        )

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
        self._listen()
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
