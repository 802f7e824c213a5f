"""A host's functions are proven, and the kit finds a real bug of each kind in them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from orgtenancy import Tenancy, current_organization, embedded
from orgtenancy.testing.isolation import Finding, Leak, Verdict, prove
from orgtenancy.testing.isolation.leaks import functions as leaks
from tests.isolation.leaking_apps import SCHEMAS, in_schema
from tests.isolation.members import plant
from tests.support.notes import AsyncNoteRepository, Note, NoteRepository

log = logging.getLogger("host.functions")


def bodies(session: Session) -> list[str]:
    return [note.body for note in NoteRepository(session).list().items]


def notes(session: Session) -> list[Note]:
    return list(session.scalars(select(Note)))


def generated(session: Session) -> Iterator[str]:
    yield from session.scalars(select(Note.body))


async def bodies_async(session: AsyncSession) -> list[str]:
    return [note.body for note in (await AsyncNoteRepository(session).list()).items]


def of_context(session: Session) -> list[str]:
    return [current_organization().id, *(note.body for note in NoteRepository().list().items)]


@pytest.mark.slow
def test_every_leak_of_functions_is_held(notes_tenancy: Tenancy) -> None:
    report = prove(
        notes_tenancy, (), callables=[bodies, notes, generated, bodies_async], plant=plant
    )
    assert report.is_held, str(report)
    assert [one.leak for one in report.findings] == [leak.name for leak in leaks.FUNCTION_LEAKS]
    assert not report.of(Verdict.LEFT_OUT)


class Remembered:
    """Returns what it found the first time."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def __call__(self, session: Session) -> list[str]:
        self.found = self.found or bodies(session)
        return self.found


class RememberedAsync(Remembered):
    async def __call__(self, session: AsyncSession) -> list[str]:  # type: ignore[override]
        self.found = self.found or await bodies_async(session)
        return self.found


class Collecting:
    """Collects what it finds beside itself, from the beginning of each call."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def __call__(self, session: Session) -> list[str]:
        self.found = []
        found = bodies(session)
        self.found.extend(found)
        return self.found


class UntilThrough:
    """Remembers for whom it works until it is through, which it never is for some."""

    def __init__(self, owner: Engine) -> None:
        self.owner = owner
        self.schema: str | None = None

    def __call__(self, session: Session) -> list[str]:
        self.schema = self.schema or current_organization().schema_name
        found = self.read(self.schema)
        self.schema = None
        return found

    def read(self, schema: str) -> list[str]:
        with in_schema(self.owner, schema) as connection:
            return list(connection.scalars(text("SELECT body FROM notes")))


class UntilThroughAsync(UntilThrough):
    async def __call__(self, session: AsyncSession) -> list[str]:  # type: ignore[override]
        self.schema = self.schema or current_organization().schema_name
        found = await asyncio.to_thread(self.read, self.schema)
        self.schema = None
        return found


class Late:
    """A generator that reads what the last call has put beside it."""

    def __init__(self) -> None:
        self.current: list[str] = []

    def __call__(self, session: Session) -> Iterator[str]:
        self.current = bodies(session)
        return (body for _ in range(1) for body in self.current)


class Logging:
    """Logs what it found before."""

    def __init__(self) -> None:
        self.last: list[str] = []

    def __call__(self, session: Session) -> list[str]:
        log.warning("was %s", self.last)
        self.last = bodies(session)
        return self.last


class Moving:
    """Writes what it has found before into whatever organization it is called for."""

    def __init__(self) -> None:
        self.last: list[Note] = []

    def __call__(self, session: Session) -> int:
        for note in self.last:
            session.merge(Note(id=note.id + 100, body=note.body))
        self.last = notes(session)
        return len(self.last)


class Tidying:
    """Deletes in all schemas what nobody ever sees."""

    def __init__(self, owner: Engine) -> None:
        self.owner = owner

    def __call__(self, session: Session) -> list[str]:
        found = bodies(session)
        with self.owner.begin() as connection:
            for schema in connection.scalars(SCHEMAS).all():
                if schema != current_organization().schema_name:  # it would wait for itself
                    connection.execute(text(f'DELETE FROM "{schema}".notes WHERE id = 2'))
        return found


class TidyingAsync(Tidying):
    async def __call__(self, session: AsyncSession) -> list[str]:  # type: ignore[override]
        return await session.run_sync(super().__call__)


BUGS: list[tuple[type[Any], Any, str]] = [
    (Remembered, leaks.in_turn, "saw"),
    (Logging, leaks.in_turn, "the log"),
    (Moving, leaks.in_turn, "stored"),
    (RememberedAsync, leaks.in_turn_async, "saw"),
    (Tidying, leaks.changing, "Tidying has changed notes of"),
    (TidyingAsync, leaks.changing_async, "TidyingAsync has changed notes of"),
    (Collecting, leaks.overtaken, "saw"),
    (Collecting, leaks.overtaken_async, "saw"),
    (Remembered, leaks.in_threads, "saw"),
    (Late, leaks.read_late, "saw"),
    (Remembered, leaks.failing, "saw"),
    (Remembered, leaks.rolled_back, "saw"),
    (UntilThrough, leaks.timed_out, "saw"),
    (UntilThrough, leaks.lost, "saw"),
    (UntilThroughAsync, leaks.cancelled, "saw"),
]


@pytest.fixture
def owner(server: embedded.EmbeddedServer) -> Iterator[Engine]:
    """An engine of the schemas' owner, as a host had it before."""
    engine = create_engine(server.admin_url)
    yield engine
    engine.dispose()


