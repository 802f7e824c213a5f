"""The connections in the pools of a test run: which there are, and whose event loop made them.

Async tests have an event loop each, and a connection is of no use in another one. A pool that
outlives a loop, as that of a tenancy for the whole run does, opens a new connection then.
"""

from __future__ import annotations

import asyncio
import gc
from functools import cache
from typing import Any
from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError

from orgtenancy.database.driver import ScopedConnection
from orgtenancy.database.pool import AffinePool, AsyncAffinePool

_LOOP = "orgtenancy.testing.loop"

_connections: WeakSet[ScopedConnection] = WeakSet()


@cache
def watch_pools() -> None:
    """Watch the pools of this process from now on, until it ends."""
    # Those that are open already. By `type`: a proxy may answer anything for its class.
    _connections.update(one for one in gc.get_objects() if issubclass(type(one), ScopedConnection))
    # SQLAlchemy has no asyncio locks for the listeners of a class, and these need none.
    event.listen(AffinePool, "connect", _remember)
    event.listen(AsyncAffinePool, "connect", _remember, asyncio=False)
    event.listen(AsyncAffinePool, "connect", _note_loop, asyncio=False)
    event.listen(AsyncAffinePool, "checkout", _check_loop, asyncio=False)


def idle_connections() -> list[ScopedConnection]:
    """Return the open connections that nobody has taken out of a pool."""
    return [
        connection
        for connection in _connections
        if not connection.closed
        and connection.organization is None
        and connection.scope is None
        and connection.is_idle()
    ]


def _remember(dbapi_connection: Any, record: Any) -> None:
    _connections.add(record.driver_connection)


def _note_loop(dbapi_connection: Any, record: Any) -> None:
    record.info[_LOOP] = asyncio.get_running_loop()


def _check_loop(dbapi_connection: Any, record: Any, proxy: Any) -> None:
    loop = record.info.get(_LOOP)
    if loop is not None and loop is not asyncio.get_running_loop():
        raise DisconnectionError("the connection belongs to another event loop")
