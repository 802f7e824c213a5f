"""A module as a host would write one, small enough to see through."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import BigInteger, ForeignKey, Index, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from orgtenancy import (
    AsyncOrganizationAwareRepository,
    OrganizationAwareRepository,
    OrganizationModule,
    awaitable,
)


class Base(DeclarativeBase):
    """The module's own metadata."""


class Note(Base):
    """A line of text."""

    __tablename__ = "notes"
    __table_args__ = (Index("notes_body_idx", "body"),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    body: Mapped[str] = mapped_column(Text)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("notes.id", deferrable=True))


class NoteRepository(OrganizationAwareRepository[Note]):
    """Notes of the current organization."""

    def write(self, note_id: int, body: str) -> Note:
        return self.add(Note(id=note_id, body=body))


class AsyncNoteRepository(AsyncOrganizationAwareRepository[Note], sync=NoteRepository):
    """The async twin."""

    write = awaitable(NoteRepository.write)


notes = OrganizationModule(
    name="notes", metadata=Base.metadata, migrations=Path(__file__).parent / "notes_migrations"
)
