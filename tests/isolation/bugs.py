"""The bugs: each class changes one thing, and so lets one kind of leak through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from psycopg import sql
from sqlalchemy import Connection, Engine
from sqlalchemy.orm import ORMExecuteState, Session

from orgtenancy.testing.isolation import TenancySubject
from tests.isolation.planted import ByPath, PlantedSession


class PathOfTheConnection(ByPath):
    """Sets the path once for each connection of the pool."""

    name = "the path is set once per connection"

    def enter(self, connection: Connection, organization: str, session: Session | None) -> None:
        if "organization" not in connection.info:
            connection.info["organization"] = organization
            self.set_session_path(connection, organization)


class ResetOnSuccess(PathOfTheConnection):
    """Sets the path for the session, and takes it back where all went well."""

    name = "the path is taken back on success only"

    def leave(self, session: Session, error: BaseException | None) -> None:
        if error is None:
            session.commit()
            session.connection().info.pop("organization", None)
        session.close()


class DefaultOrganization(ByPath):
    """Has a default organization, the last one that was made.

    A session's first statement of the ORM, and a connection's first transaction, set the path.
    """

    name = "a default organization"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._entered: WeakSet[Any] = WeakSet()

    def engine_options(self) -> dict[str, Any]:
        path = self.path(self.organizations[-1]).as_string(None)
        return {"connect_args": {"options": f"-c search_path={path}"}}

    def enter(self, connection: Connection, organization: str, session: Session | None) -> None:
        if session is None:
            self._enter_once(connection, connection, organization)

    def execute(self, state: ORMExecuteState) -> Any:
        session = state.session
        self._enter_once(session, session.connection(), session.info["organization"])

    def current(self) -> str | None:
        return super().current() or self.organizations[-1]

    def _watch(self, engine: Engine) -> None:
        pass

    def _enter_once(self, key: object, connection: Connection, organization: str) -> None:
        if key not in self._entered:
            self._entered.add(key)
            self.set_path(connection, organization)


class GlobalContext(ByPath):
    """Keeps the current organization in a variable of the process."""

    name = "the context is a global"
    _global: str | None = None

    @contextmanager
    def bound(self, organization: str) -> Iterator[None]:
        before, self._global = self._global, organization
        try:
            yield
        finally:
            self._global = before

    def current(self) -> str | None:
        return self._global


class FirstContext(GlobalContext):
    """Looks the current organization up once, and remembers it."""

    name = "the first context is remembered"

    @contextmanager
    def bound(self, organization: str) -> Iterator[None]:
        self._global = self._global or organization
        yield

    def forget(self) -> None:
        self._global = None


class OneSession(ByPath):
    """Has one session for everybody, with one identity map."""

    name = "one session for everybody"
    _session: Session | None = None

    def new_session(self, bind: Engine, organization: str) -> Session:
        if self._session is None:
            self._session = PlantedSession(bind, expire_on_commit=False, info={"subject": self})
        self._session.info["organization"] = organization
        return self._session

    def leave(self, session: Session, error: BaseException | None) -> None:
        if error is None:
            session.commit()
        else:
            session.rollback()

    def forget(self) -> None:
        self._session = None


class CachedRows(ByPath):
    """Keeps what a statement has found, by the statement's text."""

    name = "rows are cached by the statement"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._cache: dict[str, Any] = {}

    def execute(self, state: ORMExecuteState) -> Any:
        key = str(state.statement)
        if key not in self._cache:
            self._cache[key] = state.invoke_statement().freeze()
        return self._cache[key]()

    def forget(self) -> None:
        self._cache.clear()


class PublicFallback(ByPath):
    """Has `public` in the path, behind the organization's schema."""

    name = "public is in the path"

    def path(self, organization: str) -> sql.Composable:
        return sql.SQL("{}, public").format(super().path(organization))


class OnlyTheRegistryKnows(TenancySubject):
    """Closes an organization in the registry, and not in PostgreSQL."""

    @contextmanager
    def closed(self, organization: str, status: str) -> Iterator[None]:
        self._set_status(organization, "suspended")
        try:
            yield
        finally:
            self._set_status(organization, "active")

    def _set_status(self, organization: str, status: str) -> None:
        with self.owner.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE orgtenancy.organizations SET status = %s WHERE id = %s",
                (status, organization),
            )
