"""Level `login`: an organization's own login, and a bounded number of pools."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from orgtenancy.organizations import Organization

EngineType = TypeVar("EngineType")


def login_password(secret: str, role: str) -> str:
    """Return the password of an organization's login: HMAC-SHA-256 of its name, in hex.

    Derived, so that no password is stored anywhere.
    """
    return hmac.new(secret.encode(), role.encode(), hashlib.sha256).hexdigest()


class LoginEngines(Generic[EngineType]):
    """The engines of the organizations in use, the least recently used one closed first.

    Args:
        make: Makes an organization's engine.
        close: Closes an engine's idle connections; those in use close when given back.
        limit: How many engines are kept.
    """

    def __init__(
        self,
        make: Callable[[Organization], EngineType],
        close: Callable[[EngineType], None],
        limit: int,
    ) -> None:
        self._make = make
        self._close = close
        self._limit = limit
        self._engines: OrderedDict[str, EngineType] = OrderedDict()
        self._lock = Lock()

    def get(self, organization: Organization) -> EngineType:
        """Return the organization's engine, made if it is not there."""
        evicted = None
        with self._lock:
            engine = self._engines.get(organization.role_name)
            if engine is None:
                engine = self._engines[organization.role_name] = self._make(organization)
                if len(self._engines) > self._limit:
                    _, evicted = self._engines.popitem(last=False)
            else:
                self._engines.move_to_end(organization.role_name)
        if evicted is not None:
            self._close(evicted)
        return engine

    def pop_all(self) -> list[EngineType]:
        """Forget all engines, and return them for the caller to close."""
        with self._lock:
            engines = list(self._engines.values())
            self._engines.clear()
        return engines
