"""Messages over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field
from sqlalchemy.orm import Session

from orgtenancy.community.api.common import (
    Body,
    People,
    PersonView,
    Text,
    Url,
    View,
    is_moderator,
    record,
)
from orgtenancy.community.flags import MAX_REASON_LENGTH
from orgtenancy.community.messages import MessageRepository
from orgtenancy.community.models import Message, MessageType
from orgtenancy.community.models.conversations import MAX_CLIENT_KEY_LENGTH, MAX_MESSAGE_LENGTH
from orgtenancy.endpoints import Caller
from orgtenancy.pagination import Page, PageRequest

Content = Annotated[Text, Field(min_length=1, max_length=MAX_MESSAGE_LENGTH)]
ClientKey = Annotated[Text, Field(min_length=1, max_length=MAX_CLIENT_KEY_LENGTH)]
Reason = Annotated[Text, Field(max_length=MAX_REASON_LENGTH)]
Position = Annotated[int, Field(ge=0, lt=2**63)]


class MessageView(View):
    """A message, or the place of one that was deleted, which has no content.

    Attributes:
        sequence: Its number in the conversation, from 1 without a gap.
        client_key: What the sender's client called it; only the sender sees it.
    """

    id: UUID
    conversation_id: UUID
    sequence: int
    sender: PersonView
    type: MessageType
    content: str | None
    media_url: str | None
    client_key: str | None
    deleted: bool
    edited_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, message: Message, people: People, viewer: str) -> Self:
        """Return the view of a message."""
        return cls(
            id=message.id,
            conversation_id=message.conversation_id,
            sequence=message.sequence,
            sender=people[message.sender_id],
            type=message.type,
            content=message.content,
            media_url=message.media_url,
            client_key=message.client_key if message.sender_id == viewer else None,
            deleted=message.deleted_at is not None,
            edited_at=message.edited_at,
            created_at=message.created_at,
        )


class NewMessage(Body):
    """A message to send: a text, a medium, or both.

    Attributes:
        client_key: Chosen by the client; sending again with it does not say it twice.
    """

    content: Content | None = None
    media_url: Url | None = None
    client_key: ClientKey | None = None


class MessageEdit(Body):
    """What a message shall say."""

    content: Content


class NewFlag(Body):
    """Why a message is reported."""

    reason: Reason | None = None


class FlagResult(View):
    """Whether the report is new."""

    changed: bool


class MessageQuery(PageRequest):
    """Which messages: by default the newest, going back.

    Attributes:
        before: Only those with a smaller sequence number.
        after: Only those with a greater one, and oldest first.
    """

    before: Position | None = None
    after: Position | None = None


def list_messages(
    session: Session, caller: Caller, *, conversation_id: UUID, query: MessageQuery
) -> Page[MessageView]:
    """List messages, the newest first; with `after`, what came since, the oldest first."""
    messages = MessageRepository(session)
    if query.after is not None:
        found = messages.list_after(conversation_id, caller.id, query, after=query.after)
    else:
        found = messages.list_before(conversation_id, caller.id, query, before=query.before)
    people = People(session, [message.sender_id for message in found.items])
    return found.map(lambda message: MessageView.of(message, people, caller.id))


def send_message(
    session: Session, caller: Caller, *, conversation_id: UUID, body: NewMessage
) -> MessageView:
    """Send a message."""
    message = MessageRepository(session).send(
        conversation_id,
        caller.id,
        content=body.content,
        media_url=body.media_url,
        client_key=body.client_key,
    )
    return _view(session, caller, message)


def read_message(session: Session, caller: Caller, *, message_id: UUID) -> MessageView:
    """Return a message."""
    return _view(session, caller, MessageRepository(session).get_visible(message_id, caller.id))


def update_message(
    session: Session, caller: Caller, *, message_id: UUID, body: MessageEdit
) -> MessageView:
    """Change one's own message, soon after it was sent."""
    message = MessageRepository(session).edit(message_id, caller.id, body.content)
    record(session, caller, "message.edit", message_id)
    return _view(session, caller, message)


def delete_message(session: Session, caller: Caller, *, message_id: UUID) -> None:
    """Delete one's own message; moderators of the organization delete any."""
    moderating = is_moderator(session, caller)
    if MessageRepository(session).soft_delete(message_id, caller.id, moderating=moderating):
        record(session, caller, "message.delete", message_id)


def flag_message(
    session: Session, caller: Caller, *, message_id: UUID, body: NewFlag
) -> FlagResult:
    """Report a message to the moderators; again is the same as once."""
    changed = MessageRepository(session).flag(message_id, caller.id, body.reason)
    if changed:
        record(session, caller, "message.flag", message_id)
    return FlagResult(changed=changed)


def _view(session: Session, caller: Caller, message: Message) -> MessageView:
    return MessageView.of(message, People(session, [message.sender_id]), caller.id)
