"""The ways to enter an organization that the request path is compared with.

Each one opens sessions of an organization, sync or async. All have pools of the same size
and the same prepared statements; each is measured with the pool filled.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from threading import Barrier
from typing import Any, NamedTuple, TypeAlias

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, SessionTransaction, sessionmaker

from orgtenancy import Settings, Tenancy
from orgtenancy.community import ActivityLog, UserProfile, community
from tests.benchmarks import rls
from tests.benchmarks.ground import ROWS, Ground, has_sqlalchemy_tenants, organization_id, user_id

#: Connections of each pool.
POOL = 5
#: What `orgtenancy` uses by default, and so do the others here.
PREPARE_THRESHOLD = 5
PREPARED_STATEMENTS = 1000

# psycopg prepares a statement after five executions, and PostgreSQL keeps a plan after five
# more. Where each organization has statements of its own, each connection that serves it
# needs as many visits. Where they share them, each connection only has to see the tables.
_VISITS = 12
_PATIENCE = 60.0  # seconds to wait for the pool's connections

BASELINE = "no tenancy"

SyncOpen: TypeAlias = Callable[[int], AbstractContextManager[Session]]
AsyncOpen: TypeAlias = Callable[[int], AbstractAsyncContextManager[AsyncSession]]
Backends: TypeAlias = Callable[[], Iterable[int]]


class Item(NamedTuple):
    """One transaction's worth of work."""

    organization: int
    key: str
    text: str


def passes(organizations: int, number: int, *, text: str = "warm") -> list[Item]:
    """Return work that visits each organization so many times.

    A pool that does not care for organizations hands out its connections in turn, so each
    pass starts one organization later: five passes visit each on each connection.
    """
    return [
        item((position + shift) % organizations, shift % ROWS, f"{text} {shift}")
        for shift in range(number)
        for position in range(organizations)
    ]


def is_wanted(name: str, only: Sequence[str] | None) -> bool:
    """Return whether a contender was asked for; the baseline always is."""
    return not only or name == BASELINE or any(part in name for part in only)


def item(organization: int, row: int, text: str) -> Item:
    """Return the work on one row of an organization."""
    return Item(organization, user_id(organization, row), text)


class Models(NamedTuple):
    """The classes that a contender works with."""

    profile: type[Any]
    log: Callable[[Item], object]


def _community_log(item: Item) -> ActivityLog:
    return ActivityLog(user_id=item.key, action="write")


def _tenant_log(item: Item) -> rls.TenantLog:
    return rls.TenantLog(organization_id(item.organization), item.key, "write")


COMMUNITY = Models(UserProfile, _community_log)
TENANTS = Models(rls.TenantProfile, _tenant_log)


def read(session: Session, models: Models, item: Item) -> None:
    """One row by its primary key."""
    assert session.get(models.profile, item.key) is not None


def write(session: Session, models: Models, item: Item) -> None:
    """`SELECT ... FOR UPDATE`, `UPDATE`, `INSERT`."""
    profile = session.get(models.profile, item.key, with_for_update=True)
    assert profile is not None
    profile.bio = item.text
    session.add(models.log(item))
    session.flush()


async def async_read(session: AsyncSession, models: Models, item: Item) -> None:
    """As `read`."""
    assert await session.get(models.profile, item.key) is not None


async def async_write(session: AsyncSession, models: Models, item: Item) -> None:
    """As `write`."""
    profile = await session.get(models.profile, item.key, with_for_update=True)
    assert profile is not None
    profile.bio = item.text
    session.add(models.log(item))
    await session.flush()


class Workload(NamedTuple):
    """What one transaction does, sync and async."""

    name: str
    sync: Callable[[Session, Models, Item], None]
    asynchronous: Callable[[AsyncSession, Models, Item], Any]


READ = Workload("one primary-key read", read, async_read)
WRITE = Workload("select for update, update, insert", write, async_write)
WORKLOADS = (READ, WRITE)


