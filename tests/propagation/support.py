"""What the tests of propagation share: waiting, and notes that say who wrote them."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from sqlalchemy import text

from orgtenancy import Organization, Tenancy, current_actor, current_organization
from orgtenancy.context import current_origin, session_var
from tests.support.notes import NoteRepository

T = TypeVar("T")

WHO = text("SELECT current_user, current_schema()")
_STRAYS = 0.2  # seconds for what is not to come
_numbers = itertools.count(time.time_ns())


@dataclass(frozen=True)
class Written:
    """What a piece of work knew of itself, and what PostgreSQL knew of it.

    Attributes:
        mark: Which piece of work.
        organization: The organization that was bound.
        role: As whom PostgreSQL ran it.
        actor: Who acted.
        origin: Where it came from.
    """

    mark: str
    organization: str
    role: str
    actor: str | None
    origin: str


def write(tenancy: Tenancy, mark: str) -> str:
    """Write a note for the current organization, which says whose it is."""
    assert session_var.get() is None, "a session went along"
    with tenancy.session() as session:
        role, _ = session.execute(WHO).one()
        actor = current_actor()
        written = Written(
            mark=mark,
            organization=current_organization().id,
            role=role,
            actor=actor.id if actor else None,
            origin=current_origin(),
        )
        NoteRepository().write(next(_numbers), json.dumps(asdict(written)))
    return mark


def written(tenancy: Tenancy, organization: Organization) -> list[Written]:
    """Return the notes in an organization's schema, read as that organization."""
    with tenancy.session(organization) as session:
        rows = session.execute(text("SELECT body FROM notes ORDER BY id")).scalars()
        return [Written(**json.loads(body)) for body in rows]


def marks(tenancy: Tenancy, organization: Organization) -> list[str]:
    """Return which pieces of work wrote into an organization."""
    return [note.mark for note in written(tenancy, organization)]


def wait_for(tenancy: Tenancy, organization: Organization, *expected: str) -> None:
    """Wait until the pieces of work with these marks, and no others, have written."""
    eventually(lambda: len(marks(tenancy, organization)) >= len(expected))
    time.sleep(_STRAYS)
    assert sorted(marks(tenancy, organization)) == sorted(expected)


def note(organization: Organization, mark: str, origin: str, actor: str | None = "ann") -> Written:
    """Return what a piece of work should have written."""
    return Written(mark, organization.id, organization.role_name, actor, origin)


def eventually(condition: Callable[[], T], seconds: float = 30.0) -> T:
    """Wait until a condition holds, and return what it says; fail if it does not in time."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return found


def bound() -> dict[str, Any]:
    """Return what the current context is bound to."""
    from orgtenancy.context import actor_var, organization_var

    organization, actor = organization_var.get(), actor_var.get()
    return {
        "organization": organization.id if organization else None,
        "actor": actor.id if actor else None,
        "session": session_var.get() is not None,
    }
