"""The engines of one placement, and the sessions made on them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, cached_property
from threading import RLock, Semaphore
from typing import Any, TypeVar
from weakref import WeakSet

from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine

from orgtenancy.database.factory import make_async_engine, make_engine
from orgtenancy.database.logins import LoginEngines, login_password
from orgtenancy.database.scope import Scope, scope_of
from orgtenancy.database.sessions import (
    ControlAsyncSession,
    ControlSession,
    ModuleSettingsByType,
    OrganizationAsyncSession,
    OrganizationSession,
)
from orgtenancy.errors import ConfigurationError
from orgtenancy.naming import CONTROL_PLACEMENT, REGISTRY_SCHEMA, control_role_name
from orgtenancy.organizations import Organization
from orgtenancy.settings import IsolationLevel, Settings

E = TypeVar("E", Engine, AsyncEngine)

# Objects stay readable after the block that loaded them has committed.
# A closed session stays closed: work that a task does after the block would be lost.
_SESSION_OPTIONS: Mapping[str, Any] = {"expire_on_commit": False, "close_resets_only": False}

# Connections of the owner that are kept; more are opened under load, then closed.
_ADMIN_POOL_SIZE = 3
# How many of them do brief work, such as claims: beside them spares are made.
_BRIEF_POOL_SIZE = 2


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


def connect_options(url: URL, *, connect_timeout: int) -> dict[str, Any]:
    """Return what psycopg's own `connect` takes for a URL."""
    return {
        "connect_timeout": connect_timeout,
        **url.query,
        **url.translate_connect_args(username="user", database="dbname"),
    }


_databases: WeakSet[Database] = WeakSet()


@cache
def _register_fork_handler() -> None:
    def forget() -> None:
        for database in _databases:
            database.forget_connections()

    os.register_at_fork(after_in_child=forget)


def _forget_after_fork(database: Database) -> None:
    _register_fork_handler()
    _databases.add(database)


