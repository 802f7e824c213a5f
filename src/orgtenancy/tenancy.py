"""Tenancy: the one object a host holds."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import URL, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from orgtenancy.blocks import ControlBlock, OrganizationBlock, SessionBlock
from orgtenancy.database.engines import Database
from orgtenancy.database.placements import Placement, Placements, check_placements
from orgtenancy.database.sessions import ModuleSettingsByType
from orgtenancy.modules import OrganizationModule
from orgtenancy.naming import CONTROL_PLACEMENT
from orgtenancy.operations.adoption import Adoption, AdoptionMapping
from orgtenancy.operations.backup import Backups
from orgtenancy.operations.erasure import Erasures
from orgtenancy.operations.fan_out import (
    TRANSACTION,
    FanOut,
    check_call,
    fan_out,
    fan_out_async,
)
from orgtenancy.operations.lifecycle import Organizations
from orgtenancy.operations.moving import Mover
from orgtenancy.operations.placements import Cell, PlacementManager
from orgtenancy.organizations import Organization
from orgtenancy.registry.directory import OrganizationDirectory, active, active_async
from orgtenancy.registry.listener import CHANNEL, ChangeListener
from orgtenancy.registry.locations import Locations
from orgtenancy.registry.member_directory import MemberDirectory
from orgtenancy.registry.members import MEMBERS_CHANNEL
from orgtenancy.schemas import SchemaManager
from orgtenancy.schemas.placing import Policy, weighted
from orgtenancy.schemas.placing.choosing import Chooser
from orgtenancy.schemas.revisions import Revisions
from orgtenancy.schemas.spread import PlacedSchemas, SpreadSchemas
from orgtenancy.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

# serialization_failure and deadlock_detected: PostgreSQL asks to run the transaction again.
_RETRYABLE = frozenset({"40001", "40P01"})
_BACKOFF = 0.01  # seconds before the second attempt; doubled, with jitter, before each later one


class Tenancy:
    """Gives every organization its own schema, and code the right one.

    Making one opens no connection; they are opened when first needed.

    Args:
        url: The app's login, `postgresql+psycopg://...`. It has no rights of its own.
        admin_url: The owner of the schemas, where this process provisions or migrates.
        modules: What every organization's schema contains.
        settings: Sizes and limits; from `ORGTENANCY_*` in the environment if not given.
        placements: Servers beside this one that organizations live on, by the names they are
            called from then on. The name `default` is this one's, which keeps the directory of
            all of them.
        place: Chooses the placement of a new organization.

    Attributes:
        schemas: Provisions, finds and drops organizations.
        organizations: The life of each of them: suspend, archive, purge, the audit.
        placements: The servers that organizations live on: how they are, and each by itself.
        backups: Backups and exports of them, and restoring.
        erasure: Finds people in organizations, and erases them.
        members: Who was let into which organization at the identity provider, or put out.
        modules: What every organization's schema contains, by name.

    Raises:
        ConfigurationError: If a URL, the modules or the placements cannot work.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        admin_url: str | URL | None = None,
        modules: Sequence[OrganizationModule] = (),
        settings: Settings | None = None,
        placements: Mapping[str, Placement] | None = None,
        place: Policy = weighted,
    ) -> None:
        self.settings = settings if settings is not None else Settings()
        self.modules = {module.name: module for module in modules}
        described = {CONTROL_PLACEMENT: Placement(), **(placements or {})}
        check_placements(described)
        self._databases = self._make_databases(url, admin_url, described)
        self._database = self._databases.control
        self._directory = OrganizationDirectory(self._databases, self._listen)
        self.members = MemberDirectory(self._database, lambda: self._listen(self._database))
        self._listeners = {one: self._make_listener(one) for one in self._databases}
        chooser = Chooser(self._databases, described, place)
        cells = self._make_cells(described, modules)
        managers = {name: cell.schemas for name, cell in cells.items()}
        self.schemas = (
            SpreadSchemas(managers, chooser) if placements else managers[CONTROL_PLACEMENT]
        )
        mover = Mover(self.schemas, chooser, on_change=self._forget)
        self.placements = PlacementManager(cells, chooser, mover)
        self.organizations = Organizations(self.schemas, mover, on_change=self._forget)
        self.backups = Backups(self.schemas, on_change=self._forget)
        self.erasure = Erasures(self.schemas.locations, modules, on_change=self._forget)

    @property
    def engine(self) -> Engine:
        """The engine behind the sessions; its connections need a bound organization.

        It is the control server's, as is the async one: other placements have their own.
        """
        return self._database.engine

    @property
    def async_engine(self) -> AsyncEngine:
        """The async engine behind the sessions; its connections need a bound organization."""
        return self._database.async_engine

    def install(self) -> None:
        """Prepare the database; idempotent. See `SchemaManager.install`."""
        self.schemas.install()

    def organization(self, organization: str | Organization) -> OrganizationBlock:
        """Return a block, `with` or `async with`, that is bound to an organization.

        Entering it raises `InvalidOrganizationId`, `OrganizationNotFound` or
        `OrganizationUnavailable` where the organization cannot be worked in.
        """
        return OrganizationBlock(self._directory, organization)

    def session(self, organization: str | Organization | None = None) -> SessionBlock:
        """Return a block, `with` or `async with`, that is one transaction.

        It commits on success and rolls back on an error. Inside, the organization and
        the session are the context's.

        Args:
            organization: Which one; the context's if not given. Entering the block raises
                `OrganizationMismatch` if the context is bound to another, and what
                `organization` raises.
        """
        return SessionBlock(self._databases, self._directory, organization)

    def control_session(self) -> ControlBlock:
        """Return a block, `with` or `async with`, that is one transaction of the registry.

        It reads the registry and what the host granted to the registry's role; tables of
        an organization are out of its reach.
        """
        return ControlBlock(self._database)

    def adoption(self, mapping: AdoptionMapping | Path | str) -> Adoption:
        """Return what moves the organizations of a shared schema into schemas of their own.

        Args:
            mapping: What becomes of the shared schema, or the TOML file that says so.

        Raises:
            ConfigurationError: If the file is no mapping.
        """
        if not isinstance(mapping, AdoptionMapping):
            mapping = AdoptionMapping.load(mapping)
        return Adoption(
            self._database,
            self.schemas,
            mapping,
            on_change=self._forget,
            on_adopted=self.organizations.tell_adopted,
        )

    def run(
        self, function: Callable[Concatenate[Session, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call `function(session, ...)` in a transaction of the context's organization.

        When PostgreSQL reports a serialization failure or a deadlock, the whole function
        runs again: it must not act on anything but the session.

        Raises:
            OrganizationContextMissing: If no organization is bound.
            sqlalchemy.exc.DBAPIError: What the last attempt raised.
        """
        attempt = 1
        while True:
            try:
                with self.session() as session:
                    return function(session, *args, **kwargs)
            except DBAPIError as error:
                if not self._should_retry(error, attempt):
                    raise
            time.sleep(_delay(attempt))
            attempt += 1

    async def run_async(
        self, function: Callable[Concatenate[Session, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call the same function as `run` does, on the async engine."""
        attempt = 1
        while True:
            try:
                async with self.session() as session:
                    return await session.run_sync(function, *args, **kwargs)
            except DBAPIError as error:
                if not self._should_retry(error, attempt):
                    raise
            await asyncio.sleep(_delay(attempt))
            attempt += 1

    def fan_out(
        self,
        function: Callable[[Session], R],
        *,
        organizations: Sequence[str] | None = None,
        workers: int = 4,
    ) -> FanOut[R]:
        """Call `function(session)` in a read-only transaction of each of many organizations.

        What it raises for one does not keep the others. The connections are the call's own:
        those of requests do not get to see the whole fleet.

        Args:
            function: What is called, in several threads; it must not act on anything but the
                session.
            organizations: Their ids; all that are active if not given.
            workers: How many at a time, and so how many connections to each placement.

        Raises:
            OrganizationMismatch: If the context is bound to an organization.
        """
        check_call(workers)
        apart = self._databases.apart(workers, TRANSACTION)
        try:
            if organizations is None:
                organizations = active(apart)
            return fan_out(
                partial(SessionBlock, apart, self._directory),
                function,
                list(dict.fromkeys(organizations)),
                workers=workers,
            )
        finally:
            apart.close()

    async def fan_out_async(
        self,
        function: Callable[[Session], R],
        *,
        organizations: Sequence[str] | None = None,
        workers: int = 4,
    ) -> FanOut[R]:
        """Call the same function as `fan_out` does, on the async engine."""
        check_call(workers)
        apart = self._databases.apart(workers, TRANSACTION)
        try:
            if organizations is None:
                organizations = await active_async(apart)
            return await fan_out_async(
                partial(SessionBlock, apart, self._directory),
                function,
                list(dict.fromkeys(organizations)),
                workers=workers,
            )
        finally:
            await apart.aclose()

    def close(self) -> None:
        """Close the idle connections of the sync engines, and stop listening."""
        self._stop_listening()
        self._databases.close()

    async def aclose(self) -> None:
        """Close the idle connections of all engines, and stop listening."""
        await asyncio.to_thread(self._stop_listening)
        await self._databases.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def _make_databases(
        self, url: str | URL, admin_url: str | URL | None, placements: Mapping[str, Placement]
    ) -> Placements:
        settings: ModuleSettingsByType = {
            type(module.settings): module.settings for module in self.modules.values()
        }
        control = Database(
            url, admin_url=admin_url, settings=self.settings, module_settings=settings
        )
        others = {
            name: Database(
                placement.url,
                admin_url=placement.admin_url,
                settings=self.settings,
                name=name,
                control=control,
                module_settings=settings,
            )
            for name, placement in placements.items()
            if placement.url is not None
        }
        return Placements(control, others)

    def _make_cells(
        self, placements: Mapping[str, Placement], modules: Sequence[OrganizationModule]
    ) -> Mapping[str, Cell]:
        revisions, locations = Revisions(modules), Locations(self._databases)
        return {
            database.name: Cell(
                database.name,
                placements[database.name],
                (SchemaManager if database is self._database else PlacedSchemas)(
                    database,
                    revisions,
                    locations=locations,
                    on_change=self._forget,
                    on_provisioned=self._provisioned,
                ),
            )
            for database in self._databases
        }

    def _provisioned(self, organization: Organization) -> None:
        if isinstance(self.schemas, SpreadSchemas):
            self.schemas.provisioned(organization)
        self.organizations.tell_provisioned(organization)

    def _make_listener(self, database: Database) -> ChangeListener:
        of_members = {MEMBERS_CHANNEL: self.members.forget} if database is self._database else {}
        handlers = {**of_members, CHANNEL: self._directory.forget}
        return ChangeListener(
            database.url,
            handlers,
            self._forget_all,
            connect_timeout=self.settings.connect_timeout,
            placement=database.name,
        )

    def _listen(self, database: Database) -> None:
        if self.settings.listen:
            self._listeners[database].start()

    def _stop_listening(self) -> None:
        for listener in self._listeners.values():
            listener.ask_to_stop()
        for listener in self._listeners.values():
            listener.stop()

    def _forget(self, organization_id: str) -> None:
        self._directory.forget(organization_id)
        self.members.forget(organization_id)

    def _forget_all(self) -> None:
        self._directory.clear()
        self.members.clear()

    def _should_retry(self, error: DBAPIError, attempt: int) -> bool:
        return (
            getattr(error.orig, "sqlstate", None) in _RETRYABLE
            and attempt < self.settings.max_attempts
        )


def _delay(attempt: int) -> float:
    return random.uniform(0.5, 1.5) * _BACKOFF * 2.0 ** (attempt - 1)  # noqa: S311 - jitter, no secret
