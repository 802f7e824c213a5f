"""Conversations over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, Field
from sqlalchemy.orm import Session

from orgtenancy.community.api.common import (
    Body,
    People,
    PersonView,
    Text,
    UserId,
    View,
    record,
)
from orgtenancy.community.api.messages import MessageView
from orgtenancy.community.conversations import ConversationRepository
from orgtenancy.community.messages import MessageRepository
from orgtenancy.community.models import Conversation, ConversationParticipant, ConversationType
from orgtenancy.community.models.conversations import MAX_CONVERSATION_NAME_LENGTH
from orgtenancy.community.participants import ParticipantRepository
from orgtenancy.endpoints import Caller
from orgtenancy.pagination import Page, PageRequest

Name = Annotated[Text, Field(min_length=1, max_length=MAX_CONVERSATION_NAME_LENGTH)]
Invited = Annotated[tuple[UserId, ...], Field(min_length=1, max_length=99)]
Position = Annotated[int, Field(ge=0, lt=2**63)]


class ConversationView(View):
    """A conversation, as one person who takes part sees it.

    Attributes:
        participants: The first ten.
        muted_until: Until when the caller does not want to hear of it.
    """

    id: UUID
    type: ConversationType
    name: str | None
    participants: list[PersonView]
    last_message: MessageView | None
    last_sequence: int
    last_read_sequence: int
    unread_count: int
    muted_until: datetime | None
    created_at: datetime
    updated_at: datetime


class ParticipantView(View):
    """Somebody who takes part, and how far they have read."""

    person: PersonView
    last_read_sequence: int
    joined_at: datetime


class UnreadView(View):
    """How many messages wait, in all and by conversation."""

    total: int
    conversations: dict[UUID, int]


class ReadView(View):
    """How far one has read."""

    last_read_sequence: int


class NewConversation(Body):
    """A conversation of several people to begin."""

    name: Name | None = None
    participants: Invited


class ConversationEdit(Body):
    """The name that a conversation shall have; null takes it away."""

    name: Name | None


class NewParticipants(Body):
    """Who shall take part."""

    user_ids: Invited


class Mute(Body):
    """Until when to be quiet; without an end if not given."""

    until: AwareDatetime | None = None


class ReadMark(Body):
    """Up to which message one has read."""

    sequence: Position


def list_conversations(
    session: Session, caller: Caller, *, query: PageRequest
) -> Page[ConversationView]:
    """List the caller's conversations, the most recently active first."""
    found = ConversationRepository(session).find_for(caller.id, query)
    views = _views(session, caller, found.items)
    return Page(items=tuple(views), next_cursor=found.next_cursor)


def read_unread(session: Session, caller: Caller) -> UnreadView:
    """Count the messages that the caller has not read."""
    counts = ParticipantRepository(session).unread_counts(caller.id)
    return UnreadView(total=sum(counts.values()), conversations=dict(counts))


def open_direct_conversation(
    session: Session, caller: Caller, *, user_id: UserId
) -> ConversationView:
    """Return the one conversation with a person; the first time it is begun."""
    conversation = ConversationRepository(session).open_direct(caller.id, user_id)
    return _view(session, caller, conversation)


def create_conversation(
    session: Session, caller: Caller, *, body: NewConversation
) -> ConversationView:
    """Begin a conversation of several people."""
    conversation = ConversationRepository(session).create(
        creator_id=caller.id, name=body.name, participant_ids=body.participants
    )
    record(session, caller, "conversation.create", conversation.id)
    return _view(session, caller, conversation)


def read_conversation(
    session: Session, caller: Caller, *, conversation_id: UUID
) -> ConversationView:
    """Return a conversation."""
    found = ConversationRepository(session).get_visible(conversation_id, caller.id)
    return _view(session, caller, found)


def update_conversation(
    session: Session, caller: Caller, *, conversation_id: UUID, body: ConversationEdit
) -> ConversationView:
    """Name a conversation of several people."""
    found = ConversationRepository(session).rename(conversation_id, caller.id, body.name)
    record(session, caller, "conversation.rename", conversation_id)
    return _view(session, caller, found)


def list_participants(
    session: Session, caller: Caller, *, conversation_id: UUID, query: PageRequest
) -> Page[ParticipantView]:
    """List who takes part."""
    found = ParticipantRepository(session).find_present(conversation_id, caller.id, query)
    return _participants(session, found)


def add_participants(
    session: Session, caller: Caller, *, conversation_id: UUID, body: NewParticipants
) -> Page[ParticipantView]:
    """Bring people into a conversation of several."""
    participants = ParticipantRepository(session)
    added = participants.invite(conversation_id, caller.id, body.user_ids)
    metadata = {"user_ids": list(body.user_ids)}
    record(session, caller, "conversation.invite", conversation_id, metadata)
    return _participants(session, Page(items=tuple(added)))


def leave_conversation(session: Session, caller: Caller, *, conversation_id: UUID) -> None:
    """Leave a conversation of several people."""
    ParticipantRepository(session).leave(conversation_id, caller.id)
    record(session, caller, "conversation.leave", conversation_id)


def mute_conversation(
    session: Session, caller: Caller, *, conversation_id: UUID, body: Mute
) -> ConversationView:
    """Hear nothing of a conversation for a while, or for good."""
    ParticipantRepository(session).mute(conversation_id, caller.id, body.until)
    return read_conversation(session, caller, conversation_id=conversation_id)


def unmute_conversation(
    session: Session, caller: Caller, *, conversation_id: UUID
) -> ConversationView:
    """Hear of a conversation again."""
    ParticipantRepository(session).unmute(conversation_id, caller.id)
    return read_conversation(session, caller, conversation_id=conversation_id)


def mark_read(
    session: Session, caller: Caller, *, conversation_id: UUID, body: ReadMark
) -> ReadView:
    """Say how far one has read; it never goes back."""
    position = ParticipantRepository(session).mark_read(conversation_id, caller.id, body.sequence)
    return ReadView(last_read_sequence=position)


def _view(session: Session, caller: Caller, conversation: Conversation) -> ConversationView:
    (view,) = _views(session, caller, [conversation])
    return view


def _views(
    session: Session, caller: Caller, conversations: Sequence[Conversation]
) -> list[ConversationView]:
    if not conversations:
        return []
    ids = [conversation.id for conversation in conversations]
    participants = ParticipantRepository(session)
    present = participants.present_in(ids)
    mine = participants.positions(caller.id, ids)
    unread = participants.unread_counts(caller.id, ids)
    last = MessageRepository(session).last_messages(ids)
    people = People(
        session,
        [p.user_id for found in present.values() for p in found]
        + [message.sender_id for message in last.values()],
    )
    return [
        ConversationView(
            id=c.id,
            type=c.type,
            name=c.name,
            participants=[people[p.user_id] for p in present.get(c.id, ())],
            last_message=(MessageView.of(last[c.id], people, caller.id) if c.id in last else None),
            last_sequence=c.last_sequence,
            last_read_sequence=mine[c.id].last_read_sequence,
            unread_count=unread.get(c.id, 0),
            muted_until=mine[c.id].muted_until,
            created_at=c.created_at,
            updated_at=c.updated_at,
        )
        for c in conversations
    ]


def _participants(session: Session, page: Page[ConversationParticipant]) -> Page[ParticipantView]:
    people = People(session, [participant.user_id for participant in page.items])
    return page.map(
        lambda participant: ParticipantView(
            person=people[participant.user_id],
            last_read_sequence=participant.last_read_sequence,
            joined_at=participant.joined_at,
        )
    )
