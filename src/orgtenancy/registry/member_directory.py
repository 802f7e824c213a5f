"""Cached look-ups of members, for the request path."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

from orgtenancy.database.engines import Database
from orgtenancy.naming import validate_organization_id
from orgtenancy.registry.members import EVERY_ORGANIZATION, Standing, find_standing

_MAX_ENTRIES = 65_536


class MemberDirectory:
    """Finds out how actors stand to organizations, and remembers it for a while.

    What it answers is at most `membership_max_age` seconds old. A change elsewhere drops it
    at once where the process listens. If the registry cannot be read, that is an error:
    nothing older is answered in its place.

    Args:
        database: The control server, read as the app's login.
        listen: Called before each look-up: where changes are to be heard of, the process
            must listen before it reads.
    """

    def __init__(self, database: Database, listen: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._listen = listen
        self._max_age = database.settings.membership_max_age
        # By organization, so that a change drops what it is about without a search.
        self._entries: dict[str, dict[str, tuple[float, Standing]]] = {}
        self._size = 0
        self._generation = 0
        self._lock = Lock()

    def find(self, organization_id: str, actor_id: str) -> Standing:
        """Return what is known of an actor in an organization, whether that exists or not.

        Raises:
            InvalidOrganizationId: If the id breaks a naming rule.
            sqlalchemy.exc.DBAPIError: If the registry cannot be read.
        """
        if (cached := self._cached(organization_id, actor_id)) is not None:
            return cached
        generation, now = self._prepare(organization_id)
        with self._database.control_session() as session:
            standing = find_standing(session, organization_id, actor_id)
            session.commit()
        self._remember(generation, now, organization_id, actor_id, standing)
        return standing

    async def find_async(self, organization_id: str, actor_id: str) -> Standing:
        """Return what `find` returns, without blocking the event loop."""
        if (cached := self._cached(organization_id, actor_id)) is not None:
            return cached
        generation, now = self._prepare(organization_id)
        async with self._database.control_async_session() as session:
            standing = await session.run_sync(find_standing, organization_id, actor_id)
            await session.commit()
        self._remember(generation, now, organization_id, actor_id, standing)
        return standing

    def forget(self, organization_id: str) -> None:
        """Drop what is remembered of an organization's members.

        Args:
            organization_id: Which one; an empty text for all of them.
        """
        if organization_id == EVERY_ORGANIZATION:
            self.clear()
            return
        with self._lock:
            self._generation += 1
            self._size -= len(self._entries.pop(organization_id, ()))

    def clear(self) -> None:
        """Drop everything that is remembered."""
        with self._lock:
            self._generation += 1
            self._drop_all()

    def _cached(self, organization_id: str, actor_id: str) -> Standing | None:
        entry = self._entries.get(organization_id, {}).get(actor_id)
        return entry[1] if entry is not None and entry[0] >= time.monotonic() else None

    def _prepare(self, organization_id: str) -> tuple[int, float]:
        validate_organization_id(organization_id)
        self._listen()
        return self._generation, time.monotonic()

    def _remember(
        self, generation: int, now: float, organization_id: str, actor_id: str, standing: Standing
    ) -> None:
        with self._lock:
            # What was read before a change was announced may be older than the change.
            if generation != self._generation:
                return
            if self._size >= _MAX_ENTRIES:
                self._drop_all()
            entries = self._entries.setdefault(organization_id, {})
            self._size += actor_id not in entries
            entries[actor_id] = (now + self._max_age, standing)

    def _drop_all(self) -> None:
        self._entries.clear()
        self._size = 0
