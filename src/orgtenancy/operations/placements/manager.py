"""PlacementManager: which placements there are, and how they are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any

from pydantic import BaseModel, ConfigDict

from orgtenancy.database.placements import Placement
from orgtenancy.operations.moving import Mover
from orgtenancy.operations.moving.draining import Drain, DrainReport, OnOrganization
from orgtenancy.schemas import SchemaManager
from orgtenancy.schemas.placing.choosing import Chooser, is_nearly_full
from orgtenancy.schemas.placing.counting import is_open
from orgtenancy.schemas.placing.registering import check_login, register


@dataclass(frozen=True, slots=True)
class Cell:
    """One placement, which is complete by itself.

    Attributes:
        name: Its name.
        settings: What the tenancy says of it.
        schemas: Its schemas, with their jobs and spares, and nothing of other placements.
    """

    name: str
    settings: Placement
    schemas: SchemaManager


class PlacementStatus(BaseModel):
    """How a placement is.

    Attributes:
        name: Its name.
        state: `open`, `draining`, or `not added`.
        is_reachable: Whether it answers.
        error: Why it does not, or None.
        server_version: The major version of its PostgreSQL, if it answers.
        organizations: How many it holds, without those that were purged, if it answers.
        max_organizations: How many it may hold, or None.
        is_nearly_full: Whether it holds nine tenths of that, or more.
        weight: Its share of new organizations.
        attributes: What a policy may choose by.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    state: str
    is_reachable: bool
    error: str | None
    server_version: int | None
    organizations: int | None
    max_organizations: int | None
    is_nearly_full: bool
    weight: float
    attributes: Mapping[str, Any]


class PlacementManager(Mapping[str, Cell]):
    """The placements of a tenancy, by their names. It works as the owner, by `admin_url`.

    The methods that end in `_async` do the same in a thread, and keep the event loop free.

    Args:
        cells: The placements; the control server is the first.
        chooser: Knows how they are.
        mover: Moves organizations between them.
    """

    def __init__(self, cells: Mapping[str, Cell], chooser: Chooser, mover: Mover) -> None:
        self._cells = cells
        self._chooser = chooser
        self._mover = mover

    def __getitem__(self, name: str) -> Cell:
        return self._cells[self._chooser.databases.named(name).name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)

    def list(self) -> tuple[PlacementStatus, ...]:
        """Return how the placements are now; one that is down does not keep the others.

        Raises:
            sqlalchemy.exc.DBAPIError: If the control server is down.
        """
        self._chooser.counts.forget()
        health, states = self._chooser.counts.get()
        return tuple(
            PlacementStatus(
                name=name,
                state=states.get(name, "open" if is_open(states, name) else "not added"),
                is_reachable=health[name].is_reachable,
                error=health[name].error,
                server_version=health[name].server_version,
                organizations=health[name].organizations,
                max_organizations=cell.settings.max_organizations,
                is_nearly_full=is_nearly_full(
                    health[name].organizations, cell.settings.max_organizations
                ),
                weight=cell.settings.weight,
                attributes=cell.settings.attributes,
            )
            for name, cell in self._cells.items()
        )

    async def list_async(self) -> tuple[PlacementStatus, ...]:
        """Return how the placements are, as `list` does."""
        return await asyncio.to_thread(self.list)

    def add(self, name: str) -> PlacementStatus:
        """Prepare a placement, and let organizations be made on it; also one that was drained.

        May run at any time, and again.

        Args:
            name: One that the tenancy names.

        Raises:
            PlacementNotFound: If it does not.
            ConfigurationError: If it cannot hold organizations: a right or a setting is wrong,
                or it is the database of another placement.
            sqlalchemy.exc.DBAPIError: If it cannot be reached, by its owner or by the app.
        """
        schemas = self[name].schemas
        database = schemas.builder.database
        schemas.install()
        check_login(database)
        register(database, "open")
        return next(one for one in self.list() if one.name == name)

    def drain(
        self,
        name: str,
        *,
        to: str | None = None,
        workers: int = 2,
        on_organization: OnOrganization = lambda organization_id, error: None,
        cancel: Event | None = None,
    ) -> DrainReport:
        """Move all organizations of a placement to others; it gets no new ones from then on.

        Calling it again goes on. `add` opens the placement again.

        Args:
            name: The placement; also the control server, which stays that.
            to: Where all of them go to; the policy chooses for each of them if not given.
            workers: How many are moved at the same time.
            on_organization: Called after each of them, with why it was not moved, or None.
            cancel: Set it to stop: what is begun is finished.

        Raises:
            PlacementNotFound: If the tenancy does not name one of the placements.
            PlacementUnavailable: If `to` takes no organizations.
        """
        drain = Drain(
            self[name].schemas,
            self._mover,
            self._chooser,
            target=None if to is None else self[to].name,
            workers=workers,
            on_organization=on_organization,
            cancel=cancel,
        )
        return drain.run()

    async def drain_async(self, name: str, *, to: str | None = None) -> DrainReport:
        """Move all organizations of a placement to others, as `drain` does.

        A task that is cancelled stops it: what is begun is finished first.
        """
        cancel = Event()
        work = asyncio.create_task(asyncio.to_thread(self.drain, name, to=to, cancel=cancel))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            cancel.set()
            await asyncio.wait([work])
            raise

    async def add_async(self, name: str) -> PlacementStatus:
        """Prepare a placement, as `add` does."""
        return await asyncio.to_thread(self.add, name)
