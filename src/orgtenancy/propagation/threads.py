"""The context in another thread, executor, greenlet or task."""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar, cast

from orgtenancy.context import session_var

P = ParamSpec("P")
R = TypeVar("R")


def copy_context(fn: Callable[P, R]) -> Callable[P, R]:
    """Return a callable that runs `fn` in a copy of the current context.

    ```python
    Thread(target=copy_context(write_report), args=(7,)).start()
    ```

    Organization, actor and origin are those of the moment of the copy, as is every other
    context variable. The session is not copied: it is for one thread or task, and `fn` opens
    `tenancy.session()` itself. Each call has a copy of its own, so that the callable may be
    called many times and in parallel, and what `fn` binds is not seen outside.

    Args:
        fn: A function, a method, or a coroutine function, whose copy is one too.

    Raises:
        TypeError: If it is a generator function, or when a call returns a generator: its
            body would run in the context of whoever consumes it.
    """
    function = _unwrapped(fn)
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(_GENERATOR.format(function))
    snapshot = contextvars.copy_context()
    snapshot.run(session_var.set, None)

    @wraps(fn)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        context = snapshot.copy()
        result = context.run(fn, *args, **kwargs)
        if inspect.iscoroutine(result):
            return cast("R", _run_in(context, result))
        if inspect.isgenerator(result) or inspect.isasyncgen(result):
            raise TypeError(_GENERATOR.format(function))
        return result

    @wraps(fn)
    async def run_async(*args: P.args, **kwargs: P.kwargs) -> Any:
        context = snapshot.copy()
        return await _Steps(context, cast("Any", context.run(fn, *args, **kwargs)))

    is_async = inspect.iscoroutinefunction(function)
    return cast("Callable[P, R]", run_async) if is_async else run


_GENERATOR = "{!r} makes a generator, whose body runs where it is consumed: copy the consumer"


def _unwrapped(fn: Any) -> Any:
    """Return the function behind partials, and behind an object that is called like one."""
    while isinstance(fn, partial):
        fn = fn.func
    return fn if inspect.isroutine(fn) or inspect.isclass(fn) else getattr(fn, "__call__", fn)  # noqa: B004


class _Steps:
    """Awaits a coroutine, each step of which runs in a context.

    It stays in the task that awaits it, where timeouts and cancellations reach it as ever.
    """

    __slots__ = ("_context", "_coroutine")

    def __init__(self, context: contextvars.Context, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._context = context
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        run, coroutine = self._context.run, self._coroutine
        step: Callable[[], Any] = partial(run, coroutine.send, None)
        while True:
            try:
                awaited = step()
            except StopIteration as end:
                return end.value
            try:
                step = partial(run, coroutine.send, (yield awaited))
            except GeneratorExit:
                run(coroutine.close)
                raise
            except BaseException as error:  # noqa: BLE001 - the coroutine's to handle
                step = partial(run, coroutine.throw, error)


async def _run_in(context: contextvars.Context, coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await _Steps(context, coroutine)


class OrganizationExecutor(ThreadPoolExecutor):
    """A thread pool whose work runs in the context of whoever submitted it.

    It serves `submit`, `map`, and `loop.run_in_executor` alike. See `copy_context` for what
    goes along: a session does not.
    """

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Schedule a call in a copy of the current context."""
        return super().submit(copy_context(fn), *args, **kwargs)
