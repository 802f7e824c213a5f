"""A closed organization, in a process that remembers it as open."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.orm import Session

from orgtenancy.testing.isolation.catalogue import Group, World
from orgtenancy.testing.isolation.marks import Leaked
from orgtenancy.testing.isolation.scripts import Steps, Work

statuses = Group("status")

_STATUSES = ("suspended", "fenced", "archived", "purged")


def _next_session(status: str) -> Callable[[World], Steps]:
    def script(world: World) -> Steps:
        yield world.reading(world.b)
        with world.subject.closed(world.b, status):
            yield Work(world.b, lambda session: _see_nothing(world, session, status))

    return script


def _next_transaction(status: str) -> Callable[[World], Steps]:
    def script(world: World) -> Steps:
        yield Work(world.b, lambda session: _close_between(world, session, status))

    return script


def _close_between(world: World, session: Session, status: str) -> None:
    world.see(session, world.b)
    session.commit()
    with world.subject.closed(world.b, status):
        _see_nothing(world, session, status)
        session.rollback()


def _write(status: str) -> Callable[[World], Steps]:
    def script(world: World) -> Steps:
        yield world.reading(world.b)
        with world.subject.closed(world.b, status):
            yield Work(world.b, lambda session: world.write(session, world.b))
            raise Leaked(f"{world.b} is {status}, and was written to")

    return script


def _see_nothing(world: World, session: Session, status: str) -> None:
    if world.see(session, world.b) != "saw no row":
        raise Leaked(f"{world.b} is {status}, and its row was seen")


for _status in _STATUSES:
    statuses.script(f"{_status}: the next session")(_next_session(_status))
    statuses.script(f"{_status}: the next transaction of a session")(_next_transaction(_status))
    if _status != "purged":
        statuses.script(f"{_status}: a write")(_write(_status))
