"""The catalogue of leaks, and how each is tried.

A leak is a function that does what a leak would come from: it shares a pool of one between two
organizations, consumes a stream too late, and so on. It looks at what is seen by `World.see`
and `World.check`, which raise `Leaked`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, TypeAlias

from psycopg import sql
from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from orgtenancy.testing.isolation.judging import refusals_told, told, where
from orgtenancy.testing.isolation.marks import Leaked, Marks, NotApplicable
from orgtenancy.testing.isolation.report import Finding, Report, Verdict
from orgtenancy.testing.isolation.scripts import Steps, Work, play, play_async
from orgtenancy.testing.isolation.subject import Subject

_ids = count(1_000)
_NOTHING = "nothing crossed"
_PATIENCE = 30.0  # seconds until asynchronous work that waits for something is given up


@dataclass(frozen=True, slots=True)
class World:
    """Two organizations of a subject, each with a row that carries its mark.

    Attributes:
        subject: What is attacked.
        marks: The marks.
        a: One organization.
        b: The other one.
    """

    subject: Subject
    marks: Marks
    a: str
    b: str

    def see(self, session: Session | Connection, organization: str | None) -> str:
        """Read all rows in a session, and make sure that they are an organization's own."""
        return self.check(session.scalars(select(self.subject.model.mark)).all(), organization)

    async def see_async(self, session: AsyncSession, organization: str | None) -> str:
        """Do the same in an async session."""
        found = await session.scalars(select(self.subject.model.mark))
        return self.check(found.all(), organization)

    def write(self, session: Session, organization: str) -> None:
        """Write another row with an organization's mark."""
        session.add(self.subject.model(id=next(_ids), mark=self.marks[organization]))
        session.flush()

    def reading(self, organization: str | None, *, within: str | None = None) -> Work:
        """Return the work of a script that reads all rows, as an organization or in a context."""
        reader = within if organization is None else organization
        return Work(organization, lambda session: self.see(session, reader), within=within)

    def writing(self, organization: str) -> Work:
        """Return the work of a script that writes another row, and reads all."""

        def write(session: Session) -> str:
            self.write(session, organization)
            return self.see(session, organization)

        return Work(organization, write)

    def check(self, seen: object, organization: str | None) -> str:
        """Make sure that nothing of another organization is in what an organization saw."""
        return self.marks.check(seen, organization)

    def check_stored(self) -> None:
        """Make sure that every organization has its own row still, and no mark of another."""
        for organization in (self.a, self.b):
            try:
                stored = self.subject.stored(organization)
            except DBAPIError as error:
                raise Leaked(f"{organization} lost its table: {told(error)}") from error
            self.check(stored, organization)
            if self.marks[organization] not in stored:
                raise Leaked(f"{organization} lost its row")

    def reset(self) -> None:
        """Give every organization its own row again, and no other."""
        for organization in (self.a, self.b):
            self.subject.reset(organization, self.marks[organization])

    def table_of(self, organization: str) -> sql.Identifier:
        """Return the full name of an organization's table.

        Raises:
            NotApplicable: If all share one.
        """
        schema = self.subject.schema_of(organization)
        if schema is None:
            raise NotApplicable("all organizations share one table")
        return sql.Identifier(schema, self.subject.table)

    @property
    def table(self) -> sql.Identifier:
        """The table's name without a schema, as an organization's own work names it."""
        return sql.Identifier(self.subject.table)


#: Takes the world and an opened `Access` or `AsyncAccess`; returns the evidence, or None.
Attack: TypeAlias = Callable[[World, Any], "str | Awaitable[str | None] | None"]

#: A generator function that says what is done in which transaction, for both ways to work.
Script: TypeAlias = Callable[["World"], Steps]


@dataclass(frozen=True, slots=True)
class Leak:
    """One way in which something could get from one organization to another.

    Attributes:
        name: What happens, in a few words.
        group: What kind of leak it is.
        attack: Does it; a coroutine function gets an `AsyncAccess`.
        pool_size: How many connections it has.
    """

    name: str
    group: str
    attack: Attack
    pool_size: int

    @property
    def is_async(self) -> bool:
        """Whether it is asynchronous work."""
        attack = self.attack.func if isinstance(self.attack, partial) else self.attack
        return inspect.iscoroutinefunction(attack)


