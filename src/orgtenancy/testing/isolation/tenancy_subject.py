"""A host's `Tenancy` as a subject: two organizations are made for it, and dropped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)

from psycopg import sql
from sqlalchemy import BigInteger, Engine, Text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from orgtenancy import Tenancy
from orgtenancy.errors import OrgTenancyError
from orgtenancy.naming import schema_name
from orgtenancy.testing.isolation.subject import Access, AsyncAccess, Subject

_TABLE = "orgtenancy_proof"


class _Base(DeclarativeBase):
    pass


class Proof(_Base):
    """A row that carries its organization's mark."""

    __tablename__ = _TABLE

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    mark: Mapped[str] = mapped_column(Text)


class TenancySubject(Subject):
    """A host's `Tenancy`, with an `admin_url`.

    Args:
        tenancy: It is not changed; what is attacked has its settings, and pools of its own.
    """

    model = Proof
    table = _TABLE
    refusals = (OrgTenancyError,)

    def __init__(self, tenancy: Tenancy, *, name: str = "orgtenancy") -> None:
        self.name = name
        self._tenancy = tenancy

    @contextmanager
    def prepared(self, marks: dict[str, str]) -> Iterator[None]:
        """Provision the organizations, give them the table and its row, and drop them."""
        schemas = self._tenancy.schemas
        try:
            for organization, mark in marks.items():
                made = schemas.provision(organization)
                self._plant(made.schema_name, made.role_name, mark)
            yield
        finally:
            for organization in marks:
                schemas.drop(organization, confirm=organization, force=True)

    @contextmanager
    def opened(self, pool_size: int) -> Iterator[Access]:
        """Open a tenancy with the host's settings and so many connections."""
        with self._copy(pool_size) as tenancy:
            yield _Access(tenancy)

    @asynccontextmanager
    async def opened_async(self, pool_size: int) -> AsyncIterator[AsyncAccess]:
        """Open the same for asynchronous work."""
        async with self._copy(pool_size) as tenancy:
            yield _AsyncAccess(tenancy)

    def stored(self, organization: str) -> list[str]:
        """Return the marks in an organization's schema, read by the owner."""
        statement = sql.SQL("SELECT mark FROM {}").format(self._name(schema_name(organization)))
        with self._tenancy._database.admin_engine.begin() as connection:
            return [mark for (mark,) in connection.exec_driver_sql(statement.as_string(None))]

    def schema_of(self, organization: str) -> str | None:
        """Return the schema of an organization."""
        return schema_name(organization)

    def _plant(self, schema: str, role: str, mark: str) -> None:
        name = self._name(schema)
        statements = (
            sql.SQL("CREATE TABLE {} (id bigint PRIMARY KEY, mark text NOT NULL)").format(name),
            sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}").format(
                name, sql.Identifier(role)
            ),
            sql.SQL("INSERT INTO {} VALUES (1, {})").format(name, sql.Literal(mark)),
        )
        with self._tenancy._database.admin_engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement.as_string(None))

    def _name(self, schema: str) -> sql.Identifier:
        return sql.Identifier(schema, _TABLE)

    def _copy(self, pool_size: int) -> Tenancy:
        tenancy = self._tenancy
        sizes = {"pool_size": pool_size, "login_pool_size": pool_size, "max_overflow": 0}
        return Tenancy(
            tenancy._database.url,
            admin_url=tenancy._database.admin_url,
            modules=list(tenancy.modules.values()),
            settings=tenancy.settings.model_copy(update=sizes),
        )


class _Access:
    """Synchronous work of a tenancy."""

    def __init__(self, tenancy: Tenancy) -> None:
        self.tenancy = tenancy

    @property
    def engine(self) -> Engine:
        return self.tenancy.engine

    def session(self, organization: str) -> AbstractContextManager[Session]:
        return self.tenancy.session(organization)

    def bound(self, organization: str) -> AbstractContextManager[object]:
        return self.tenancy.organization(organization)

    def current(self) -> AbstractContextManager[Session]:
        return self.tenancy.session()


class _AsyncAccess:
    """Asynchronous work of a tenancy."""

    def __init__(self, tenancy: Tenancy) -> None:
        self.tenancy = tenancy

    @property
    def engine(self) -> AsyncEngine:
        return self.tenancy.async_engine

    def session(self, organization: str) -> AbstractAsyncContextManager[AsyncSession]:
        return self.tenancy.session(organization)

    def bound(self, organization: str) -> AbstractContextManager[object]:
        return self.tenancy.organization(organization)

    def current(self) -> AbstractAsyncContextManager[AsyncSession]:
        return self.tenancy.session()
