"""What moderators of the organization do, and what everyone did."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field
from sqlalchemy.orm import Session

from orgtenancy.community.activity import ActivityLogRepository
from orgtenancy.community.api.common import Body, People, PersonView, Text, UserId, View, record
from orgtenancy.community.api.messages import MessageView
from orgtenancy.community.messages import MessageRepository
from orgtenancy.community.models import ActivityLog, Message
from orgtenancy.endpoints import Caller
from orgtenancy.pagination import Page, PageRequest

Word = Annotated[Text, Field(min_length=1, max_length=255)]


class FlagView(View):
    """A report of a message."""

    person: PersonView
    reason: str | None
    created_at: datetime


class FlaggedMessageView(View):
    """A message with the reports that no moderator has answered."""

    message: MessageView
    flags: list[FlagView]

    @classmethod
    def of(cls, message: Message, people: People, viewer: str) -> Self:
        """Return the view of a reported message."""
        return cls(
            message=MessageView.of(message, people, viewer),
            flags=[
                FlagView(
                    person=people[flag["user_id"]],
                    reason=flag["reason"],
                    created_at=flag["created_at"],
                )
                for flag in message.flags
            ],
        )


class FlagDecision(Body):
    """Whether the message is removed, or stays."""

    remove: bool


class ActivityView(View):
    """One action of somebody; without a person, of the system."""

    id: UUID
    user_id: str | None
    action: str
    entity_type: str | None
    entity_id: str | None
    metadata: dict[str, Any]
    ip_address: str | None
    created_at: datetime

    @classmethod
    def of(cls, log: ActivityLog) -> Self:
        """Return the view of an action."""
        return cls(
            id=log.id,
            user_id=log.user_id,
            action=log.action,
            entity_type=log.entity_type,
            entity_id=log.entity_id,
            metadata=log.metadata_,
            ip_address=None if log.ip_address is None else str(log.ip_address),
            created_at=log.created_at,
        )


class ActivityQuery(PageRequest):
    """Whose activity, or what kind; or what was done to one thing."""

    user_id: UserId | None = None
    entity_type: Word | None = None
    entity_id: Word | None = None
    action: Annotated[Text, Field(min_length=1, max_length=100)] | None = None


def list_flagged_messages(
    session: Session, caller: Caller, *, query: PageRequest
) -> Page[FlaggedMessageView]:
    """List reported messages, the oldest first."""
    found = MessageRepository(session).find_flagged(query)
    people = People(
        session,
        [message.sender_id for message in found.items]
        + [flag["user_id"] for message in found.items for flag in message.flags],
    )
    return found.map(lambda message: FlaggedMessageView.of(message, people, caller.id))


def resolve_flags(
    session: Session, caller: Caller, *, message_id: UUID, body: FlagDecision
) -> MessageView:
    """Answer the reports of a message: remove it, or let it stand."""
    message = MessageRepository(session).resolve_flags(message_id, remove=body.remove)
    record(session, caller, "message.resolve_flags", message_id, {"remove": body.remove})
    return MessageView.of(message, People(session, [message.sender_id]), caller.id)


def list_own_activity(
    session: Session, caller: Caller, *, query: PageRequest
) -> Page[ActivityView]:
    """List what the caller did, the newest first."""
    found = ActivityLogRepository(session).find(query, user_id=caller.id)
    return found.map(ActivityView.of)


def list_activity(session: Session, caller: Caller, *, query: ActivityQuery) -> Page[ActivityView]:
    """List what was done in the organization, by anybody, or to one thing."""
    activity = ActivityLogRepository(session)
    if query.entity_type is not None and query.entity_id is not None:
        found = activity.for_target(query.entity_type, query.entity_id, query)
    else:
        found = activity.find(query, user_id=query.user_id, action=query.action)
    return found.map(ActivityView.of)
