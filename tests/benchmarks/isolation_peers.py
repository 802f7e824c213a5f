"""fastapi-tenancy and sqlalchemy-tenants as subjects of the proof kit.

Each works with the login that its kind needs and no right beyond: rows of all organizations,
but neither tables nor databases of its own. What a host does by hand around them, such as the
commit, is done here as their documentation shows it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import Any

from psycopg import sql
from sqlalchemy import URL, BigInteger, Engine, Text, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from orgtenancy.testing.isolation import (
    Access,
    AsyncAccess,
    NotApplicable,
    Subject,
    connections_ended,
)
from tests.benchmarks import rls

_PASSWORD = "proof"
_TABLE = "proof_rows"


class _Base(DeclarativeBase):
    pass


class Row(_Base):
    """A row that carries its organization's mark."""

    __tablename__ = _TABLE

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    mark: Mapped[str] = mapped_column(Text)


class Peer(Subject):
    """What the two have in common: an owner who makes what they work with.

    Args:
        url: Any login of the server.
        admin_url: The owner.
    """

    model = Row
    table = _TABLE
    login: str

    def __init__(self, url: URL, admin_url: URL) -> None:
        self.url = url.set(username=self.login, password=_PASSWORD)
        self._owner = create_engine(admin_url)

    @property
    def owner(self) -> Engine:
        return self._owner

    @contextmanager
    def prepared(self, marks: dict[str, str]) -> Iterator[None]:
        login = sql.Identifier(self.login)
        self._run(("CREATE ROLE {} LOGIN NOINHERIT PASSWORD {}", login, sql.Literal(_PASSWORD)))
        self._make(list(marks))
        for organization, mark in marks.items():
            self.reset(organization, mark)
        yield  # the server is the proof's own, and ends with it

    @abstractmethod
    def _make(self, organizations: Sequence[str]) -> None: ...

    def _run(self, *statements: Sequence[Any]) -> list[Any]:
        with self._owner.begin() as connection:
            for query, *names in statements:
                composed = sql.SQL(query).format(*names).as_string(None)
                result = connection.exec_driver_sql(composed)
            return list(result) if result.returns_rows else []


class FastapiTenancy(Peer):
    """A schema per organization; the path is set when a session's transaction begins."""

    name = "fastapi-tenancy 0.5"
    login = "proof_fastapi_tenancy"

    def __init__(self, url: URL, admin_url: URL) -> None:
        from fastapi_tenancy import Tenant
        from fastapi_tenancy.core.exceptions import IsolationError, TenantNotFoundError

        super().__init__(url, admin_url)
        self.refusals = (IsolationError, TenantNotFoundError)
        self._tenant = Tenant

    def opened(self, pool_size: int) -> AbstractContextManager[Access]:
        raise NotApplicable("it has no synchronous sessions")

    @asynccontextmanager
    async def opened_async(self, pool_size: int) -> AsyncIterator[AsyncAccess]:
        from fastapi_tenancy import TenancyConfig
        from fastapi_tenancy.isolation.schema import SchemaIsolationProvider

        config = TenancyConfig(
            database_url=self.url.render_as_string(hide_password=False),
            resolution_strategy="header",
            isolation_strategy="schema",
        )
        engine = create_async_engine(self.url, **_options(pool_size))
        provider = SchemaIsolationProvider(config, engine)
        try:
            with connections_ended(engine.sync_engine):
                yield _FastapiTenancyAccess(self, engine, provider)
        finally:
            await provider.close()
            await engine.dispose()

    def tenant(self, organization: str) -> Any:
        """Return an organization as the library knows it."""
        return self._tenant(
            id=organization,
            identifier=organization,
            name=organization,
            schema_name=self.schema_of(organization),
        )

    def schema_of(self, organization: str) -> str:
        return f"proof_{organization.replace('-', '_')}"

    def stored(self, organization: str) -> list[str]:
        return [mark for (mark,) in self._run(("SELECT mark FROM {}", self._name(organization)))]

    def reset(self, organization: str, mark: str) -> None:
        name = self._name(organization)
        self._run(
            ("DELETE FROM {}", name),
            ("INSERT INTO {} (id, mark) VALUES (1, {})", name, sql.Literal(mark)),
        )

    def _make(self, organizations: Sequence[str]) -> None:
        login = sql.Identifier(self.login)
        for organization in organizations:
            schema, name = sql.Identifier(self.schema_of(organization)), self._name(organization)
            self._run(
                ("CREATE SCHEMA {}", schema),
                ("GRANT USAGE ON SCHEMA {} TO {}", schema, login),
                ("CREATE TABLE {} (id bigint PRIMARY KEY, mark text NOT NULL)", name),
                ("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}", name, login),
            )

    def _name(self, organization: str) -> sql.Identifier:
        return sql.Identifier(self.schema_of(organization), _TABLE)


