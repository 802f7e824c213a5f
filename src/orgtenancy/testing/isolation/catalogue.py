"""The catalogue of leaks, and how each is tried.

A leak is a function that does what a leak would come from: it shares a pool of one between two
organizations, consumes a stream too late, and so on. It looks at what is seen by `World.see`
and `World.check`, which raise `Leaked`.
"""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from orgtenancy.testing.isolation.marks import Leaked, Marks, NotApplicable
from orgtenancy.testing.isolation.report import Finding, Report, Verdict
from orgtenancy.testing.isolation.subject import Subject


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

    def see(self, session: Session, organization: str | None) -> str:
        """Read all rows in a session, and make sure that they are an organization's own."""
        return self.check(session.scalars(select(self.subject.model.mark)).all(), organization)

    async def see_async(self, session: AsyncSession, organization: str | None) -> str:
        """Do the same in an async session."""
        found = await session.scalars(select(self.subject.model.mark))
        return self.check(found.all(), organization)

    def check(self, seen: object, organization: str | None) -> str:
        """Make sure that nothing of another organization is in what an organization saw."""
        return self.marks.check(seen, organization)

    def check_stored(self) -> None:
        """Make sure that no organization's rows have another one's mark."""
        for organization in (self.a, self.b):
            self.marks.check(self.subject.stored(organization), organization)


#: Takes the world and an opened `Access` or `AsyncAccess`; returns the evidence, or None.
Attack: TypeAlias = Callable[[World, Any], "str | Awaitable[str | None] | None"]


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
        return inspect.iscoroutinefunction(self.attack)


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
        for leak in leaks:
            verdict, evidence = _try(world, leak)
            yield Finding(leak.name, leak.group, verdict, evidence)


def _try(world: World, leak: Leak) -> tuple[Verdict, str]:
    refusals: tuple[type[BaseException], ...] = (SQLAlchemyError, *world.subject.refusals)
    try:
        evidence = (
            asyncio.run(_attack_async(world, leak)) if leak.is_async else _attack(world, leak)
        )
    except NotApplicable as reason:
        return Verdict.LEFT_OUT, str(reason)
    except Leaked as leaked:
        return Verdict.BROKEN, str(leaked)
    except refusals as refusal:
        evidence = f"refused: {_told(refusal)}"
    except Exception as error:  # noqa: BLE001 - whatever it is, the other leaks are tried
        return Verdict.UNCLEAR, _where(error)
    try:
        world.check_stored()
    except Leaked as leaked:
        return Verdict.BROKEN, f"stored: {leaked}"
    return Verdict.HELD, evidence or "nothing crossed"


def _attack(world: World, leak: Leak) -> str | None:
    with world.subject.opened(leak.pool_size) as access:
        attack: Any = leak.attack
        evidence: str | None = attack(world, access)
        return evidence


async def _attack_async(world: World, leak: Leak) -> str | None:
    async with world.subject.opened_async(leak.pool_size) as access:
        attack: Any = leak.attack(world, access)
        evidence: str | None = await attack
        return evidence


def _told(error: BaseException) -> str:
    first, *_ = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {first}"[:160]


def _where(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{_told(error)} ({frame.name}, line {frame.lineno})"
