"""Engines whose connections need an organization."""

from __future__ import annotations

import itertools
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from orgtenancy.context import organization_var
from orgtenancy.database.driver import AsyncOrganizationConnection, OrganizationConnection
from orgtenancy.database.pool import SLOT, AffinePool, AsyncAffinePool
from orgtenancy.settings import Settings

# The driver's connection in a pool record's `info`, a look-up that is cheaper than asking
# the record for it.
CONNECTION = "orgtenancy.connection"


def make_engine(url: URL, settings: Settings, pool_size: int | None = None) -> Engine:
    """Return an engine for a login of the app.

    Args:
        url: The login.
        settings: Sizes and limits.
        pool_size: Connections that are kept, if not as many as the settings say.
    """
    size = settings.pool_size if pool_size is None else pool_size
    engine = create_engine(url, poolclass=AffinePool, **_options(settings, size))
    _install_events(engine, settings, size)
    return engine


def make_async_engine(url: URL, settings: Settings, pool_size: int | None = None) -> AsyncEngine:
    """Return an async engine for a login of the app, as `make_engine` does."""
    size = settings.pool_size if pool_size is None else pool_size
    engine = create_async_engine(url, poolclass=AsyncAffinePool, **_options(settings, size))
    _install_events(engine.sync_engine, settings, size)
    return engine


def _options(settings: Settings, pool_size: int) -> dict[str, Any]:
    return {
        "pool_size": pool_size,
        "max_overflow": settings.max_overflow,
        "pool_timeout": settings.pool_timeout,
        "hide_parameters": settings.hide_parameters,
        # SQLAlchemy would call rollback() on every connection that comes back. It is
        # almost never in a transaction; `before_reset` closes it if it is.
        "pool_reset_on_return": None,
        "connect_args": {
            "prepare_threshold": settings.prepare_threshold,
            "connect_timeout": settings.connect_timeout,
        },
    }


def _install_events(engine: Engine, settings: Settings, pool_size: int) -> None:
    # Dialect and pool events only: one engine or connection event, registered at all,
    # costs 12 % of the client's CPU on every statement.
    slots = itertools.cycle(range(pool_size))

    @event.listens_for(engine, "do_connect")
    def open_connection(dialect: Any, record: Any, cargs: Any, cparams: Any) -> Any:
        if dialect.is_async:
            cparams["async_creator_fn"] = AsyncOrganizationConnection.connect
            return None
        return OrganizationConnection.connect(*cargs, **cparams)

    @event.listens_for(engine, "connect", insert=True)
    def prepare_connection(dbapi_connection: Any, record: Any) -> None:
        connection = record.info[CONNECTION] = record.driver_connection
        connection.configure(settings)
        record.info[SLOT] = next(slots)

    @event.listens_for(engine, "checkout")
    def hand_out(dbapi_connection: Any, record: Any, proxy: Any) -> None:
        record.info[CONNECTION].hand_out(organization_var.get())

    # Before SQLAlchemy sets isolation levels back, which fails inside a transaction and
    # would lose the connection's place in the pool.
    @event.listens_for(engine, "reset")
    def before_reset(dbapi_connection: Any, record: Any, state: Any) -> None:
        if record is not None and not record.info[CONNECTION].is_idle():
            record.invalidate()

    @event.listens_for(engine, "checkin")
    def take_back(dbapi_connection: Any, record: Any) -> None:
        if dbapi_connection is None:  # already invalidated
            return
        connection = record.info[CONNECTION]
        connection.take_back()
        if (
            len(connection.served) > settings.organizations_per_connection
            or not connection.is_as_new()
        ):
            record.invalidate()
