"""The engines of one placement, and the sessions made on them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from threading import RLock
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from orgtenancy.context import organization_var
from orgtenancy.database.driver import AsyncOrganizationConnection, OrganizationConnection
from orgtenancy.database.pool import SLOT, AffinePool, AsyncAffinePool
from orgtenancy.database.scope import Scope, scope_of
from orgtenancy.database.sessions import (
    ControlAsyncSession,
    ControlSession,
    OrganizationAsyncSession,
    OrganizationSession,
)
from orgtenancy.errors import ConfigurationError
from orgtenancy.naming import REGISTRY_SCHEMA, control_role_name
from orgtenancy.organizations import Organization
from orgtenancy.settings import Settings

# Objects stay readable after the block that loaded them has committed.
_SESSION_OPTIONS: Mapping[str, Any] = {"expire_on_commit": False}


def normalize_url(url: str | URL) -> URL:
    """Return a URL for psycopg 3, whichever way PostgreSQL was spelled.

    Raises:
        ConfigurationError: If it is no URL of PostgreSQL, or names another driver.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as e:
        raise ConfigurationError("not a database URL") from e
    if parsed.drivername not in ("postgres", "postgresql", "postgresql+psycopg"):
        raise ConfigurationError(
            f"the driver is psycopg: use postgresql+psycopg://, not {parsed.drivername}://"
        )
    if not parsed.database:
        raise ConfigurationError("the database URL names no database")
    return parsed.set(drivername="postgresql+psycopg")


class Database:
    """One placement: a PostgreSQL server, as the app's login and as the owner sees it.

    Engines are made when first used, and hold no connection until then.

    Args:
        url: The app's login. It has no rights of its own.
        admin_url: The owner of the schemas, for provisioning and migrations.
        settings: Sizes and limits.
        name: The placement's name.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        admin_url: str | URL | None = None,
        settings: Settings,
        name: str = "default",
    ) -> None:
        self.url = normalize_url(url)
        self.admin_url = normalize_url(admin_url) if admin_url is not None else None
        self.settings = settings
        self.name = name
        self.control_scope = Scope(
            role=control_role_name(str(self.url.database)), path=(REGISTRY_SCHEMA,)
        )
        self._lock = RLock()
        self._engine: Engine | None = None
        self._async_engine: AsyncEngine | None = None
        self._admin_engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine of the app's login; its connections need an organization."""
        with self._lock:
            if self._engine is None:
                self._engine = create_engine(
                    self.url, poolclass=AffinePool, **self._engine_options()
                )
                self._install_events(self._engine)
            return self._engine

    @property
    def async_engine(self) -> AsyncEngine:
        """The async engine of the app's login; its connections need an organization."""
        with self._lock:
            if self._async_engine is None:
                self._async_engine = create_async_engine(
                    self.url, poolclass=AsyncAffinePool, **self._engine_options()
                )
                self._install_events(self._async_engine.sync_engine)
            return self._async_engine

    @property
    def admin_engine(self) -> Engine:
        """The engine of the owner, an ordinary one.

        Raises:
            ConfigurationError: If no `admin_url` was given.
        """
        if self.admin_url is None:
            raise ConfigurationError(
                "this needs the owner of the schemas: give Tenancy an admin_url",
                placement=self.name,
            )
        with self._lock:
            if self._admin_engine is None:
                self._admin_engine = create_engine(
                    self.admin_url,
                    pool_size=2,
                    max_overflow=self.settings.max_overflow,
                    connect_args={"connect_timeout": self.settings.connect_timeout},
                )
            return self._admin_engine

    def scope_of(self, organization: Organization) -> Scope:
        """Return the scope of an organization's transactions on this placement."""
        return scope_of(organization, self.settings.extensions_schema)

    def session(self, organization: Organization) -> OrganizationSession:
        """Return a new session of an organization."""
        return OrganizationSession(
            self.engine,
            organization=organization,
            scope=self.scope_of(organization),
            **_SESSION_OPTIONS,
        )

    def async_session(self, organization: Organization) -> OrganizationAsyncSession:
        """Return a new async session of an organization."""
        return OrganizationAsyncSession(
            self.async_engine,
            organization=organization,
            scope=self.scope_of(organization),
            **_SESSION_OPTIONS,
        )

    def control_session(self) -> ControlSession:
        """Return a new session of the registry."""
        return ControlSession(self.engine, scope=self.control_scope, **_SESSION_OPTIONS)

    def control_async_session(self) -> ControlAsyncSession:
        """Return a new async session of the registry."""
        return ControlAsyncSession(self.async_engine, scope=self.control_scope, **_SESSION_OPTIONS)

    def close(self) -> None:
        """Close the idle connections of the sync engines."""
        with self._lock:
            engines = (self._engine, self._admin_engine)
            self._engine = self._admin_engine = None
        for engine in engines:
            if engine is not None:
                engine.dispose()

    async def aclose(self) -> None:
        """Close the idle connections of all engines."""
        with self._lock:
            async_engine, self._async_engine = self._async_engine, None
        if async_engine is not None:
            await async_engine.dispose()
        self.close()

    def _engine_options(self) -> dict[str, Any]:
        return {
            "pool_size": self.settings.pool_size,
            "max_overflow": self.settings.max_overflow,
            "pool_timeout": self.settings.pool_timeout,
            "connect_args": {
                "prepare_threshold": self.settings.prepare_threshold,
                "connect_timeout": self.settings.connect_timeout,
            },
        }

    def _install_events(self, engine: Engine) -> None:
        # Dialect and pool events only: one engine or connection event, registered at
        # all, costs 12 % of the client's CPU on every statement.
        slots = itertools.cycle(range(self.settings.pool_size))

        @event.listens_for(engine, "do_connect")
        def open_connection(dialect: Any, record: Any, cargs: Any, cparams: Any) -> Any:
            if dialect.is_async:
                cparams["async_creator_fn"] = AsyncOrganizationConnection.connect
                return None
            return OrganizationConnection.connect(*cargs, **cparams)

        @event.listens_for(engine, "connect", insert=True)
        def prepare_connection(dbapi_connection: Any, record: Any) -> None:
            record.driver_connection.prepared_max = self.settings.prepared_statements
            record.info[SLOT] = next(slots)

        @event.listens_for(engine, "checkout")
        def hand_out(dbapi_connection: Any, record: Any, proxy: Any) -> None:
            connection = record.driver_connection
            organization = organization_var.get()
            connection.scope = None if organization is None else self.scope_of(organization)
            connection.parked = False

        @event.listens_for(engine, "checkin")
        def take_back(dbapi_connection: Any, record: Any) -> None:
            if dbapi_connection is None:  # already invalidated
                return
            connection = record.driver_connection
            connection.scope = None
            connection.parked = True
            if (
                connection.has_session_state
                or len(connection.served) > self.settings.organizations_per_connection
                or connection.info.transaction_status.name != "IDLE"
            ):
                record.invalidate()
