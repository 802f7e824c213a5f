"""The pools of a host's own `Tenancy`, made as small as a leak needs them for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

from orgtenancy import Tenancy
from orgtenancy.database.engines import Database

_KEPT = ("settings", "_engine", "_async_engine", "_logins", "_async_logins")

# An app that needs more connections than there are is told so before its client gives up.
_POOL_TIMEOUT = 5.0


@contextmanager
def pools_of(tenancy: Tenancy, size: int) -> Iterator[None]:
    """Give a tenancy pools of so many connections in a block, and its own ones back.

    Whoever opened async connections in the block closes them before it ends.
    """
    database = tenancy._database
    kept = {name: getattr(database, name) for name in _KEPT}
    changes = {
        "pool_size": size,
        "login_pool_size": size,
        "max_overflow": 0,
        "pool_timeout": min(_POOL_TIMEOUT, tenancy.settings.pool_timeout),
    }
    fresh: dict[str, Any] = vars(
        Database(
            database.url,
            admin_url=database.admin_url,
            settings=tenancy.settings.model_copy(update=changes),
            name=database.name,
        )
    )
    for name in _KEPT:
        setattr(database, name, fresh[name])
    try:
        yield
    finally:
        # What comes back to a pool after its end would stay open.
        deadline = monotonic() + _POOL_TIMEOUT
        while busy_connections(tenancy) and monotonic() < deadline:
            sleep(0.01)
        for engine in (database._engine, *database._logins.pop_all()):
            if engine is not None:
                engine.dispose()
        for name, value in kept.items():
            setattr(database, name, value)


def busy_connections(tenancy: Tenancy) -> int:
    """Return how many connections of the app's engines are in use."""
    database = tenancy._database
    engines = (database._engine, database._async_engine)
    pools: list[Any] = [engine.pool for engine in engines if engine is not None]
    return sum(pool.checkedout() for pool in pools)
