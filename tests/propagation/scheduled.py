"""What a scheduler runs: a function of a module, and schedules of it."""

from __future__ import annotations

import itertools

from sqlalchemy.orm import Session

from orgtenancy import current_actor, current_organization
from orgtenancy.context import current_origin
from orgtenancy.propagation import FleetSchedule
from tests.support.notes import NoteRepository

numbers = itertools.count(1)

#: Where a persistent job store finds it again, by its name.
nightly: FleetSchedule | None = None


def write_digest(session: Session) -> None:
    """Write for whom it works, and who began it."""
    known = f"{current_organization().id} {current_actor()} {current_origin()}"
    NoteRepository().write(next(numbers), known)


def fail_somewhere(session: Session) -> None:
    """Fail for one of them."""
    write_digest(session)
    if current_organization().id == "globex":
        raise RuntimeError("no digest today")
