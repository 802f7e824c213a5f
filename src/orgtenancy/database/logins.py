"""Level `login`: an organization's own login, and a bounded number of pools."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar
from weakref import WeakSet

from sqlalchemy.pool import Pool, QueuePool

from orgtenancy.organizations import Organization

EngineType = TypeVar("EngineType")


def login_password(secret: str, role: str) -> str:
    """Return the password of an organization's login: HMAC-SHA-256 of its name, in hex.

    Derived, so that no password is stored anywhere.
    """
    return hmac.new(secret.encode(), role.encode(), hashlib.sha256).hexdigest()


class LoginEngines(Generic[EngineType]):
    """The engines of the organizations in use, the least recently used one closed first.

    An engine with connections in use is not closed; the limit is passed until it is idle.

    Args:
        make: Makes an organization's engine.
        close: Closes an engine's idle connections.
        pool_of: Returns an engine's pool.
        limit: How many engines are kept.
    """

    def __init__(
        self,
        make: Callable[[Organization], EngineType],
        close: Callable[[EngineType], None],
        pool_of: Callable[[EngineType], Pool],
        limit: int,
    ) -> None:
        self._make = make
        self._close = close
        self._pool_of = pool_of
        self._limit = limit
        self._engines: OrderedDict[str, EngineType] = OrderedDict()
        # A session may have been made on an engine that was closed before it began.
        self._closed: WeakSet[EngineType] = WeakSet()
        self._lock = Lock()

    def get(self, organization: Organization) -> EngineType:
        """Return the organization's engine, made if it is not there."""
        evicted: list[EngineType] = []
        with self._lock:
            engine = self._engines.get(organization.role_name)
            if engine is None:
                evicted = self._evict()
                engine = self._engines[organization.role_name] = self._make(organization)
            else:
                self._engines.move_to_end(organization.role_name)
        for idle in evicted:
            self._close(idle)
        return engine

    def pop_all(self) -> list[EngineType]:
        """Forget all engines, and return them for the caller to close."""
        with self._lock:
            engines = [*self._engines.values(), *self._closed]
            self._engines.clear()
            self._closed.clear()
        return engines

    def renew_lock(self) -> None:
        """Replace the lock, which another thread may have held when the process forked."""
        self._lock = Lock()

    def _evict(self) -> list[EngineType]:
        evicted: list[EngineType] = []
        for role, engine in list(self._engines.items()):
            if len(self._engines) < self._limit:
                break
            pool = self._pool_of(engine)
            if isinstance(pool, QueuePool) and pool.checkedout() == 0:
                evicted.append(self._engines.pop(role))
                self._closed.add(engine)
        return evicted