@dataclass
class SyncContender:
    """Runs one transaction after the other on a sync engine."""

    name: str
    open: SyncOpen
    close: Callable[[], None]
    backends: Backends
    commits: bool = False  # the block itself does
    reads_only: bool = False
    visits: int = 6  # of each organization, until everything is warm
    models: Models = COMMUNITY
    workload: Workload = READ

    def fill(self, organizations: int) -> None:
        """Open all connections of the pool."""
        barrier = Barrier(POOL, timeout=_PATIENCE)

        def hold(number: int) -> None:
            with self.open(number % organizations) as session:
                read(session, self.models, item(number % organizations, 0, ""))
                barrier.wait()

        with ThreadPoolExecutor(POOL) as threads:
            list(threads.map(hold, range(POOL)))

    def run(self, work: Sequence[Item]) -> None:
        """Do the work."""
        open_session, act, models = self.open, self.workload.sync, self.models
        if self.commits or self.reads_only:
            for each in work:
                with open_session(each.organization) as session:
                    act(session, models, each)
        else:
            for each in work:
                with open_session(each.organization) as session:
                    act(session, models, each)
                    session.commit()


@dataclass
class AsyncContender:
    """Runs one transaction after the other on an async engine."""

    name: str
    open: AsyncOpen
    aclose: Callable[[], Any]
    backends: Backends
    loop: asyncio.Runner
    commits: bool = False
    reads_only: bool = False
    visits: int = 6  # of each organization, until everything is warm
    models: Models = COMMUNITY
    workload: Workload = READ

    def fill(self, organizations: int) -> None:
        """Open all connections of the pool."""

        async def hold(barrier: asyncio.Barrier, number: int) -> None:
            async with self.open(number % organizations) as session:
                await async_read(session, self.models, item(number % organizations, 0, ""))
                await barrier.wait()

        async def hold_all() -> None:
            barrier = asyncio.Barrier(POOL)
            async with asyncio.timeout(_PATIENCE):
                await asyncio.gather(*(hold(barrier, number) for number in range(POOL)))

        self.loop.run(hold_all())

    def run(self, work: Sequence[Item]) -> None:
        """Do the work."""
        self.loop.run(self._run(work))

    def close(self) -> None:
        """Close the connections."""
        self.loop.run(self.aclose())

    async def _run(self, work: Sequence[Item]) -> None:
        open_session, act, models = self.open, self.workload.asynchronous, self.models
        if self.commits or self.reads_only:
            for each in work:
                async with open_session(each.organization) as session:
                    await act(session, models, each)
        else:
            for each in work:
                async with open_session(each.organization) as session:
                    await act(session, models, each)
                    await session.commit()


class _SetLocal(Session):
    """Sets the role and the path by statements of their own."""


