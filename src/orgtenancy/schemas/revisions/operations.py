"""`alembic.op` for several threads at once.

Revisions call the functions of the module `alembic.op`, which pass everything on to one
object in a global of that module: with Alembic's own commands, the last thread to start
takes the revisions of all the others into its schema. Here that object is one that passes
each call on to the operations of the context it is called in.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Any

from alembic.operations import Operations

from orgtenancy.errors import ConfigurationError

# Not in `context`: it is no part of the public context, and never outlives a revision.
_current: ContextVar[Operations] = ContextVar("orgtenancy_alembic_operations")

_PROXY = "_proxy"


class _CurrentOperations:
    """Stands for the operations of whichever context it is used in."""

    def __getattr__(self, name: str) -> Any:
        try:
            operations = _current.get()
        except LookupError:
            raise NameError(f"alembic.op.{name} is used outside a revision") from None
        return getattr(operations, name)


_dispatcher = _CurrentOperations()
_users = 0
_before: Any = None
_lock = Lock()


@contextmanager
def use_operations(operations: Operations) -> Iterator[None]:
    """Make `alembic.op` stand for these operations, in this context and no other.

    Raises:
        ConfigurationError: If a command of Alembic, run in another thread, took
            `alembic.op` over; what was done in the block must not be committed then.
    """
    global _before, _users
    module = vars(importlib.import_module("alembic.op"))
    with _lock:
        if module.get(_PROXY) is not _dispatcher:
            _before, module[_PROXY] = module.get(_PROXY), _dispatcher
        _users += 1
    token = _current.set(operations)
    try:
        yield
        if module.get(_PROXY) is not _dispatcher:
            raise ConfigurationError(
                "a command of Alembic ran in another thread meanwhile, and took `alembic.op`: "
                "it is not safe in threads; run it in a process of its own"
            )
    finally:
        _current.reset(token)
        with _lock:
            _users -= 1
            if not _users and module.get(_PROXY) is _dispatcher:
                module[_PROXY], _before = _before, None
