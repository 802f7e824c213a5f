"""Conversations that the tests begin with, and what they count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import event
from sqlalchemy.orm import Session

from orgtenancy.community.conversations import ConversationRepository
from orgtenancy.community.messages import MessageRepository
from orgtenancy.pagination import Page, PageRequest
from tests.community.seeds import add_person

T = TypeVar("T")


def add_people(session: Session, *user_ids: str) -> None:
    for user_id in user_ids:
        add_person(session, user_id)


def direct(session: Session, one: str = "ada", other: str = "bob") -> UUID:
    """A direct conversation of two new people."""
    add_people(session, one, other)
    return ConversationRepository(session).open_direct(one, other).id


def circle(session: Session, creator: str = "ada", *others: str) -> UUID:
    """A group conversation of new people."""
    others = others or ("bob", "cy")
    add_people(session, creator, *others)
    return ConversationRepository(session).create(creator_id=creator, participant_ids=others).id


def say(session: Session, conversation_id: UUID, sender: str = "ada", text: str = "Hi") -> UUID:
    return MessageRepository(session).send(conversation_id, sender, content=text).id


@contextmanager
def counted(session: Session) -> Iterator[list[str]]:
    """Collects the statements that go to the server."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    connection = session.connection()
    event.listen(connection, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(connection, "before_cursor_execute", note)


def number_of_statements(session: Session, function: Callable[[], object]) -> int:
    with counted(session) as statements:
        function()
    return len(statements)


def all_pages(find: Callable[[PageRequest], Page[T]], limit: int = 3) -> list[T]:
    found: list[T] = []
    cursor = None
    while True:
        page = find(PageRequest(limit=limit, cursor=cursor))
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found
