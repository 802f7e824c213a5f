"""The state machine holds for a host's repository, and finds the bugs that hosts write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from orgtenancy import Organization, OrgTenancyError, Settings, Tenancy
from orgtenancy.database import engines
from orgtenancy.database.scope import Scope, scope_of
from orgtenancy.testing.state_machine import OrganizationStateMachine
from tests.support.notes import Note, NoteRepository

Two = tuple[Organization, Organization]


def options(examples: int, *phases: Phase) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=25,
        phases=phases or (Phase.generate,),
        database=None,
        deadline=None,
        print_blob=False,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )


class Notes(OrganizationStateMachine):
    """Notes, written and read by their repository."""

    removes: ClassVar[bool] = True

    def write(self, session: Session, key: int, value: str) -> None:
        repository = NoteRepository(session)
        note = repository.get(key)
        if note is None:
            repository.write(key, value)
        else:
            note.body = value

    def read(self, session: Session) -> Mapping[int, str]:
        return {note.id: note.body for note in session.scalars(select(Note))}

    def remove(self, session: Session, key: int) -> None:
        repository = NoteRepository(session)
        if (note := repository.get(key)) is not None:
            repository.delete(note)


class CachedNotes(Notes):
    """Remembers notes by their keys alone, for all organizations."""

    cache: ClassVar[dict[int, str]] = {}

    def read(self, session: Session) -> Mapping[int, str]:
        found = super().read(session)
        return {key: self.cache.setdefault(key, body) for key, body in found.items()}

    def reset(self) -> None:
        self.cache.clear()


class NotesOfOneSession(Notes):
    """Keeps the session that it was called with first."""

    kept: ClassVar[list[Session]] = []

    def read(self, session: Session) -> Mapping[int, str]:
        self.kept.append(session)
        return super().read(self.kept[0])

    def reset(self) -> None:
        self.kept.clear()


class OneMoreNote(Notes):
    """Whatever the key is, it also writes the same row."""

    def write(self, session: Session, key: int, value: str) -> None:
        super().write(session, key, value)
        session.merge(Note(id=99, body=value))

    def read(self, session: Session) -> Mapping[int, str]:
        return {key: body for key, body in super().read(session).items() if key != 99}


@pytest.mark.slow
def test_a_write_that_waits_for_another_key_is_told(
    tenancy: Tenancy, two_organizations: Two
) -> None:
    with pytest.raises(AssertionError, match="each key must have rows of its own"):
        OneMoreNote.check(tenancy, two_organizations, settings=options(50))


def test_notes_stay_in_their_organization(tenancy: Tenancy, two_organizations: Two) -> None:
    Notes.check(tenancy, two_organizations, settings=options(8))


@pytest.mark.slow
def test_notes_stay_in_their_organization_in_every_order(
    tenancy: Tenancy, two_organizations: Two
) -> None:
    Notes.check(tenancy, two_organizations, settings=options(150))


def test_a_cache_for_all_organizations_is_found(tenancy: Tenancy, two_organizations: Two) -> None:
    with pytest.raises(AssertionError, match="its rows are"):
        CachedNotes.check(tenancy, two_organizations, settings=options(50))


def test_a_session_that_is_kept_is_found(tenancy: Tenancy, two_organizations: Two) -> None:
    with pytest.raises((AssertionError, SQLAlchemyError, OrgTenancyError)):
        NotesOfOneSession.check(tenancy, two_organizations, settings=options(50))


def test_a_scope_that_is_mistaken_for_another_is_found(
    tenancy: Tenancy, two_organizations: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = two_organizations

    def mistaken(organization: Organization, settings: Settings) -> Scope:
        scope = scope_of(first, settings)
        return Scope(scope.role, scope.path, organization.id)

    monkeypatch.setattr(engines, "scope_of", mistaken)
    with pytest.raises(AssertionError, match="its rows are"):
        Notes.check(tenancy, two_organizations, settings=options(50))
