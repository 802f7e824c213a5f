"""Statements about people's places in conversations: there or not, read so far or not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Select, Update, func, literal, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from orgtenancy.community import inputs
from orgtenancy.community.clauses import now_if
from orgtenancy.community.models import Conversation, ConversationParticipant, Message
from orgtenancy.community.rows import FRESH

#: How many people are brought along for each conversation of a list.
MAX_LISTED_PARTICIPANTS = 10


def own_place(conversation_id: UUID, user_id: str) -> Update:
    """Change the place of a person who takes part now; nothing is said to be set yet."""
    return update(ConversationParticipant).where(
        ConversationParticipant.conversation_id == conversation_id,
        ConversationParticipant.user_id == inputs.user_id(user_id),
        ConversationParticipant.left_at.is_(None),
    )


def present_statement(conversation_ids: Sequence[UUID]) -> Select[ConversationParticipant]:
    """Select the first people present in each of some conversations."""
    listed = (
        select(ConversationParticipant)
        .where(
            ConversationParticipant.conversation_id == Conversation.id,
            ConversationParticipant.left_at.is_(None),
        )
        .order_by(ConversationParticipant.user_id)
        .limit(MAX_LISTED_PARTICIPANTS)
        .lateral("listed")
    )
    participant = aliased(ConversationParticipant, listed)
    return (
        select(participant)
        .select_from(Conversation)
        .join(listed, true())
        .where(Conversation.id.in_(conversation_ids))
        .order_by(participant.conversation_id, participant.user_id)
        .execution_options(**FRESH)
    )


def unread_statement(user_id: str) -> Select[UUID, int]:
    """Count what others said behind a person's position, where there is anything."""
    own = ConversationParticipant
    # LATERAL: one range of `uq_messages_sequence` for each conversation, and none for
    # those where nothing was said since.
    unread = (
        select(func.count().label("number"))
        .where(
            Message.conversation_id == own.conversation_id,
            Message.sequence > own.last_read_sequence,
            Message.sender_id != user_id,
            Message.deleted_at.is_(None),
        )
        .lateral("unread")
    )
    return (
        select(own.conversation_id, unread.c.number)
        .join(Conversation, Conversation.id == own.conversation_id)
        .join(unread, true())
        .where(
            own.user_id == user_id,
            own.left_at.is_(None),
            Conversation.last_sequence > own.last_read_sequence,
            unread.c.number > 0,
        )
    )


def invite_statement(conversation_id: UUID, user_ids: Iterable[str], last_sequence: int) -> Any:
    """Insert people as participants or let them come back, with nothing unread."""
    statement = insert(ConversationParticipant).values(
        [
            {
                "conversation_id": conversation_id,
                "user_id": user_id,
                "last_read_sequence": last_sequence,
                "joined_at": func.now(),
            }
            for user_id in user_ids
        ]
    )
    return statement.on_conflict_do_update(
        index_elements=[ConversationParticipant.conversation_id, ConversationParticipant.user_id],
        set_={
            "left_at": None,
            "joined_at": statement.excluded.joined_at,
            "last_read_sequence": statement.excluded.last_read_sequence,
            "last_read_at": None,
        },
        where=ConversationParticipant.left_at.is_not(None),
    ).returning(ConversationParticipant)


def read_statement(conversation_id: UUID, user_id: str, sequence: int) -> Update:
    """Move a person's position forward, and no further than the last message."""
    own = ConversationParticipant
    reached = func.least(literal(sequence, BigInteger), Conversation.last_sequence)
    return (
        own_place(conversation_id, user_id)
        .where(Conversation.id == own.conversation_id)
        .values(
            last_read_sequence=func.greatest(own.last_read_sequence, reached),
            last_read_at=func.greatest(own.last_read_at, now_if(reached > own.last_read_sequence)),
        )
    )
