"""Objects of the ORM, and what it remembers of them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import lambda_stmt, select
from sqlalchemy.orm import Session

from orgtenancy.testing.isolation.catalogue import Group, World
from orgtenancy.testing.isolation.scripts import Steps, Work

objects = Group("objects")


@objects.script("the key of an object that the other one has loaded")
def same_key(world: World) -> Steps:
    """Get row 1 in one organization, the other and the first one again."""
    kept: list[Any] = []

    def get(organization: str) -> Work:
        def work(session: Session) -> str:
            found = session.get(world.subject.model, 1)
            kept.append(found)  # or the identity map forgets it
            return world.check(getattr(found, "mark", ""), organization)

        return Work(organization, work)

    evidence = ""
    for organization in (world.a, world.b, world.a):
        evidence = yield get(organization)
    return evidence


@objects.script("an object that is written by the other one's session")
def still_attached(world: World) -> Steps:
    """Change an object when its block is over, and let the other one commit."""
    kept: list[Any] = []

    def write(session: Session) -> str:
        kept[0].mark = f"{world.marks[world.a]}, changed"
        world.write(session, world.b)
        return world.see(session, world.b)

    yield Work(world.a, lambda session: kept.append(session.get(world.subject.model, 1)))
    return (yield Work(world.b, write))


@objects.script("a statement whose compiled form is kept")
def compiled(world: World) -> Steps:
    """Execute a statement that SQLAlchemy analyses and compiles only once."""
    model = world.subject.model

    def read(organization: str) -> Work:
        def work(session: Session) -> str:
            rows = session.scalars(lambda_stmt(lambda: select(model.mark))).all()
            return world.check(rows, organization)

        return Work(organization, work)

    evidence = ""
    for organization in (world.a, world.b, world.a):
        evidence = yield read(organization)
    return evidence
