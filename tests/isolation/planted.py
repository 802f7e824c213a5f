"""Ways to keep organizations apart that do not: each has a bug that is seen in the wild.

They are plain SQLAlchemy on the same PostgreSQL. Each organization has a schema, and the app
logs in as the owner of all, which is the first of the bugs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from contextvars import ContextVar
from typing import Any

from psycopg import sql
from sqlalchemy import URL, BigInteger, Connection, Engine, Text, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, ORMExecuteState, Session, mapped_column

from orgtenancy.testing.isolation import Access, AsyncAccess, Subject, connections_ended


class NobodysWork(Exception):
    """No organization is bound."""


class Base(DeclarativeBase):
    pass


class Planted(Base):
    """A row that carries its organization's mark."""

    __tablename__ = "planted_rows"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    mark: Mapped[str] = mapped_column(Text)


class PlantedSession(Session):
    """A session that asks its subject to enter its organization, at every transaction."""


@event.listens_for(PlantedSession, "after_begin")
def _enter(session: Session, transaction: object, connection: Connection) -> None:
    session.info["subject"].enter(connection, session.info["organization"], session)


@event.listens_for(PlantedSession, "do_orm_execute")
def _execute(state: ORMExecuteState) -> Any:
    return state.session.info["subject"].execute(state)