class _FastapiTenancyAccess:
    def __init__(self, subject: FastapiTenancy, engine: AsyncEngine, provider: Any) -> None:
        self.engine = engine
        self._subject = subject
        self._provider = provider

    def session(self, organization: str) -> AbstractAsyncContextManager[AsyncSession]:
        return self._session(self._subject.tenant(organization))

    @contextmanager
    def bound(self, organization: str) -> Iterator[None]:
        from fastapi_tenancy.core.context import TenantContext

        token = TenantContext.set(self._subject.tenant(organization))
        try:
            yield
        finally:
            TenantContext.reset(token)

    @asynccontextmanager
    async def current(self) -> AsyncIterator[AsyncSession]:
        from fastapi_tenancy.core.context import TenantContext

        async with self._session(TenantContext.get()) as session:
            yield session

    @asynccontextmanager
    async def _session(self, tenant: Any) -> AsyncIterator[AsyncSession]:
        async with self._provider.get_session(tenant) as session:
            yield session
            await session.commit()


class SqlalchemyTenants(Peer):
    """One table for all, row-level security, and a role per organization."""

    name = "sqlalchemy-tenants 0.2"
    login = "proof_sqlalchemy_tenants"

    def __init__(self, url: URL, admin_url: URL) -> None:
        from sqlalchemy_tenants.exceptions import SqlalchemyTenantErr

        super().__init__(url, admin_url)
        self.refusals = (SqlalchemyTenantErr,)

    @contextmanager
    def opened(self, pool_size: int) -> Iterator[Access]:
        from sqlalchemy_tenants.managers import PostgresManager

        engine = create_engine(self.url, **_options(pool_size))
        try:
            with connections_ended(engine):
                yield _TenantsAccess(engine, PostgresManager.from_engine(engine, rls.SCHEMA))
        finally:
            engine.dispose()

    @asynccontextmanager
    async def opened_async(self, pool_size: int) -> AsyncIterator[AsyncAccess]:
        from sqlalchemy_tenants.aio.managers import PostgresManager

        engine = create_async_engine(self.url, **_options(pool_size))
        try:
            with connections_ended(engine.sync_engine):
                yield _AsyncTenantsAccess(engine, PostgresManager.from_engine(engine, rls.SCHEMA))
        finally:
            await engine.dispose()

    def schema_of(self, organization: str) -> None:
        return None

    def role_of(self, organization: str) -> str:
        from sqlalchemy_tenants.core import get_tenant_role_name

        return str(get_tenant_role_name(organization))

    def stored(self, organization: str) -> list[str]:
        query = "SELECT mark FROM {} WHERE tenant = {}"
        rows = self._run((query, self._name, sql.Literal(organization)))
        return [mark for (mark,) in rows]

    def reset(self, organization: str, mark: str) -> None:
        tenant = sql.Literal(organization)
        self._run(
            ("DELETE FROM {} WHERE tenant = {}", self._name, tenant),
            (
                "INSERT INTO {} (id, mark, tenant) VALUES (1, {}, {})",
                self._name,
                sql.Literal(mark),
                tenant,
            ),
        )

    @property
    def _name(self) -> sql.Identifier:
        return sql.Identifier(rls.SCHEMA, _TABLE)

    def _make(self, organizations: Sequence[str]) -> None:
        from sqlalchemy_tenants import core

        schema, login = sql.Identifier(rls.SCHEMA), sql.Identifier(self.login)
        get_tenant = core._GET_TENANT_FUNCTION_TEMPLATE.format(
            name=core.GET_TENANT_FUNCTION_NAME, tenant_role_prefix=core.TENANT_ROLE_PREFIX
        )
        self._run(
            ("CREATE SCHEMA {}", schema),
            ("ALTER ROLE {} SET search_path TO {}", login, schema),
            ("SET LOCAL search_path TO {}", schema),
            (get_tenant,),
            (
                "CREATE TABLE {} (id bigint NOT NULL, mark text NOT NULL, tenant varchar NOT NULL "
                "DEFAULT {}(), PRIMARY KEY (tenant, id))",
                self._name,
                sql.Identifier(core.GET_TENANT_FUNCTION_NAME),
            ),
            ("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", self._name),
            (core.get_table_policy(table_name=_TABLE, column_type=str),),
        )
        for organization in organizations:
            role = sql.Identifier(self.role_of(organization))
            self._run(
                ("CREATE ROLE {}", role),
                ("GRANT {} TO {}", role, login),
                ("GRANT USAGE ON SCHEMA {} TO {}", schema, role),
                ("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}", self._name, role),
            )


class _NoContext:
    """It knows no current organization: each session is told."""

    def bound(self, organization: str) -> AbstractContextManager[object]:
        raise NotApplicable("it has no context")

    def current(self) -> Any:
        raise NotApplicable("it has no context")


class _TenantsAccess(_NoContext):
    def __init__(self, engine: Engine, manager: Any) -> None:
        self.engine = engine
        self._manager = manager

    @contextmanager
    def session(self, organization: str) -> Iterator[Session]:
        with self._manager.new_tenant_session(organization, create_if_missing=False) as session:
            yield session
            session.commit()


class _AsyncTenantsAccess(_NoContext):
    def __init__(self, engine: AsyncEngine, manager: Any) -> None:
        self.engine = engine
        self._manager = manager

    @asynccontextmanager
    async def session(self, organization: str) -> AsyncIterator[AsyncSession]:
        manager = self._manager
        async with manager.new_tenant_session(organization, create_if_missing=False) as session:
            yield session
            await session.commit()


def _options(pool_size: int) -> dict[str, Any]:
    return {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": 3}
