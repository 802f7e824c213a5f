"""Conversations, who takes part, and what was said."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from orgtenancy.community.models.base import (
    MAX_URL_LENGTH,
    MAX_USER_ID_LENGTH,
    Base,
    Key,
    Timestamps,
    UserId,
    length,
    not_negative,
    one_of,
)
from orgtenancy.modules import PERSON

ConversationType = Literal["direct", "group"]
MessageType = Literal["text", "media", "system"]

MAX_CONVERSATION_NAME_LENGTH = 120
MAX_MESSAGE_LENGTH = 10_000
MAX_CLIENT_KEY_LENGTH = 100


class Conversation(Timestamps, Base):
    """A line of messages; its row hands out their sequence numbers."""

    __tablename__ = "conversations"
    __table_args__ = (
        one_of("type", get_args(ConversationType)),
        length("name", 1, MAX_CONVERSATION_NAME_LENGTH),
        not_negative("last_sequence"),
        CheckConstraint(text("(type = 'direct') = (direct_key IS NOT NULL)"), name="direct_key"),
        Index("uq_conversations_direct_key", "direct_key", unique=True),
    )

    id: Mapped[Key]
    type: Mapped[ConversationType] = mapped_column(Text)
    name: Mapped[str | None]
    #: Names the pair of people of a direct conversation, whoever started it.
    direct_key: Mapped[str | None]
    created_by: Mapped[UserId | None]
    last_sequence: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    last_message_at: Mapped[datetime | None]


class ConversationParticipant(Base):
    """One person in one conversation, and how far they have read."""

    __tablename__ = "conversation_participants"
    __table_args__ = (
        length("user_id", 1, MAX_USER_ID_LENGTH),
        not_negative("last_read_sequence"),
        Index(
            "ix_conversation_participants_present",
            "user_id",
            "conversation_id",
            postgresql_where=text("left_at IS NULL"),
        ),
    )

    conversation_id: Mapped[UUID] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[UserId] = mapped_column(primary_key=True)
    last_read_sequence: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"))
    last_read_at: Mapped[datetime | None]
    muted_until: Mapped[datetime | None]
    joined_at: Mapped[datetime] = mapped_column(server_default=func.now())
    left_at: Mapped[datetime | None]


class Message(Timestamps, Base):
    """One message; deleted ones stay as tombstones without content."""

    __tablename__ = "messages"
    __table_args__ = (
        length("sender_id", 1, MAX_USER_ID_LENGTH),
        one_of("type", get_args(MessageType)),
        length("content", 1, MAX_MESSAGE_LENGTH),
        length("media_url", 1, MAX_URL_LENGTH),
        length("client_key", 1, MAX_CLIENT_KEY_LENGTH),
        CheckConstraint(text("sequence > 0"), name="sequence_positive"),
        CheckConstraint(
            text("(deleted_at IS NULL) = (content IS NOT NULL OR media_url IS NOT NULL)"),
            name="tombstone",
        ),
        CheckConstraint(text("jsonb_typeof(flags) = 'array'"), name="flags_is_array"),
        Index(
            "uq_messages_sequence",
            "conversation_id",
            "sequence",
            unique=True,
            # Unread messages are counted in the index alone.
            postgresql_include=["sender_id", "deleted_at"],
        ),
        Index("ix_messages_flagged", "id", postgresql_where=text("flags <> '[]'::jsonb")),
        Index(
            "uq_messages_client_key",
            "conversation_id",
            "sender_id",
            "client_key",
            unique=True,
            postgresql_where=text("client_key IS NOT NULL"),
        ),
        Index("ix_messages_sender", "sender_id", "id"),
    )

    id: Mapped[Key]
    conversation_id: Mapped[UUID] = mapped_column(
        ForeignKey("conversations.id", ondelete="CASCADE")
    )
    sender_id: Mapped[UserId]
    sequence: Mapped[int] = mapped_column(BigInteger)
    type: Mapped[MessageType] = mapped_column(Text, default="text", server_default=text("'text'"))
    content: Mapped[str | None]
    media_url: Mapped[str | None]
    #: What people reported and no moderator resolved: user_id, reason, created_at.
    flags: Mapped[list[dict[str, Any]]] = mapped_column(
        JSONB, default=list, server_default=text("'[]'"), info=PERSON
    )
    #: Chosen by the sender's client: sending again does not say it twice.
    client_key: Mapped[str | None]
    edited_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