@dataclass(slots=True)
class Group:
    """Leaks of one kind.

    Attributes:
        name: What kind.
        leaks: Those that were declared, in their order.
    """

    name: str
    leaks: list[Leak] = field(default_factory=list)

    def leak(self, name: str, *, pool_size: int = 1) -> Callable[[Attack], Leak]:
        """Return a decorator that declares a leak.

        Args:
            name: What happens, in a few words.
            pool_size: How many connections it has.
        """

        def declare(attack: Attack) -> Leak:
            leak = Leak(name, self.name, attack, pool_size)
            self.leaks.append(leak)
            return leak

        return declare

    def script(self, name: str, *, pool_size: int = 1) -> Callable[[Script], Script]:
        """Return a decorator that declares a script: two leaks, synchronous and asynchronous.

        Args:
            name: What happens, in a few words.
            pool_size: How many connections it has.
        """

        def declare(script: Script) -> Script:
            self.leak(name, pool_size=pool_size)(partial(play, script))
            self.leak(f"{name}, async", pool_size=pool_size)(partial(play_async, script))
            return script

        return declare


def run(subject: Subject, leaks: Sequence[Leak], *, a: str, b: str) -> Report:
    """Try leaks on a subject, each with pools of its own.

    Args:
        subject: What is attacked.
        leaks: Which leaks.
        a: The id of one organization, which is made for it.
        b: The other one's.
    """
    return Report(subject.name, tuple(_findings(subject, leaks, a, b)))


def _findings(subject: Subject, leaks: Sequence[Leak], a: str, b: str) -> Iterator[Finding]:
    marks = Marks(a, b)
    world = World(subject, marks, a, b)
    with subject.prepared({organization: marks[organization] for organization in (a, b)}):
        idle = {way.is_async: reason for way in _WAYS if (reason := _reason_to_doubt(world, way))}
        for leak in leaks:
            if leak.is_async in idle:
                verdict, evidence = Verdict.UNCLEAR, idle[leak.is_async]
            else:
                verdict, evidence = _try(world, leak)
                world.reset()
            yield Finding(leak.name, leak.group, verdict, evidence)


def _each_sees_its_own(world: World) -> Steps:
    for organization in (world.a, world.b):
        seen = yield world.reading(organization)
        if seen != "saw its own row":
            raise ValueError(f"{organization} does not see its own row")


_ways = Group("ground")
_ways.script("each organization sees its own row", pool_size=2)(_each_sees_its_own)
_WAYS = tuple(_ways.leaks)


def _reason_to_doubt(world: World, way: Leak) -> str | None:
    """Return why nothing can be proven: who sees nothing at all is told nothing of others."""
    verdict, evidence = _try(world, way)
    works = evidence == _NOTHING or verdict in (Verdict.LEFT_OUT, Verdict.BROKEN)
    return None if works else f"ordinary work fails: {evidence}"


def _try(world: World, leak: Leak) -> tuple[Verdict, str]:
    verdict, evidence = _tried(world, leak)
    if verdict is not Verdict.BROKEN:
        try:
            world.check_stored()
        except Leaked as leaked:
            return Verdict.BROKEN, f"stored: {leaked}"
    return verdict, evidence


def _tried(world: World, leak: Leak) -> tuple[Verdict, str]:
    try:
        # In a context of its own: what is bound there is no other leak's concern.
        evidence = Context().run(_run, world, leak)
    except NotApplicable as reason:
        return Verdict.LEFT_OUT, str(reason)
    except Leaked as leaked:
        return Verdict.BROKEN, str(leaked)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other leaks are tried
        return Verdict.UNCLEAR, where(error)
    return Verdict.HELD, evidence or _NOTHING


def _run(world: World, leak: Leak) -> str | None:
    return asyncio.run(_attack_async(world, leak)) if leak.is_async else _attack(world, leak)


def _attack(world: World, leak: Leak) -> str | None:
    attack: Any = leak.attack
    evidence: str | None = None
    with world.subject.opened(leak.pool_size) as access:
        with refusals_told(world.subject.refusals) as refused:
            evidence = attack(world, access)
        # What the leak left behind on its connections is met by whoever comes next.
        for organization in (world.b, world.a):
            with refusals_told(world.subject.refusals), access.session(organization) as session:
                world.see(session, organization)
    return evidence or "".join(refused)


async def _attack_async(world: World, leak: Leak) -> str | None:
    attack: Any = leak.attack
    evidence: str | None = None
    async with world.subject.opened_async(leak.pool_size) as access:
        with refusals_told(world.subject.refusals) as refused:
            async with _tasks_ended(), asyncio.timeout(_PATIENCE):
                evidence = await attack(world, access)
        for organization in (world.b, world.a):
            with refusals_told(world.subject.refusals):
                async with access.session(organization) as session:
                    await world.see_async(session, organization)
    return evidence or "".join(refused)


@asynccontextmanager
async def _tasks_ended() -> AsyncIterator[None]:
    """End tasks that an attack has left: their connections are about to be closed."""
    before = asyncio.all_tasks()
    try:
        yield
    finally:
        left = asyncio.all_tasks() - before
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_PATIENCE)