class ByPath(Subject):
    """Sets the path at every transaction, and does nothing else.

    Whatever names a schema, leaves something behind or comes from another context gets through.
    """

    name = "by path alone"
    model = Planted
    table = "planted_rows"
    refusals = (NobodysWork,)

    def __init__(self, admin_url: URL) -> None:
        self.url = admin_url
        options = {"options": "-c lock_timeout=3000"}
        self._owner = create_engine(admin_url, connect_args=options)
        self._current: ContextVar[str | None] = ContextVar("planted", default=None)
        self.organizations: list[str] = []

    # What the bugs change.

    def enter(self, connection: Connection, organization: str, session: Session | None) -> None:
        """Enter an organization when a transaction begins."""
        self.set_path(connection, organization)

    def execute(self, state: ORMExecuteState) -> Any:
        """Have a say in what a session executes."""

    @contextmanager
    def bound(self, organization: str) -> Iterator[None]:
        """Bind the context."""
        token = self._current.set(organization)
        try:
            yield
        finally:
            self._current.reset(token)

    def current(self) -> str | None:
        """Return the context's organization."""
        return self._current.get()

    def new_session(self, bind: Engine, organization: str) -> Session:
        """Return a session."""
        return PlantedSession(bind, info={"subject": self, "organization": organization})

    def leave(self, session: Session, error: BaseException | None) -> None:
        """End a session's block."""
        if error is None:
            session.commit()
        session.close()

    def forget(self) -> None:
        """Forget what was remembered beside the pools, when they are closed."""

    def path(self, organization: str) -> sql.Composable:
        """Return the path of an organization."""
        return sql.Identifier(self.schema(organization))

    def engine_options(self) -> dict[str, Any]:
        """Return more options of the engine."""
        return {}

    # What they have in common.

    def set_path(self, connection: Connection, organization: str) -> None:
        """Set the path for the transaction."""
        path = sql.SQL("SET LOCAL search_path TO {}").format(self.path(organization))
        connection.exec_driver_sql(path.as_string(None))

    def set_session_path(self, connection: Connection, organization: str) -> None:
        """Set the path for as long as the connection is open."""
        path = sql.SQL("SET search_path TO {}").format(self.path(organization))
        dbapi_connection: Any = connection.connection.dbapi_connection
        connection.exec_driver_sql(path.as_string(None))
        dbapi_connection.commit()  # or a rollback takes it back

    def organization_of_context(self) -> str:
        """Return the context's organization, or refuse."""
        organization = self.current()
        if organization is None:
            raise NobodysWork("no organization is bound")
        return organization

    @property
    def owner(self) -> Engine:
        return self._owner

    @contextmanager
    def prepared(self, marks: dict[str, str]) -> Iterator[None]:
        self.organizations = list(marks)
        try:
            for organization, mark in marks.items():
                self.run(("CREATE SCHEMA {}", sql.Identifier(self.schema(organization))))
                self.reset(organization, mark)
            yield
        finally:
            for organization in marks:
                self.run(("DROP SCHEMA {} CASCADE", sql.Identifier(self.schema(organization))))
            self._owner.dispose()

    @contextmanager
    def opened(self, pool_size: int) -> Iterator[Access]:
        engine = create_engine(self.url, **self._options(pool_size))
        self._watch(engine)
        try:
            with connections_ended(engine):
                yield _Access(self, engine)
        finally:
            self.forget()
            engine.dispose()

    @asynccontextmanager
    async def opened_async(self, pool_size: int) -> AsyncIterator[AsyncAccess]:
        engine = create_async_engine(self.url, **self._options(pool_size))
        self._watch(engine.sync_engine)
        try:
            with connections_ended(engine.sync_engine):
                yield _AsyncAccess(self, engine)
        finally:
            self.forget()
            await engine.dispose()

    def stored(self, organization: str) -> list[str]:
        return [mark for (mark,) in self.run(("SELECT mark FROM {}", self._table(organization)))]

    def reset(self, organization: str, mark: str) -> None:
        name = self._table(organization)
        self.run(
            ("CREATE TABLE IF NOT EXISTS {} (id bigint PRIMARY KEY, mark text NOT NULL)", name),
            ("DELETE FROM {}", name),
            ("INSERT INTO {} (id, mark) VALUES (1, {})", name, sql.Literal(mark)),
        )

    def schema_of(self, organization: str) -> str | None:
        return self.schema(organization)

    def schema(self, organization: str) -> str:
        """Return the schema of an organization."""
        return f"planted_{organization}"

    def run(self, *statements: Sequence[Any]) -> list[Any]:
        """Run statements as the owner, and return the rows of the last one."""
        with self._owner.begin() as connection:
            for query, *names in statements:
                composed = sql.SQL(query).format(*names).as_string(None)
                result = connection.exec_driver_sql(composed)
            return list(result) if result.returns_rows else []

    def _table(self, organization: str) -> sql.Identifier:
        return sql.Identifier(self.schema(organization), self.table)

    def _options(self, pool_size: int) -> dict[str, Any]:
        limits = {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": 3}
        return {**limits, **self.engine_options()}

    def _watch(self, engine: Engine) -> None:
        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            organization = self.current()
            if organization is not None:
                self.enter(connection, organization, None)


class _Access:
    def __init__(self, subject: ByPath, engine: Engine) -> None:
        self._subject = subject
        self.engine = engine

    @contextmanager
    def session(self, organization: str) -> Iterator[Session]:
        with self._subject.bound(organization):
            session = self._subject.new_session(self.engine, organization)
            try:
                yield session
            except BaseException as error:
                self._subject.leave(session, error)
                raise
            self._subject.leave(session, None)

    def bound(self, organization: str) -> AbstractContextManager[object]:
        return self._subject.bound(organization)

    def current(self) -> AbstractContextManager[Session]:
        return self.session(self._subject.organization_of_context())


class _AsyncAccess:
    def __init__(self, subject: ByPath, engine: AsyncEngine) -> None:
        self._subject = subject
        self.engine = engine

    @asynccontextmanager
    async def session(self, organization: str) -> AsyncIterator[AsyncSession]:
        with self._subject.bound(organization):
            session = _wrapped(self._subject.new_session(self.engine.sync_engine, organization))
            leave = self._subject.leave
            try:
                yield session
            except BaseException as error:
                await session.run_sync(leave, error)
                raise
            await session.run_sync(leave, None)

    def bound(self, organization: str) -> AbstractContextManager[object]:
        return self._subject.bound(organization)

    def current(self) -> AbstractAsyncContextManager[AsyncSession]:
        return self.session(self._subject.organization_of_context())


def _wrapped(session: Session) -> AsyncSession:
    wrapper = AsyncSession()
    wrapper.sync_session = wrapper._proxied = wrapper._assign_proxied(session)
    return wrapper
