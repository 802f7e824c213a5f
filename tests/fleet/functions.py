"""Functions that a host calls for each of its organizations."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import text
from sqlalchemy.orm import Session

from orgtenancy import current_organization

#: What happens in the pause of the functions that have one; each once.
happening: list[Callable[[], object]] = []


def write_own_name(session: Session) -> None:
    """Write into the organization's own table who it is."""
    organization = current_organization()
    session.execute(
        text("INSERT INTO log (organization, role, path) VALUES (:id, current_user, :path)"),
        {"id": organization.id, "path": session.scalar(text("SHOW search_path"))},
    )


def read_another(session: Session) -> None:
    """Try what nobody may."""
    session.execute(text("SELECT count(*) FROM org_acme.items")).all()


def fail_for_globex(session: Session) -> None:
    """Do its work in all but one."""
    write_own_name(session)
    if current_organization().id == "globex" and not session.scalar(
        text("SELECT count(*) FROM items")
    ):
        raise RuntimeError("no items yet")


def take_a_while(session: Session) -> None:
    """Work for a while."""
    session.execute(text("SELECT pg_sleep(0.3)"))
    write_own_name(session)


class Host:
    """Where a method is, which no resume could find."""

    def method(self, session: Session) -> None:
        """Do nothing."""


def write_after_a_pause(session: Session) -> None:
    """Begin, let something happen elsewhere, and go on."""
    session.execute(text("SELECT count(*) FROM items"))
    if happening:
        happening.pop()()
    write_own_name(session)


def fail_after_a_pause(session: Session) -> None:
    """Begin, let something happen elsewhere, and stumble over itself."""
    if happening:
        happening.pop()()
    raise RuntimeError("no luck")


def write_through_a_fence(session: Session) -> None:
    """Meet what happens in the middle of a transaction, and what happens after its refusal."""
    session.execute(text("SELECT count(*) FROM items"))
    if happening:
        happening.pop()()
    try:
        write_own_name(session)
    finally:
        if happening:
            happening.pop()()
