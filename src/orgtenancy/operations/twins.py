"""Methods that do the same in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
Owner = TypeVar("Owner")


def in_thread(
    method: Callable[Concatenate[Owner, P], R],
) -> Callable[Concatenate[Owner, P], Coroutine[Any, Any, R]]:
    """Return a method that does the same in a thread, with the context's actor and origin."""

    async def call(self: Owner, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(method, self, *args, **kwargs)

    call.__name__ = f"{method.__name__}_async"
    call.__qualname__ = f"{method.__qualname__}_async"
    call.__doc__ = f"Do what `{method.__name__}` does, in a thread, and keep the event loop free."
    return call
