"""The module of notes with an HTTP API, one endpoint for each thing that an API does."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from psycopg import errors as pg
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orgtenancy import Page, PageRequest, errors
from orgtenancy.endpoints import Caller, Endpoint
from orgtenancy.errors import Conflict, Invalid, NotFound
from tests.support.notes import Note, NoteRepository, notes

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

NoteId = Annotated[int, Field(ge=1, lt=2**63, description="The note's number")]


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Author(BaseModel):
    name: str = Field(max_length=20)


class NewNote(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: NoteId
    body: str = Field(max_length=100)
    authors: list[Author] = Field(default_factory=list)
    extra: dict[str, Any] = Field(default_factory=dict)


class Change(BaseModel):
    body: str


class Listing(PageRequest):
    contains: str | None = None
    colour: list[Colour] = Field(default_factory=list, max_length=3)
    exact: bool = Field(default=False, alias="is-exact")


class NoteView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    body: str


class Echo(BaseModel):
    """What arrived."""

    actor: str
    ip_address: str | None
    key: str
    listing: Listing


def list_notes(session: Session, caller: Caller, *, query: Listing) -> Page[NoteView]:
    """List the notes of the organization.

    The newest come first.

    Args:
        query: Which of them.

    Returns:
        A page.
    """
    found = NoteRepository(session).list(query)
    return found.map(NoteView.model_validate)


def create_note(session: Session, caller: Caller, *, body: NewNote) -> NoteView:
    """Write a note."""
    return NoteView.model_validate(NoteRepository(session).write(body.id, body.body))


def read_latest_note(session: Session, caller: Caller) -> NoteView:
    """Read the latest note."""
    return NoteView(id=0, body="latest")


def read_note(session: Session, caller: Caller, *, note_id: NoteId) -> NoteView:
    """Read a note."""
    return NoteView.model_validate(_find(session, note_id))


def update_note(session: Session, caller: Caller, *, note_id: NoteId, body: Change) -> NoteView:
    """Change a note."""
    note = _find(session, note_id)
    note.body = body.body
    return NoteView.model_validate(note)


def delete_note(session: Session, caller: Caller, *, note_id: NoteId) -> None:
    """Delete a note."""
    session.delete(_find(session, note_id))


def echo(session: Session, caller: Caller, *, key: str, query: Listing) -> Echo:
    """Say what arrived."""
    return Echo(actor=caller.id, ip_address=caller.ip_address, key=key, listing=query)


def add_orphan(session: Session, caller: Caller) -> NoteView:
    """Write what cannot be committed."""
    session.execute(text("SET CONSTRAINTS ALL DEFERRED"))
    session.add(Note(id=1, body="an orphan", parent_id=99))
    session.flush()
    return NoteView(id=1, body="all is well")


def write_unwritable(session: Session, caller: Caller) -> NoteView:
    """Return what is no note."""
    NoteRepository(session).write(1, "never")
    return "no note"  # type: ignore[return-value]


attempts: list[str] = []
conflicts = [0]


def write_contended(session: Session, caller: Caller) -> NoteView:
    """Write a note that meets another one."""
    attempts.append(caller.id)
    note = NoteRepository(session).write(len(attempts), "contended")
    if conflicts[0] > 0:
        conflicts[0] -= 1
        session.execute(text("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$"))
    return NoteView(id=0, body=note.body)


class Teapot(Conflict):
    code = "teapot"


SECRET = "role orgtenancy_abc of schema org_secret, SELECT password"


def _of_database(kind: type[DBAPIError], original: Exception) -> DBAPIError:
    return kind("INSERT INTO org_secret.notes", {}, original)


FAILURES: dict[str, Callable[[], Exception]] = {
    "not_found": lambda: NotFound("no such note"),
    "forbidden": lambda: errors.Forbidden("not yours"),
    "conflict": lambda: Conflict("taken"),
    "teapot": lambda: Teapot("short and stout"),
    "invalid": lambda: Invalid("too long"),
    "invalid_cursor": lambda: errors.InvalidCursor(SECRET),
    "isolation": lambda: errors.OrganizationMismatch(SECRET),
    "configuration": lambda: errors.ConfigurationError(SECRET),
    "unavailable": lambda: errors.OrganizationUnavailable(SECRET, status="provisioning"),
    "provider": lambda: errors.IdentityProviderUnavailable(SECRET, retry_after=7),
    "unique": lambda: _of_database(IntegrityError, pg.UniqueViolation(SECRET)),
    "too_large": lambda: _of_database(ProgrammingError, pg.NumericValueOutOfRange(SECRET)),
    "cancelled": lambda: _of_database(OperationalError, pg.QueryCanceled(SECRET)),
    "pool": lambda: PoolTimeout(SECRET),
    "bug": lambda: ZeroDivisionError(SECRET),
}


def fail(session: Session, caller: Caller, *, kind: str) -> NoteView:
    """Write a note, and fail."""
    NoteRepository(session).write(1, "never")
    raise FAILURES[kind]()


def _find(session: Session, note_id: int) -> Note:
    note = NoteRepository(session).get(note_id)
    if note is None:
        raise NotFound(f"no note {note_id}")
    return note


ENDPOINTS = (
    Endpoint("GET", "/notes", list_notes, tag="notes"),
    Endpoint("POST", "/notes", create_note, status=201, problems=(409,), tag="notes"),
    Endpoint("GET", "/notes/{note_id}", read_note, problems=(404,), tag="notes"),
    Endpoint("PATCH", "/notes/{note_id}", update_note, problems=(404,), tag="notes"),
    Endpoint(
        "DELETE",
        "/notes/{note_id}",
        delete_note,
        status=204,
        scopes=("notes:delete",),
        problems=(404,),
        tag="notes",
    ),
    # Behind the parameter, which must not shadow it.
    Endpoint("GET", "/notes/latest", read_latest_note, scopes=("notes:read",), tag="notes"),
    Endpoint("GET", "/echo/{key}", echo),
    Endpoint("POST", "/orphans", add_orphan, problems=(409,)),
    Endpoint("POST", "/unwritable", write_unwritable),
    Endpoint("POST", "/contended", write_contended),
    Endpoint("POST", "/fail/{kind}", fail),
)

board = notes.model_copy(update={"endpoints": ENDPOINTS})
