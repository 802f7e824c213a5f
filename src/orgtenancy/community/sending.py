"""Statements that write messages: number, change and bury them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Select,
    Text,
    Update,
    Uuid,
    case,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from orgtenancy.community import inputs
from orgtenancy.community.clauses import not_before, this_moment
from orgtenancy.community.conversations import present
from orgtenancy.community.keys import uuid7
from orgtenancy.community.models import Conversation, Message
from orgtenancy.community.models.conversations import MAX_CLIENT_KEY_LENGTH, MAX_MESSAGE_LENGTH
from orgtenancy.community.rows import FRESH
from orgtenancy.errors import Invalid

# Tables, not classes: the statement that numbers messages goes past the unit of work.
_conversations: Any = Conversation.__table__


def new_message(
    conversation_id: UUID,
    sender_id: str,
    content: str | None,
    media_url: str | None,
    client_key: str | None,
) -> Message:
    """Return a message that has no number yet.

    Raises:
        Invalid: If there is neither content nor media, or a value breaks a rule.
    """
    message = Message(
        id=uuid7(),
        conversation_id=conversation_id,
        sender_id=inputs.user_id(sender_id),
        content=inputs.optional_text("content", content, MAX_MESSAGE_LENGTH),
        media_url=inputs.url("media_url", media_url),
    )
    if message.content is None and message.media_url is None:
        raise Invalid("a message needs content or a media_url")
    message.type = "text" if message.content is not None else "media"
    if client_key is not None:
        message.client_key = inputs.text("client_key", client_key, MAX_CLIENT_KEY_LENGTH)
    return message


def sent_before(message: Message) -> Select[Message]:
    """Select the message that a sender's key stands for."""
    return (
        select(Message)
        .where(
            Message.conversation_id == message.conversation_id,
            Message.sender_id == message.sender_id,
            Message.client_key == message.client_key,
        )
        .execution_options(**FRESH)
    )


def send_statement(message: Message) -> Any:
    """Insert a message with the next number, if its sender takes part and is not repeating.

    One statement: the row lock of the UPDATE puts concurrent messages in a line, and what
    is rolled back gives its number back. No message is older than the one before it, so that
    times are in the order of the numbers; `now()` is when a transaction began.
    """
    moment = not_before(_conversations.c.updated_at)
    numbered = (
        update(_conversations)
        .where(
            _conversations.c.id == message.conversation_id,
            present(message.sender_id, _conversations.c.id),
        )
        .values(
            last_sequence=_conversations.c.last_sequence + 1,
            last_message_at=moment,
            updated_at=moment,
        )
        .returning(
            _conversations.c.id, _conversations.c.last_sequence, _conversations.c.last_message_at
        )
    )
    if message.client_key is not None:
        numbered = numbered.where(~sent_before(message).exists())
    number = numbered.cte("numbered")
    values = {
        "id": literal(message.id, Uuid),
        "conversation_id": number.c.id,
        "sender_id": literal(message.sender_id, Text),
        "sequence": number.c.last_sequence,
        "type": literal(message.type, Text),
        "content": literal(message.content, Text),
        "media_url": literal(message.media_url, Text),
        "client_key": literal(message.client_key, Text),
        "created_at": number.c.last_message_at,
        "updated_at": number.c.last_message_at,
    }
    # Nothing of the conversation is returned: Citus would not find it there.
    return (
        insert(Message)
        .from_select(list(values), select(*values.values()), include_defaults=False)
        .returning(Message)
    )


def edit_statement(message_id: UUID, sender_id: str, content: str, window: timedelta) -> Update:
    """Change the text of a sender's message that is not too old by the server's clock.

    Raises:
        Invalid: If the content breaks a rule.
    """
    return (
        update(Message)
        .where(
            Message.id == message_id,
            Message.sender_id == sender_id,
            Message.deleted_at.is_(None),
            this_moment() - Message.created_at < window,
            present(sender_id, Message.conversation_id.expression),
        )
        .values(
            content=inputs.text("content", content, MAX_MESSAGE_LENGTH),
            type=case((Message.type == "media", "text"), else_=Message.type),
            edited_at=this_moment(),
            updated_at=this_moment(),
        )
        .returning(Message)
    )


def delete_statement(message_id: UUID, user_id: str, *, moderating: bool) -> Update:
    """Bury a message of a sender who takes part, or whatever message when moderating."""
    statement = (
        update(Message)
        .where(Message.id == message_id, Message.deleted_at.is_(None))
        .values(tombstone())
        .returning(Message)
    )
    if moderating:
        return statement
    taking_part = present(user_id, Message.conversation_id.expression)
    return statement.where(Message.sender_id == user_id, taking_part)


def tombstone() -> dict[Any, Any]:
    """Return the values that leave only the place of a message."""
    return {
        Message.content: None,
        Message.media_url: None,
        Message.flags: [],
        Message.deleted_at: this_moment(),
        Message.updated_at: this_moment(),
    }
