"""A host's functions of a session: repositories and jobs, called as they are not meant to be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import suppress
from typing import Any

from orgtenancy.testing.isolation.apps.holding import Hold, holding
from orgtenancy.testing.isolation.apps.seeing import Lookout
from orgtenancy.testing.isolation.apps.subjects import FunctionsSubject
from orgtenancy.testing.isolation.apps.untouched import untouched
from orgtenancy.testing.isolation.catalogue import Group, Leak, World
from orgtenancy.testing.isolation.marks import NotApplicable
from orgtenancy.testing.isolation.subject import Access, AsyncAccess

functions = Group("callables")

_CROWD = 4  # calls for each organization at the same time
_PAUSE = 0.005  # seconds between two looks at what happens in the database
_DEADLINE = 30.0  # seconds after which a function counts as stuck


class _Failure(Exception):
    """What goes wrong between two organizations."""


class _Calls:
    """Calls a host's functions, and looks at what they return and log."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.subject: FunctionsSubject = world.subject  # type: ignore[assignment]
        self.lookout = Lookout(world.marks)

    @property
    def organizations(self) -> tuple[str, str]:
        return self._world.a, self._world.b

    def look(self, function: Callable[..., Any], returned: object, organization: str) -> None:
        self.lookout.look(_name(function), returned, organization)

    def each(self) -> Iterator[Callable[..., Any]]:
        if not self.subject.functions:
            raise NotApplicable("no synchronous callables are given")
        yield from self.subject.functions

    def each_async(self) -> Iterator[Callable[..., Any]]:
        """Return the async functions, and the others as they run on the async engine."""
        yield from self.subject.async_functions
        for function in self.subject.functions:
            yield _on_async_engine(function)

    def call(self, access: Access, function: Callable[..., Any], organization: str) -> None:
        """Call a function in a transaction of its own."""
        with access.session(organization) as session:
            self.look(function, function(session), organization)

    async def call_async(
        self, access: AsyncAccess, function: Callable[..., Any], organization: str
    ) -> None:
        async with access.session(organization) as session:
            self.look(function, await _result(function, session), organization)


@functions.leak("functions show their own organization's mark")
def own(world: World, access: Access) -> str:
    """Make sure that a leak would be seen: without a mark nothing is proven."""
    calls = _Calls(world)
    with calls.lookout.on_logs():
        for function in calls.each():
            for organization in calls.organizations:
                calls.call(access, function, organization)
    return calls.lookout.prove("results")


@functions.leak("one call after another on a connection")
def in_turn(world: World, access: Access) -> str:
    """Call for one, the other and the first one again."""
    calls = _Calls(world)
    a, b = calls.organizations
    with calls.lookout.on_logs():
        for function in calls.each():
            for organization in (a, b, a):
                calls.call(access, function, organization)
    return calls.lookout.prove("results")


@functions.leak("one call after another on a connection, async")
async def in_turn_async(world: World, access: AsyncAccess) -> str:
    """Do the same on the async engine."""
    calls = _Calls(world)
    a, b = calls.organizations
    with calls.lookout.on_logs():
        for function in calls.each_async():
            for organization in (a, b, a):
                await calls.call_async(access, function, organization)
    return calls.lookout.prove("results")


@functions.leak("a call, during which no row of the other organization may change")
def changing(world: World, access: Access) -> str:
    """Call it for one, and look at all rows of the other one."""
    calls = _Calls(world)
    with calls.lookout.on_logs():
        for function in calls.each():
            for organization, other in ((world.a, world.b), (world.b, world.a)):
                with untouched(calls.subject.tenancy, other, _name(function)):
                    calls.call(access, function, organization)
    return calls.lookout.prove("results")


@functions.leak("a call, during which no row of the other organization may change, async")
async def changing_async(world: World, access: AsyncAccess) -> str:
    """Do the same on the async engine."""
    calls = _Calls(world)
    with calls.lookout.on_logs():
        for function in calls.each_async():
            for organization, other in ((world.a, world.b), (world.b, world.a)):
                with untouched(calls.subject.tenancy, other, _name(function)):
                    await calls.call_async(access, function, organization)
    return calls.lookout.prove("results")


@functions.leak("a call in the middle of which the other organization's runs", pool_size=2)
def overtaken(world: World, access: Access) -> str:
    """Call for one in a thread, and for the other while the first one's statement runs."""
    calls = _Calls(world)
    a, b = calls.organizations
    with calls.lookout.on_logs(), ThreadPoolExecutor(1) as pool:
        for function in calls.each():
            with holding(calls.subject.tenancy, a) as hold:
                work = pool.submit(calls.call, access, function, a)
                _wait_until_held(work, hold)
                calls.call(access, function, b)
                hold.release()
                work.result(_DEADLINE)
    return calls.lookout.prove("results")


@functions.leak("a call in the middle of which the other organization's runs, async", pool_size=2)
async def overtaken_async(world: World, access: AsyncAccess) -> str:
    """Do the same in two tasks."""
    calls = _Calls(world)
    a, b = calls.organizations
    with calls.lookout.on_logs():
        for function in calls.each_async():
            with holding(calls.subject.tenancy, a) as hold:
                task = asyncio.create_task(calls.call_async(access, function, a))
                await _until_held(task, hold)
                await calls.call_async(access, function, b)
                hold.release()
                await asyncio.wait_for(task, _DEADLINE)
    return calls.lookout.prove("results")