class Database:
    """One placement: a PostgreSQL server, as the app's login and as the owner sees it.

    Engines are made when first used, and hold no connection until then.

    Args:
        url: The app's login. It has no rights of its own.
        admin_url: The owner of the schemas, for provisioning and migrations.
        settings: Sizes and limits.
        name: The placement's name.
        control: The control server, if this is another one.
        module_settings: The settings of the registered modules, by their class.
        transactions: Execution options of the organizations' transactions, such as
            `isolation_level`.

    Attributes:
        control: The control server, where members and identities are; itself, if it is that.
        brief_work: To be held while the owner does work that takes less time than connecting:
            many at once wait for the connections that are kept, and open no others.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        admin_url: str | URL | None = None,
        settings: Settings,
        name: str = CONTROL_PLACEMENT,
        control: Database | None = None,
        module_settings: ModuleSettingsByType | None = None,
        transactions: Mapping[str, Any] | None = None,
    ) -> None:
        self.control = self if control is None else control
        self.url = normalize_url(url)
        self.admin_url = normalize_url(admin_url) if admin_url is not None else None
        self.settings = settings
        self.name = name
        self._module_settings = module_settings
        self._transactions = transactions
        without_roles = settings.isolation is IsolationLevel.SEARCH_PATH
        self.control_scope = Scope(
            role=None if without_roles else control_role_name(str(self.url.database)),
            path=(REGISTRY_SCHEMA,),
        )
        self.has_logins = settings.isolation is IsolationLevel.LOGIN
        limit = settings.login_pools
        self._logins = LoginEngines[Engine](
            self._login_engine, Engine.dispose, lambda engine: engine.pool, limit
        )
        self._async_logins = LoginEngines[AsyncEngine](
            self._async_login_engine, self._dispose_later, lambda engine: engine.pool, limit
        )
        self._disposals: set[asyncio.Task[None]] = set()
        _forget_after_fork(self)
        self._lock = RLock()
        self._engine: Engine | None = None
        self._async_engine: AsyncEngine | None = None
        self._admin_engine: Engine | None = None
        self._side_engine: Engine | None = None
        self.brief_work = Semaphore(_BRIEF_POOL_SIZE)

    @property
    def engine(self) -> Engine:
        """The engine of the app's login; its connections need an organization."""
        engine = self._engine
        if engine is None:
            with self._lock:
                engine = self._engine = self._engine or make_engine(self.url, self.settings)
        return engine

    @property
    def async_engine(self) -> AsyncEngine:
        """The async engine of the app's login; its connections need an organization."""
        engine = self._async_engine
        if engine is None:
            with self._lock:
                engine = self._async_engine or make_async_engine(self.url, self.settings)
                self._async_engine = engine
        return engine

    @property
    def admin_engine(self) -> Engine:
        """The engine of the owner, an ordinary one.

        Raises:
            ConfigurationError: If no `admin_url` was given.
        """
        with self._lock:
            if self._admin_engine is None:
                self._admin_engine = self.make_admin_engine(
                    pool_size=_ADMIN_POOL_SIZE,
                    max_overflow=self.settings.max_overflow,
                    pool_use_lifo=True,  # a backend at work knows the catalogs, an idle one not
                )
            return self._admin_engine

    @property
    def side_engine(self) -> Engine:
        """Another engine of the owner, for work beside a transaction that waits for it.

        It has no limit: who holds one connection never waits for a second one.

        Raises:
            ConfigurationError: If no `admin_url` was given.
        """
        with self._lock:
            if self._side_engine is None:
                self._side_engine = self.make_admin_engine(pool_size=1, max_overflow=-1)
            return self._side_engine

    def make_admin_engine(self, *, options: str | None = None, **engine_options: Any) -> Engine:
        """Return a new engine of the owner; the caller disposes of it.

        Args:
            options: Options of the session, as libpq has them: `-c name=value`.
            **engine_options: As `create_engine` takes them.

        Raises:
            ConfigurationError: If no `admin_url` was given.
        """
        if self.admin_url is None:
            raise ConfigurationError(
                "this needs the owner of the schemas: give Tenancy an admin_url",
                placement=self.name,
            )
        arguments: dict[str, Any] = {"connect_timeout": self.settings.connect_timeout}
        if options is not None:
            given = self.admin_url.query.get("options", "")
            arguments["options"] = f"{given} {options}".strip()
        return create_engine(
            self.admin_url,
            connect_args=arguments,
            hide_parameters=self.settings.hide_parameters,
            **engine_options,
        )

    @contextmanager
    def on_control(self, connection: Connection) -> Iterator[Connection]:
        """Lend a transaction of the control server's owner: the given one, if this is it.

        Another one is committed at the end of the block, before the given one is.
        """
        if self.control is self:
            yield connection
            return
        with self.control.admin_engine.begin() as other:
            yield other

    @cached_property
    def has_citus(self) -> bool:
        """Whether the server is a Citus coordinator, which has rules of its own."""
        with self.admin_engine.connect() as connection:
            query = text("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')")
            return bool(connection.scalar(query))

    def scope_of(self, organization: Organization) -> Scope:
        """Return the scope of an organization's transactions on this placement."""
        return scope_of(organization, self.settings)

    def session(self, organization: Organization) -> OrganizationSession:
        """Return a new session of an organization."""
        return OrganizationSession(
            self._begun(self._logins.get(organization) if self.has_logins else self.engine),
            organization=organization,
            scope=scope_of(organization, self.settings),
            module_settings=self._module_settings,
            **_SESSION_OPTIONS,
        )

    def async_session(self, organization: Organization) -> OrganizationAsyncSession:
        """Return a new async session of an organization."""
        has_logins, logins = self.has_logins, self._async_logins
        return OrganizationAsyncSession(
            self._begun(logins.get(organization) if has_logins else self.async_engine),
            organization=organization,
            scope=self.scope_of(organization),
            module_settings=self._module_settings,
            **_SESSION_OPTIONS,
        )

    def owner_session(
        self, connection: Connection, organization: Organization
    ) -> OrganizationSession:
        """Return a session of an organization in a transaction of the owner, which goes on.

        Args:
            connection: A connection of the owner, in a transaction that has entered the schema.
            organization: Whose schema.
        """
        return OrganizationSession(
            connection,
            organization=organization,
            scope=self.scope_of(organization),
            module_settings=self._module_settings,
            **_SESSION_OPTIONS,
        )

    def control_session(self) -> ControlSession:
        """Return a new session of the registry."""
        return ControlSession(self.engine, scope=self.control_scope, **_SESSION_OPTIONS)

    def control_async_session(self) -> ControlAsyncSession:
        """Return a new async session of the registry."""
        return ControlAsyncSession(self.async_engine, scope=self.control_scope, **_SESSION_OPTIONS)

    def _begun(self, engine: E) -> E:
        """Return an engine whose transactions begin as they are to."""
        if self._transactions is None:
            return engine
        return engine.execution_options(**self._transactions)

    def apart(
        self,
        pool_size: int,
        control: Database | None = None,
        *,
        transactions: Mapping[str, Any] | None = None,
    ) -> Database:
        """Return the same placement with pools of its own, which the caller closes.

        What goes through the whole fleet uses it: a connection that has served many is full of
        their catalogs, and would be closed instead of serving requests.

        Args:
            pool_size: How many connections it has at the most.
            control: The control server, if this is another one.
            transactions: What its organizations' transactions are like.
        """
        limits = {"pool_size": pool_size, "max_overflow": 0, "login_pools": pool_size}
        return Database(
            self.url,
            admin_url=self.admin_url,
            settings=self.settings.model_copy(update=limits),
            name=self.name,
            control=control,
            module_settings=self._module_settings,
            transactions=transactions,
        )

    def close(self) -> None:
        """Close the idle connections of the sync engines."""
        with self._lock:
            engines = (self._engine, self._admin_engine, self._side_engine)
            self._engine = self._admin_engine = self._side_engine = None
        for engine in (*engines, *self._logins.pop_all()):
            if engine is not None:
                engine.dispose()

    async def aclose(self) -> None:
        """Close the idle connections of all engines."""
        with self._lock:
            async_engine, self._async_engine = self._async_engine, None
        for engine in (async_engine, *self._async_logins.pop_all()):
            if engine is not None:
                await engine.dispose()
        await asyncio.gather(*self._disposals)
        self.close()

    def forget_connections(self) -> None:
        """Leave all connections to the parent process, after a fork.

        Two processes on one socket would read each other's answers.
        """
        self._lock = RLock()
        self.brief_work = Semaphore(_BRIEF_POOL_SIZE)
        self._logins.renew_lock()
        self._async_logins.renew_lock()
        async_engines = (self._async_engine, *self._async_logins.pop_all())
        engines = (
            self._engine,
            self._admin_engine,
            self._side_engine,
            *self._logins.pop_all(),
        )
        for engine in (*engines, *(e.sync_engine for e in async_engines if e is not None)):
            if engine is not None:
                engine.dispose(close=False)

    def role_url(self, role: str) -> URL:
        """Return the URL of an organization's own login, at level `login`."""
        if self.settings.login_secret is None:
            raise ConfigurationError("isolation 'login' needs a login_secret")
        secret = self.settings.login_secret.get_secret_value()
        return self.url.set(username=role, password=login_password(secret, role))

    def _login_engine(self, organization: Organization) -> Engine:
        url = self.role_url(organization.role_name)
        return make_engine(url, self.settings, self.settings.login_pool_size)

    def _async_login_engine(self, organization: Organization) -> AsyncEngine:
        url = self.role_url(organization.role_name)
        return make_async_engine(url, self.settings, self.settings.login_pool_size)

    def _dispose_later(self, engine: AsyncEngine) -> None:
        # Sessions are made outside of any await, while closing a pool needs one.
        task = asyncio.get_running_loop().create_task(engine.dispose())
        self._disposals.add(task)
        task.add_done_callback(self._disposals.discard)
