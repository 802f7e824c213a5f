"""What is personal beyond a person's id, and what is made of it."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from orgtenancy.community.conversations import direct_key
from orgtenancy.community.models import ActivityLog, Conversation, ConversationParticipant
from orgtenancy.community.profiles import UserProfileRepository
from orgtenancy.errors import Invalid, NotFound


def erase_person(session: Session, user_id: str, pseudonym: str) -> None:
    """Forget a person, as `UserProfileRepository.anonymize` does, with or without a profile.

    Direct conversations are named after the pair of people in them.

    Args:
        session: A session of the organization.
        user_id: Who.
        pseudonym: What replaces the id afterwards, in every column that says it holds one.
    """
    with suppress(NotFound, Invalid):  # somebody without a profile may have left traces
        UserProfileRepository(session).anonymize(user_id)
    session.execute(
        update(ActivityLog)
        .where(ActivityLog.user_id == user_id)
        .values({ActivityLog.ip_address: None, ActivityLog.metadata_: {}})
    )
    taking_part = ConversationParticipant
    own = (
        select(taking_part.conversation_id)
        .join(Conversation, Conversation.id == taking_part.conversation_id)
        .where(Conversation.type == "direct", taking_part.user_id == user_id)
    )
    partners = select(taking_part.conversation_id, taking_part.user_id).where(
        taking_part.conversation_id.in_(own), taking_part.user_id != user_id
    )
    for conversation_id, partner in session.execute(partners).all():
        session.execute(
            update(Conversation)
            .where(Conversation.id == conversation_id)
            .values(direct_key=direct_key(pseudonym, partner))
        )
