"""A host's `Tenancy` as a subject: two organizations are made for it, and dropped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from typing import Any

from psycopg import sql
from sqlalchemy import URL, BigInteger, Engine, Text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from orgtenancy import Tenancy, copy_context
from orgtenancy.errors import OrgTenancyError
from orgtenancy.naming import CONTROL_PLACEMENT, schema_name
from orgtenancy.schemas.rights import grantee_of
from orgtenancy.settings import IsolationLevel
from orgtenancy.testing.isolation.subject import (
    Access,
    AsyncAccess,
    Subject,
    connections_ended,
)

_TABLE = "orgtenancy_proof"
_PATIENCE = 3.0  # seconds to wait for a connection: a leak that keeps one for good is told


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
        tenancy: It is not changed; what is attacked has its settings, and pools of its own. It
            does not hear of changes, so that what it remembers is out of date.
        name: What the report calls it.
        url: The app's login, if not the tenancy's own: through a pooler, for instance.
    """

    model = Proof
    table = _TABLE
    refusals = (OrgTenancyError,)

    def __init__(
        self, tenancy: Tenancy, *, name: str = "orgtenancy", url: str | URL | None = None
    ) -> None:
        self.name = name
        self.stands_hostile_sql = tenancy.settings.isolation is IsolationLevel.LOGIN
        self._tenancy = tenancy
        self._url = tenancy._database.url if url is None else url

    @property
    def owner(self) -> Engine:
        """The engine of the schemas' owner."""
        return self._tenancy._database.admin_engine

    @contextmanager
    def prepared(self, marks: dict[str, str]) -> Iterator[None]:
        """Provision the organizations, give them the table and its row, and drop them."""
        with ExitStack() as made:
            for organization, mark in marks.items():
                self._tenancy.schemas.provision(organization, placement=CONTROL_PLACEMENT)
                made.callback(self._drop, organization)
                self.reset(organization, mark)
            yield

    @contextmanager
    def opened(self, pool_size: int) -> Iterator[Access]:
        """Open a tenancy with the host's settings and so many connections."""
        with self._copy(pool_size) as tenancy, connections_ended(tenancy.engine):
            yield _Access(tenancy)

    @asynccontextmanager
    async def opened_async(self, pool_size: int) -> AsyncIterator[AsyncAccess]:
        """Open the same for asynchronous work."""
        async with self._copy(pool_size) as tenancy:
            with connections_ended(tenancy.async_engine.sync_engine):
                yield _AsyncAccess(tenancy)

    def stored(self, organization: str) -> list[str]:
        """Return the marks in an organization's schema, read by the owner."""
        (rows,) = self._own(sql.SQL("SELECT mark FROM {}").format(self._table(organization)))
        return [mark for (mark,) in rows]

    def reset(self, organization: str, mark: str) -> None:
        """Give an organization row 1 with its mark again, and no other row."""
        name = self._table(organization)
        role = self._tenancy.schemas.get(organization).role_name
        self._own(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS {} (id bigint PRIMARY KEY, mark text NOT NULL)"
            ).format(name),
            sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON {} TO {}").format(
                name, sql.Identifier(grantee_of(self._tenancy._database, role))
            ),
            sql.SQL("DELETE FROM {}").format(name),
            sql.SQL("INSERT INTO {} (id, mark) VALUES (1, {})").format(name, sql.Literal(mark)),
        )

    def schema_of(self, organization: str) -> str | None:
        """Return the schema of an organization."""
        return schema_name(organization)

    def role_of(self, organization: str) -> str | None:
        """Return the role of an organization."""
        if self._tenancy.settings.isolation is IsolationLevel.SEARCH_PATH:
            return None
        return self._tenancy.schemas.get(organization).role_name

    def carried(self, function: Callable[[], Any]) -> Callable[[], Any]:
        """Return a function that carries the organization along, as a host does it."""
        return copy_context(function)

    @contextmanager
    def closed(self, organization: str, status: str) -> Iterator[None]:
        """Close an organization as its operator would, and open it again."""
        life = self._tenancy.organizations
        (mark,) = self.stored(organization)
        if status == "suspended":
            life.suspend(organization)
        elif status == "fenced":
            life.fence(organization)
        else:
            life.archive(organization)
            if status == "purged":
                life.purge(organization, confirm=organization, now=True)
        try:
            yield
        finally:
            if status == "purged":
                self._drop(organization)
                self._make(organization, mark)
            else:
                {"suspended": life.resume, "fenced": life.unfence, "archived": life.restore}[
                    status
                ](organization)

    def _make(self, organization: str, mark: str) -> None:
        self._tenancy.schemas.provision(organization, placement=CONTROL_PLACEMENT)
        self.reset(organization, mark)

    def _drop(self, organization: str) -> None:
        self._tenancy.schemas.drop(organization, confirm=organization, force=True)

    def _own(self, *statements: sql.Composed) -> list[Sequence[Any]]:
        with self.owner.begin() as connection:
            results = [connection.exec_driver_sql(s.as_string(None)) for s in statements]
            return [result.all() if result.returns_rows else () for result in results]

    def _table(self, organization: str) -> sql.Identifier:
        return sql.Identifier(schema_name(organization), _TABLE)

    def _copy(self, pool_size: int) -> Tenancy:
        tenancy = self._tenancy
        changes = {
            "pool_size": pool_size,
            "login_pool_size": pool_size,
            "max_overflow": 0,
            "pool_timeout": _PATIENCE,
            "listen": False,
        }
        return Tenancy(
            self._url,
            admin_url=tenancy._database.admin_url,
            modules=list(tenancy.modules.values()),
            settings=tenancy.settings.model_copy(update=changes),
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