@functions.leak("many calls at the same time in several threads", pool_size=2)
def in_threads(world: World, access: Access) -> str:
    """Call for both many times at once."""
    calls = _Calls(world)
    with calls.lookout.on_logs(), ThreadPoolExecutor(_CROWD) as pool:
        for function in calls.each():
            work = [
                pool.submit(calls.call, access, function, organization)
                for organization in calls.organizations * _CROWD
            ]
            for one in work:
                one.result(_DEADLINE)
    return calls.lookout.prove("results")


@functions.leak("an error after the call")
def failing(world: World, access: Access) -> str:
    """Fail in one's transaction, and call for the other."""
    calls = _Calls(world)
    a, b = calls.organizations
    with calls.lookout.on_logs():
        for function in calls.each():
            with suppress(_Failure), access.session(a) as session:
                calls.look(function, function(session), a)
                raise _Failure
            calls.call(access, function, b)
    return calls.lookout.prove("results")


@functions.leak("a savepoint that is rolled back after the call")
def rolled_back(world: World, access: Access) -> str:
    """Call inside a savepoint, roll it back, and call again; then for the other."""
    calls = _Calls(world)
    a, b = calls.organizations
    with calls.lookout.on_logs():
        for function in calls.each():
            with access.session(a) as session:
                savepoint = session.begin_nested()
                calls.look(function, function(session), a)
                if savepoint.is_active:
                    savepoint.rollback()
                calls.look(function, function(session), a)
            calls.call(access, function, b)
    return calls.lookout.prove("results")


@functions.leak("a result that is read late, in the other organization's transaction", pool_size=2)
def read_late(world: World, access: Access) -> str:
    """Call for one, and read what was returned after a call for the other."""
    calls = _Calls(world)
    a, b = calls.organizations
    with calls.lookout.on_logs():
        for function in calls.each():
            with access.session(a) as session:
                returned = function(session)
            with access.session(b) as other:
                calls.look(function, function(other), b)
                # A result that needs its session is refused, which is what it should be.
                with suppress(Exception):
                    calls.look(function, returned, a)
                calls.look(function, function(other), b)
    return calls.lookout.prove("results")


@functions.leak("a statement that is timed out in the middle of a call")
def timed_out(world: World, access: Access) -> str:
    """Cancel a call's statement, and call for both."""
    return _interrupted(world, access, lambda hold: hold.cancel_statements())


@functions.leak("a connection that is lost in the middle of a call")
def lost(world: World, access: Access) -> str:
    """End a call's connection, and call for both."""
    return _interrupted(world, access, lambda hold: hold.end_connections())


@functions.leak("a task that is cancelled in the middle of a call")
async def cancelled(world: World, access: AsyncAccess) -> str:
    """Cancel a task while its statement runs, and call for both, in either order."""
    calls = _Calls(world)
    a, b = calls.organizations
    with calls.lookout.on_logs():
        for function in calls.each_async():
            for after in ((a, b), (b, a)):
                await calls.call_async(access, function, b)
                with holding(calls.subject.tenancy, a) as hold:
                    task = asyncio.create_task(calls.call_async(access, function, a))
                    await _until_held(task, hold)
                    task.cancel()
                    hold.release()
                    await asyncio.wait([task], timeout=_DEADLINE)
                for organization in after:
                    await calls.call_async(access, function, organization)
    return calls.lookout.prove("results")


def _interrupted(world: World, access: Access, interrupt: Callable[[Hold], None]) -> str:
    """Interrupt a call, and call for both, in either order."""
    calls = _Calls(world)
    a, b = calls.organizations
    with calls.lookout.on_logs(), ThreadPoolExecutor(1) as pool:
        for function in calls.each():
            for after in ((a, b), (b, a)):
                calls.call(access, function, b)
                with holding(calls.subject.tenancy, a) as hold:
                    work = pool.submit(calls.call, access, function, a)
                    _wait_until_held(work, hold)
                    interrupt(hold)
                    hold.release()
                    with suppress(Exception):
                        work.result(_DEADLINE)
                for organization in after:
                    calls.call(access, function, organization)
    return calls.lookout.prove("results")


def _wait_until_held(work: Future[None], hold: Hold) -> None:
    deadline = time.monotonic() + _DEADLINE
    while not (work.done() or hold.is_waited_for()):
        if time.monotonic() > deadline:
            raise TimeoutError("a callable does not go on")
        wait_for([work], timeout=_PAUSE)


async def _until_held(task: asyncio.Task[None], hold: Hold) -> None:
    async with asyncio.timeout(_DEADLINE):
        while not (task.done() or hold.is_waited_for()):
            await asyncio.wait([task], timeout=_PAUSE)


async def _result(function: Callable[..., Any], session: Any) -> object:
    returned = function(session)
    if hasattr(returned, "__aiter__"):
        return [part async for part in returned]
    return await returned


def _on_async_engine(function: Callable[..., Any]) -> Callable[..., Any]:
    async def call(session: Any) -> object:
        # Read to its end inside: what is lazy in it has no engine to wait on outside.
        return await session.run_sync(lambda inner: _read(function(inner)))

    call.__name__ = _name(function)
    return call


def _read(returned: Any) -> object:
    return list(returned) if hasattr(returned, "__next__") else returned


def _name(function: Callable[..., Any]) -> str:
    name: str = getattr(function, "__name__", type(function).__name__)
    return name


#: All of them.
FUNCTION_LEAKS: tuple[Leak, ...] = tuple(functions.leaks)
