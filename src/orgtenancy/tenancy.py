"""Tenancy: the one object a host holds."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import URL, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from orgtenancy.blocks import ControlBlock, OrganizationBlock, SessionBlock
from orgtenancy.database.engines import Database
from orgtenancy.modules import OrganizationModule
from orgtenancy.operations.adoption import Adoption, AdoptionMapping
from orgtenancy.operations.lifecycle import Organizations
from orgtenancy.organizations import Organization
from orgtenancy.registry.directory import OrganizationDirectory
from orgtenancy.registry.listener import CHANNEL, ChangeListener
from orgtenancy.registry.member_directory import MemberDirectory
from orgtenancy.registry.members import MEMBERS_CHANNEL
from orgtenancy.schemas import SchemaManager
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

    Attributes:
        schemas: Provisions, finds and drops organizations.
        organizations: The life of each of them: suspend, archive, purge, the audit.
        members: Who was let into which organization at the identity provider, or put out.
        modules: What every organization's schema contains, by name.

    Raises:
        ConfigurationError: If a URL or the modules cannot work.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        admin_url: str | URL | None = None,
        modules: Sequence[OrganizationModule] = (),
        settings: Settings | None = None,
    ) -> None:
        self.settings = settings if settings is not None else Settings()
        self.modules = {module.name: module for module in modules}
        self._database = Database(
            url,
            admin_url=admin_url,
            settings=self.settings,
            module_settings={type(module.settings): module.settings for module in modules},
        )
        self._directory = OrganizationDirectory(self._database, self._listen)
        self.members = MemberDirectory(self._database, self._listen)
        self._listener = ChangeListener(
            self._database.url,
            {MEMBERS_CHANNEL: self.members.forget, CHANNEL: self._directory.forget},
            self._forget_all,
            connect_timeout=self.settings.connect_timeout,
        )
        self.schemas = SchemaManager(
            self._database,
            modules,
            on_change=self._forget,
            on_provisioned=lambda made: self.organizations.tell_provisioned(made),
        )
        self.organizations = Organizations(self._database, self.schemas, on_change=self._forget)

    @property
    def engine(self) -> Engine:
        """The engine behind the sessions; its connections need a bound organization."""
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
        return SessionBlock(self._database, self._directory, organization)

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

    def close(self) -> None:
        """Close the idle connections of the sync engines, and stop listening."""
        self._listener.stop()
        self._database.close()

    async def aclose(self) -> None:
        """Close the idle connections of all engines, and stop listening."""
        await asyncio.to_thread(self._listener.stop)
        await self._database.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def _listen(self) -> None:
        if self.settings.listen:
            self._listener.start()

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
