"""Scripts: leaks that are written once, and tried synchronously and asynchronously.

A script is a generator of `Work`, one transaction each. It is sent what the work returned, and
what the work raised is raised in it:

    def script(world):
        with suppress(Exception):
            yield Work(world.a, fail)
        yield Work(world.b, lambda session: world.see(session, world.b))
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from orgtenancy.testing.isolation.subject import Access, AsyncAccess

if TYPE_CHECKING:
    from orgtenancy.testing.isolation.catalogue import World


@dataclass(frozen=True, slots=True)
class Work:
    """What is done in one transaction.

    Attributes:
        organization: Whose transaction it is; None for the context's.
        do: What is done, in its session or on its core connection.
        within: The organization that the context is bound to, if it is.
        core: Whether it is done on a connection of the engine, which the context alone tells
            what it is for.
    """

    organization: str | None
    do: Callable[[Any], Any]
    within: str | None = None
    core: bool = False


Steps: TypeAlias = Generator[Work, Any, Any]


def play(script: Callable[[World], Steps], world: World, access: Access) -> str | None:
    """Do what a script says."""
    steps, answer = script(world), None
    failure: Exception | None = None
    try:
        while True:
            work = steps.send(answer) if failure is None else steps.throw(failure)
            answer, failure = None, None
            try:
                answer = _do(access, work)
            except Exception as error:  # noqa: BLE001 - the script says what becomes of it
                failure = error
    except StopIteration as end:
        evidence: str | None = end.value
        return evidence


async def play_async(
    script: Callable[[World], Steps], world: World, access: AsyncAccess
) -> str | None:
    """Do the same on the async engine."""
    steps, answer = script(world), None
    failure: Exception | None = None
    try:
        while True:
            work = steps.send(answer) if failure is None else steps.throw(failure)
            answer, failure = None, None
            try:
                answer = await _do_async(access, work)
            except Exception as error:  # noqa: BLE001 - the script says what becomes of it
                failure = error
    except StopIteration as end:
        evidence: str | None = end.value
        return evidence


def _do(access: Access, work: Work) -> Any:
    if work.within is not None:
        with access.bound(work.within):
            return _do(access, replace(work, within=None))
    if work.core:
        with access.engine.connect() as connection:
            return work.do(connection)
    opened = access.current() if work.organization is None else access.session(work.organization)
    with opened as session:
        return work.do(session)


async def _do_async(access: AsyncAccess, work: Work) -> Any:
    if work.within is not None:
        with access.bound(work.within):
            return await _do_async(access, replace(work, within=None))
    if work.core:
        async with access.engine.connect() as connection:
            return await connection.run_sync(work.do)
    opened = access.current() if work.organization is None else access.session(work.organization)
    async with opened as session:
        return await session.run_sync(work.do)
