"""Statements about messages that people report, and moderators decide on."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Select, Text, Update, func, literal, literal_column, select, update
from sqlalchemy.dialects.postgresql import JSONB

from orgtenancy.community.clauses import this_moment
from orgtenancy.community.conversations import present
from orgtenancy.community.models import Message
from orgtenancy.community.rows import FRESH
from orgtenancy.community.sending import tombstone

MAX_REASON_LENGTH = 500

# A constant, not a parameter: the partial index serves prepared statements only then.
_no_flags = literal_column("'[]'::jsonb", JSONB)


def flagged() -> Select[Message]:
    """Select the messages with open flags."""
    return select(Message).where(Message.flags != _no_flags).execution_options(**FRESH)


def flag_statement(message_id: UUID, user_id: str, reason: str | None) -> Update:
    """Append a person's flag to somebody else's message, unless there is one of theirs.

    One UPDATE: it waits for a concurrent flag, and then appends to what that left.
    """
    flag = func.jsonb_build_object(
        "user_id", user_id, "reason", literal(reason, Text), "created_at", this_moment()
    )
    own = Message.flags.contains([{"user_id": user_id}])
    return (
        update(Message)
        .where(
            Message.id == message_id,
            Message.sender_id != user_id,
            Message.deleted_at.is_(None),
            present(user_id, Message.conversation_id.expression),
            ~own,
        )
        .values(flags=Message.flags.concat(func.jsonb_build_array(flag)))
        .returning(Message)
    )


def resolve_statement(message_id: UUID, *, remove: bool) -> Update:
    """Empty the flags of a message that has some, and take its content if it shall go."""
    return (
        update(Message)
        .where(Message.id == message_id, Message.flags != _no_flags)
        .values(tombstone() if remove else {Message.flags: []})
        .returning(Message)
    )