@event.listens_for(_SetLocal, "after_begin")
def _set_local(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    for statement in session.info["statements"]:
        connection.exec_driver_sql(statement)


class _SetConfig(Session):
    """Sets the role and the path by one statement of its own."""


@event.listens_for(_SetConfig, "after_begin")
def _set_config(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    connection.exec_driver_sql(
        "SELECT set_config('role', %s, true), set_config('search_path', %s, true)",
        session.info["scope"],
    )


class _Makers:
    """What the sync and the async contenders have in common."""

    def __init__(
        self, ground: Ground, watch: psycopg.Connection[Any], organizations: int, suffix: str
    ) -> None:
        self.ground = ground
        self.watch = watch
        self.suffix = suffix
        self.chosen = ground.organizations[:organizations]
        self.ids = [o.id for o in self.chosen]
        self.statements = [
            (
                f'SET LOCAL ROLE "{o.role_name}"',
                f'SET LOCAL search_path TO "{o.schema_name}", pg_temp',
            )
            for o in self.chosen
        ]
        self.scopes = [(o.role_name, f'"{o.schema_name}", pg_temp') for o in self.chosen]
        self.maps: list[Mapping[Any, str]] = [{None: o.schema_name} for o in self.chosen]

    def named(self, url: URL, name: str) -> tuple[URL, Backends]:
        """Return a URL with a name, and a function that finds its backends by it."""
        application = f"{name} {self.suffix}"
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"

        def backends() -> Iterable[int]:
            return [pid for (pid,) in self.watch.execute(query, [application])]

        return url.update_query_dict({"application_name": application}), backends

    def tenancy(
        self, name: str, *, listen: bool, one_flush: bool = True
    ) -> tuple[Tenancy, Backends]:
        url, backends = self.named(self.ground.app, name)
        settings = Settings(
            pool_size=POOL,
            prepare_threshold=PREPARE_THRESHOLD,
            prepared_statements=PREPARED_STATEMENTS,
            # The contenders take turns, so an entry ages while the others work.
            registry_max_age=86_400,
            listen=listen,
            one_flush=one_flush,
        )
        made = Tenancy(url, admin_url=self.ground.admin, modules=[community], settings=settings)
        return made, backends


_OPTIONS: Mapping[str, Any] = {"pool_size": POOL, "max_overflow": 10}
_ARGUMENTS: Mapping[str, Any] = {"prepare_threshold": PREPARE_THRESHOLD}


def _raise_prepared(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(dbapi_connection: Any, record: Any) -> None:
        record.driver_connection.prepared_max = PREPARED_STATEMENTS


def sync_contenders(
    ground: Ground,
    watch: psycopg.Connection[Any],
    organizations: int,
    *,
    listen: bool = True,
) -> list[SyncContender]:
    """Return all that work without asyncio, the baseline first."""
    makers = _Makers(ground, watch, organizations, "sync")
    ids = makers.ids

    def plain_engine(url: URL, name: str) -> tuple[Engine, Backends]:
        named, backends = makers.named(url, name)
        engine = create_engine(named, connect_args=dict(_ARGUMENTS), **_OPTIONS)
        _raise_prepared(engine)
        return engine, backends

    def plain(name: str, *, reads_only: bool = False) -> SyncContender:
        engine, backends = plain_engine(ground.peer, name)
        maker = sessionmaker(engine, expire_on_commit=False)
        return SyncContender(
            name, lambda _: maker(), engine.dispose, backends, reads_only=reads_only
        )

    def separate(
        name: str, session_class: type[Session], key: str, values: Sequence[Any]
    ) -> SyncContender:
        engine, backends = plain_engine(ground.app, name)
        maker = sessionmaker(engine, class_=session_class, expire_on_commit=False)

        def open_session(organization: int) -> Session:
            session = maker()
            session.info[key] = values[organization]
            return session

        return SyncContender(name, open_session, engine.dispose, backends)

    def translated(name: str) -> SyncContender:
        engine, backends = plain_engine(ground.peer, name)
        engines = [engine.execution_options(schema_translate_map=m) for m in makers.maps]
        return SyncContender(
            name,
            lambda organization: Session(engines[organization], expire_on_commit=False),
            engine.dispose,
            backends,
            visits=POOL * _VISITS,
        )

    def tenants(name: str) -> SyncContender:
        from sqlalchemy_tenants.managers import PostgresManager

        engine, backends = plain_engine(ground.tenants, name)
        manager = PostgresManager.from_engine(engine, schema_name=rls.SCHEMA)
        return SyncContender(
            name,
            lambda n: manager.new_tenant_session(ids[n], create_if_missing=False),
            engine.dispose,
            backends,
            models=TENANTS,
        )

    def scoped(name: str, *, one_flush: bool = True) -> SyncContender:
        tenancy, backends = makers.tenancy(name, listen=listen, one_flush=one_flush)
        return SyncContender(
            name,
            lambda n: tenancy.session(ids[n]),
            tenancy.close,
            backends,
            commits=True,
            visits=_VISITS,
        )

    contenders = [
        plain(BASELINE),
        plain("no tenancy, again"),
        scoped("orgtenancy"),
        scoped("orgtenancy, BEGIN by itself", one_flush=False),
        plain("no tenancy, without commit", reads_only=True),
        separate("SET LOCAL, two statements", _SetLocal, "statements", makers.statements),
        separate("set_config, one statement", _SetConfig, "scope", makers.scopes),
        translated("schema_translate_map"),
    ]
    if has_sqlalchemy_tenants():
        contenders.append(tenants("sqlalchemy-tenants 0.2"))
    return contenders


def async_contenders(
    ground: Ground,
    watch: psycopg.Connection[Any],
    organizations: int,
    loop: asyncio.Runner,
    *,
    listen: bool = True,
) -> list[AsyncContender]:
    """Return all that work with asyncio, the baseline first."""
    makers = _Makers(ground, watch, organizations, "async")
    ids = makers.ids

    def plain_engine(url: URL, name: str) -> tuple[AsyncEngine, Backends]:
        named, backends = makers.named(url, name)
        engine = create_async_engine(named, connect_args=dict(_ARGUMENTS), **_OPTIONS)
        _raise_prepared(engine.sync_engine)
        return engine, backends

    def plain(name: str, *, reads_only: bool = False) -> AsyncContender:
        engine, backends = plain_engine(ground.peer, name)
        maker = async_sessionmaker(engine, expire_on_commit=False)
        return AsyncContender(
            name, lambda _: maker(), engine.dispose, backends, loop, reads_only=reads_only
        )

    def separate(
        name: str, session_class: type[Session], key: str, values: Sequence[Any]
    ) -> AsyncContender:
        engine, backends = plain_engine(ground.app, name)
        maker = async_sessionmaker(engine, sync_session_class=session_class, expire_on_commit=False)

        def open_session(organization: int) -> AsyncSession:
            session = maker()
            session.info[key] = values[organization]
            return session

        return AsyncContender(name, open_session, engine.dispose, backends, loop)

    def translated(name: str) -> AsyncContender:
        engine, backends = plain_engine(ground.peer, name)
        engines = [engine.execution_options(schema_translate_map=m) for m in makers.maps]
        return AsyncContender(
            name,
            lambda organization: AsyncSession(engines[organization], expire_on_commit=False),
            engine.dispose,
            backends,
            loop,
            visits=POOL * _VISITS,
        )

    def fastapi_tenancy(name: str, *, own_engine: bool) -> AsyncContender:
        from fastapi_tenancy import TenancyConfig, Tenant
        from fastapi_tenancy.isolation.schema import SchemaIsolationProvider

        named, backends = makers.named(ground.peer, name)
        config = TenancyConfig(
            database_url=named.render_as_string(hide_password=False),
            database_pool_size=POOL,
            database_max_overflow=10,
            resolution_strategy="header",
            isolation_strategy="schema",
        )
        engine = None if own_engine else plain_engine(ground.peer, name)[0]
        provider = SchemaIsolationProvider(config, engine)
        tenants = [
            Tenant(id=o.id, identifier=o.id, name=o.name, schema_name=o.schema_name)
            for o in makers.chosen
        ]
        return AsyncContender(
            name, lambda n: provider.get_session(tenants[n]), provider.close, backends, loop
        )

    def tenants(name: str) -> AsyncContender:
        from sqlalchemy_tenants.aio.managers import PostgresManager

        engine, backends = plain_engine(ground.tenants, name)
        manager = PostgresManager.from_engine(engine, schema_name=rls.SCHEMA)
        return AsyncContender(
            name,
            lambda n: manager.new_tenant_session(ids[n], create_if_missing=False),
            engine.dispose,
            backends,
            loop,
            models=TENANTS,
        )

    def scoped(name: str, *, one_flush: bool = True) -> AsyncContender:
        tenancy, backends = makers.tenancy(name, listen=listen, one_flush=one_flush)
        return AsyncContender(
            name,
            lambda n: tenancy.session(ids[n]),
            tenancy.aclose,
            backends,
            loop,
            commits=True,
            visits=_VISITS,
        )

    contenders = [
        plain(BASELINE),
        plain("no tenancy, again"),
        scoped("orgtenancy"),
        scoped("orgtenancy, BEGIN by itself", one_flush=False),
        plain("no tenancy, without commit", reads_only=True),
        separate("SET LOCAL, two statements", _SetLocal, "statements", makers.statements),
        separate("set_config, one statement", _SetConfig, "scope", makers.scopes),
        translated("schema_translate_map"),
    ]
    if importlib.util.find_spec("fastapi_tenancy"):
        contenders += [
            fastapi_tenancy("fastapi-tenancy 0.5", own_engine=False),
            fastapi_tenancy("fastapi-tenancy 0.5, its engine", own_engine=True),
        ]
    if has_sqlalchemy_tenants():
        contenders.append(tenants("sqlalchemy-tenants 0.2"))
    return contenders