@pytest.mark.parametrize(
    ("bug", "leak", "evidence"),
    # Every fourth one at every turn.
    [pytest.param(*bug, marks=pytest.mark.slow if n % 4 else ()) for n, bug in enumerate(BUGS)],
    ids=lambda one: getattr(one, "name", None) or getattr(one, "__name__", one),
)
def test_a_planted_bug_of_a_function_is_found(
    notes_tenancy: Tenancy, owner: Engine, bug: type[Any], leak: Leak, evidence: str
) -> None:
    works_around = issubclass(bug, UntilThrough | Tidying)
    finding = tried(notes_tenancy, bug(owner) if works_around else bug(), leak)
    assert finding.verdict is Verdict.BROKEN, finding
    assert evidence in finding.evidence, finding


def test_functions_that_show_no_mark_prove_nothing(notes_tenancy: Tenancy) -> None:
    finding = tried(notes_tenancy, lambda session: len(bodies(session)), leaks.own)
    assert finding.verdict is Verdict.UNCLEAR
    assert "2 results, 0 of them with their own mark: `plant` writes" in finding.evidence


async def streamed(session: AsyncSession) -> AsyncIterator[str]:
    for body in await session.scalars(select(Note.body)):
        yield body


def test_asynchronous_functions_alone_are_proven(notes_tenancy: Tenancy) -> None:
    report = prove(
        notes_tenancy,
        (),
        callables=[bodies_async, streamed],
        plant=plant,
        callable_leaks=[leaks.own, leaks.in_turn_async, leaks.in_threads],
    )
    left_out, held, also_left_out = report.findings
    assert (left_out.verdict, also_left_out.verdict) == (Verdict.LEFT_OUT, Verdict.LEFT_OUT)
    assert (held.verdict, held.evidence) == (
        Verdict.HELD,
        "6 results, 6 of them with their own mark",
    )


def test_functions_that_fail_prove_nothing(notes_tenancy: Tenancy) -> None:
    def failing(session: Session) -> list[str]:
        found = bodies(session)
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("not in a thread")
        return found

    assert tried(notes_tenancy, failing, leaks.own).verdict is Verdict.HELD
    finding = tried(notes_tenancy, failing, leaks.in_threads)
    assert finding.verdict is Verdict.UNCLEAR
    assert "not in a thread" in finding.evidence


def tried(tenancy: Tenancy, function: Any, leak: Any) -> Finding:
    (finding,) = prove(
        tenancy, (), callables=[function], plant=plant, callable_leaks=[leak]
    ).findings
    return finding


def test_every_leak_of_functions_finds_a_planted_bug() -> None:
    assert {leak.name for _, leak, _ in BUGS} == {leak.name for leak in leaks.FUNCTION_LEAKS[1:]}
