"""Conversations: between two people or in a group, and who sees them."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import ColumnElement, Select, false, select, update
from sqlalchemy.dialects.postgresql import insert

from orgtenancy.community import inputs
from orgtenancy.community.clauses import not_before
from orgtenancy.community.keys import uuid7
from orgtenancy.community.models import Conversation, ConversationParticipant
from orgtenancy.community.models.conversations import MAX_CONVERSATION_NAME_LENGTH
from orgtenancy.community.rows import FRESH, WRITES
from orgtenancy.community.visibility import require_people, takes_part
from orgtenancy.errors import Conflict, Invalid, NotFound
from orgtenancy.pagination import Page, PageRequest
from orgtenancy.repository import (
    FIRST_PAGE,
    AsyncOrganizationAwareRepository,
    OrganizationAwareRepository,
    awaitable,
)

#: How many people take part in a conversation at the most.
MAX_PARTICIPANTS = 100


def direct_key(one: str, other: str) -> str:
    """Return the name of a pair of people, the same in either order.

    The length in front makes it unambiguous whatever the ids contain, and no escaping
    makes it longer than an entry of the index can be.
    """
    first, second = sorted((one, other))
    return f"{len(first)}:{first}:{second}"


def present(user_id: str, conversation_id: ColumnElement[UUID]) -> ColumnElement[bool]:
    """Return the condition under which a person takes part; what is no id never does."""
    return takes_part(user_id, conversation_id) if inputs.storable(user_id) else false()


def visible_conversations(viewer: str) -> Select[Conversation]:
    """Select the conversations where a person takes part now."""
    return (
        select(Conversation)
        .where(present(viewer, Conversation.id.expression))
        .execution_options(**FRESH)
    )


def direct_conversation(key: str) -> Select[Conversation]:
    """Select the conversation of a pair of people."""
    return select(Conversation).where(Conversation.direct_key == key).execution_options(**FRESH)


class ConversationRepository(OrganizationAwareRepository[Conversation]):
    """The conversations of the current organization."""

    def open_direct(self, user_id: str, other_id: str) -> Conversation:
        """Return the conversation of two people, made at first sight.

        There is one for each pair, also when both open it at once.

        Args:
            user_id: Who opens it.
            other_id: With whom: a person with an active profile, unless the conversation
                exists.

        Raises:
            NotFound: If there is no such person.
            Invalid: If both are the same, or a user id breaks a rule.
        """
        people = inputs.user_id(user_id), inputs.user_id(other_id)
        if user_id == other_id:
            raise Invalid("a direct conversation is between two people")
        key = direct_key(*people)
        conversation = self.session.scalar(direct_conversation(key))
        if conversation is not None:
            return conversation
        require_people(self.session, [other_id])
        # DO NOTHING waits for the other side's transaction. When that commits, both
        # participants are in it.
        statement = (
            insert(Conversation)
            .values(id=uuid7(), type="direct", direct_key=key, created_by=user_id)
            .on_conflict_do_nothing(index_elements=[Conversation.direct_key])
            .returning(Conversation)
        )
        conversation = self.session.scalar(statement, execution_options=WRITES)
        if conversation is None:
            return self.session.scalars(direct_conversation(key)).one()
        self._add_participants(conversation.id, people)
        return conversation

    def create(
        self, *, creator_id: str, participant_ids: Iterable[str], name: str | None = None
    ) -> Conversation:
        """Begin a group conversation and return it.

        Args:
            creator_id: Who begins it, and takes part.
            participant_ids: 1 to 99 other people, each with an active profile.
            name: 1 to 120 characters, or None.

        Raises:
            NotFound: If one of the people does not exist.
            Invalid: If a value breaks a rule.
        """
        others = inputs.user_ids("participant_ids", participant_ids)
        others = [person for person in others if person != creator_id]
        if not 1 <= len(others) < MAX_PARTICIPANTS:
            raise Invalid(
                f"{len(others)} other participants, it must be 1 to {MAX_PARTICIPANTS - 1}"
            )
        conversation = Conversation(
            id=uuid7(),
            type="group",
            name=inputs.optional_text("name", name, MAX_CONVERSATION_NAME_LENGTH),
            created_by=inputs.user_id(creator_id),
        )
        require_people(self.session, others)
        self.session.add(conversation)
        self._add_participants(conversation.id, [creator_id, *others])
        return conversation

    def get_visible(self, conversation_id: UUID, user_id: str) -> Conversation:
        """Return a conversation where a person takes part.

        Raises:
            NotFound: If there is none, or they do not take part now.
        """
        conversation = self.session.scalar(
            visible_conversations(user_id).where(Conversation.id == conversation_id)
        )
        if conversation is None:
            raise NotFound("no such conversation")
        return conversation

    def find_for(self, user_id: str, page: PageRequest = FIRST_PAGE) -> Page[Conversation]:
        """Return a page of where a person takes part, most recently active first.

        A conversation that becomes active between two pages moves to the front.

        Raises:
            InvalidCursor: If the cursor is not one of this list.
        """
        key = (Conversation.updated_at, Conversation.id)
        return self.select_page(
            visible_conversations(user_id), key, page, order="conversations", descending=True
        )

    def rename(self, conversation_id: UUID, user_id: str, name: str | None) -> Conversation:
        """Name a group conversation, or take its name away with None, and return it.

        Raises:
            NotFound: If the person does not take part.
            Conflict: If it is a direct conversation.
            Invalid: If a value breaks a rule.
        """
        statement = (
            update(Conversation)
            .where(
                Conversation.id == conversation_id,
                Conversation.type == "group",
                present(inputs.user_id(user_id), Conversation.id.expression),
            )
            .values(
                name=inputs.optional_text("name", name, MAX_CONVERSATION_NAME_LENGTH),
                updated_at=not_before(Conversation.updated_at),
            )
            .returning(Conversation)
        )
        conversation = self.session.scalar(statement, execution_options=WRITES)
        if conversation is None:
            self.get_visible(conversation_id, user_id)
            raise Conflict("a direct conversation has no name")
        return conversation

    def _add_participants(self, conversation_id: UUID, people: Iterable[str]) -> None:
        session = self.session
        session.add_all(
            ConversationParticipant(conversation_id=conversation_id, user_id=person)
            for person in people
        )
        session.flush()


class AsyncConversationRepository(
    AsyncOrganizationAwareRepository[Conversation], sync=ConversationRepository
):
    """The async twin of `ConversationRepository`."""

    open_direct = awaitable(ConversationRepository.open_direct)
    create = awaitable(ConversationRepository.create)
    get_visible = awaitable(ConversationRepository.get_visible)
    find_for = awaitable(ConversationRepository.find_for)
    rename = awaitable(ConversationRepository.rename)
