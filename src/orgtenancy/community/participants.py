"""Participants: who takes part in a conversation, and how far each has read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Update, func, select

from orgtenancy.community import inputs
from orgtenancy.community.conversations import (
    MAX_PARTICIPANTS,
    ConversationRepository,
    visible_conversations,
)
from orgtenancy.community.models import Conversation, ConversationParticipant
from orgtenancy.community.places import (
    invite_statement,
    own_place,
    present_statement,
    read_statement,
    unread_statement,
)
from orgtenancy.community.rows import FRESH, WRITES
from orgtenancy.community.visibility import require_people
from orgtenancy.errors import Conflict, Invalid, NotFound
from orgtenancy.pagination import Page, PageRequest
from orgtenancy.repository import (
    FIRST_PAGE,
    AsyncOrganizationAwareRepository,
    OrganizationAwareRepository,
    awaitable,
)

#: The end of a mute that has none. Every time zone shows it in a year that Python knows.
WITHOUT_END: Final = datetime(9999, 12, 31, tzinfo=UTC)


class ParticipantRepository(OrganizationAwareRepository[ConversationParticipant]):
    """Who takes part in the current organization's conversations."""

    def find_present(
        self, conversation_id: UUID, user_id: str, page: PageRequest = FIRST_PAGE
    ) -> Page[ConversationParticipant]:
        """Return a page of those who take part in a conversation, by user id.

        Raises:
            NotFound: If the person does not take part.
            InvalidCursor: If the cursor is not one of this list.
        """
        self._visible(conversation_id, user_id)
        statement = (
            select(ConversationParticipant)
            .where(
                ConversationParticipant.conversation_id == conversation_id,
                ConversationParticipant.left_at.is_(None),
            )
            .execution_options(**FRESH)
        )
        key = (ConversationParticipant.user_id,)
        return self.select_page(statement, key, page, order="participants")

    def present_in(
        self, conversation_ids: Iterable[UUID]
    ) -> Mapping[UUID, Sequence[ConversationParticipant]]:
        """Return the first 10 people of each of some conversations, in one query.

        For lists of conversations: the caller has checked that they are visible.

        Returns:
            For each id those who take part now, by user id; `find_present` has the others.
        """
        wanted = tuple(dict.fromkeys(conversation_ids))
        found: dict[UUID, list[ConversationParticipant]] = {key: [] for key in wanted}
        if wanted:
            for participant in self.session.scalars(present_statement(wanted)):
                found[participant.conversation_id].append(participant)
        return found

    def positions(
        self, user_id: str, conversation_ids: Iterable[UUID]
    ) -> Mapping[UUID, ConversationParticipant]:
        """Return a person's own place in some conversations, in one query.

        Returns:
            How far they have read and until when it is muted, by conversation; those where
            they do not take part now are left out.
        """
        wanted = tuple(dict.fromkeys(conversation_ids))
        if not wanted or not inputs.storable(user_id):
            return {}
        statement = select(ConversationParticipant).where(
            ConversationParticipant.user_id == user_id,
            ConversationParticipant.conversation_id.in_(wanted),
            ConversationParticipant.left_at.is_(None),
        )
        rows = self.session.scalars(statement, execution_options=FRESH)
        return {row.conversation_id: row for row in rows}

    def invite(
        self, conversation_id: UUID, user_id: str, invited_ids: Iterable[str]
    ) -> Sequence[ConversationParticipant]:
        """Bring people into a group conversation, and return their places in it.

        Whoever takes part may. Those present stay as they are; the others begin with
        nothing unread, also when they come back.

        Args:
            conversation_id: Which conversation.
            user_id: Who invites.
            invited_ids: People with an active profile, at least one.

        Raises:
            NotFound: If the inviting person does not take part, or there is no such person.
            Conflict: If it is a direct conversation, or more than 100 would take part.
            Invalid: If a user id breaks a rule, or there is none.
        """
        wanted = inputs.user_ids("invited_ids", invited_ids)
        if not wanted:
            raise Invalid("invited_ids must not be empty")
        session = self.session
        # Under the lock nobody else comes in and nothing is said.
        conversation = session.scalar(
            visible_conversations(inputs.user_id(user_id))
            .where(Conversation.id == conversation_id)
            .with_for_update(key_share=True)
        )
        if conversation is None:
            raise NotFound("no such conversation")
        if conversation.type == "direct":
            raise Conflict("a direct conversation is between two people")
        places = self._present(conversation_id)
        new = [person for person in wanted if person not in places]
        if len(places) + len(new) > MAX_PARTICIPANTS:
            raise Conflict(f"{MAX_PARTICIPANTS} people take part in a conversation at the most")
        if new:
            require_people(session, new)
            statement = invite_statement(conversation_id, new, conversation.last_sequence)
            for place in session.scalars(statement, execution_options=WRITES):
                places[place.user_id] = place
        return tuple(places[person] for person in wanted)

    def leave(self, conversation_id: UUID, user_id: str) -> None:
        """Take part in a group conversation no more.

        Raises:
            NotFound: If the person does not take part.
            Conflict: If it is a direct conversation.
            Invalid: If the user id breaks a rule.
        """
        group = select(Conversation.id).where(
            Conversation.id == ConversationParticipant.conversation_id,
            Conversation.type == "group",
        )
        statement = (
            own_place(conversation_id, user_id)
            .where(group.exists())
            .values(left_at=func.now())
            .returning(ConversationParticipant)
        )
        if self.session.scalar(statement, execution_options=WRITES) is None:
            self._visible(conversation_id, user_id)
            raise Conflict("a direct conversation cannot be left, mute it")

    def mute(
        self, conversation_id: UUID, user_id: str, until: datetime | None = None
    ) -> ConversationParticipant:
        """Mute a conversation for oneself, and return one's place in it.

        Args:
            conversation_id: Which conversation.
            user_id: Whose place.
            until: A time with its time zone, or None for no end.

        Raises:
            NotFound: If the person does not take part.
            Invalid: If `until` is past or without time zone, or the user id breaks a rule.
        """
        if until is None:
            until = WITHOUT_END
        elif until.utcoffset() is None or until <= datetime.now(UTC):
            raise Invalid("until must be a time to come, with its time zone")
        return self._change(
            own_place(conversation_id, user_id).values(muted_until=min(until, WITHOUT_END))
        )

    def unmute(self, conversation_id: UUID, user_id: str) -> ConversationParticipant:
        """Hear of a conversation again, and return one's place in it.

        Raises:
            NotFound: If the person does not take part.
            Invalid: If the user id breaks a rule.
        """
        return self._change(own_place(conversation_id, user_id).values(muted_until=None))

    def mark_read(self, conversation_id: UUID, user_id: str, sequence: int) -> int:
        """Say that everything up to a message was read, and return the position now.

        It never moves back, and never beyond the last message.

        Args:
            conversation_id: Which conversation.
            user_id: Who has read.
            sequence: The `sequence` of the last message that was read.

        Raises:
            NotFound: If the person does not take part.
            Invalid: If the user id breaks a rule.
        """
        statement = read_statement(conversation_id, user_id, inputs.position(sequence))
        return self._change(statement).last_read_sequence

    def unread_counts(
        self, user_id: str, conversation_ids: Iterable[UUID] | None = None
    ) -> Mapping[UUID, int]:
        """Return how many messages a person has not read, in one query.

        Counted is what others have said and not deleted. Muted conversations are included.

        Args:
            user_id: Who.
            conversation_ids: In which conversations; in all where they take part if None.

        Returns:
            The numbers by conversation, without those where everything was read.
        """
        if not inputs.storable(user_id):
            return {}
        statement = unread_statement(user_id)
        if conversation_ids is not None:
            among = ConversationParticipant.conversation_id.in_(tuple(conversation_ids))
            statement = statement.where(among)
        return dict(self.session.execute(statement).all())

    def _change(self, statement: Update) -> ConversationParticipant:
        place: ConversationParticipant | None = self.session.scalar(
            statement.returning(ConversationParticipant), execution_options=WRITES
        )
        if place is None:
            raise NotFound("no such conversation")
        return place

    def _present(self, conversation_id: UUID) -> dict[str, ConversationParticipant]:
        statement = select(ConversationParticipant).where(
            ConversationParticipant.conversation_id == conversation_id,
            ConversationParticipant.left_at.is_(None),
        )
        rows = self.session.scalars(statement, execution_options=FRESH)
        return {row.user_id: row for row in rows}

    def _visible(self, conversation_id: UUID, user_id: str) -> Conversation:
        return ConversationRepository(self.session).get_visible(conversation_id, user_id)


class AsyncParticipantRepository(
    AsyncOrganizationAwareRepository[ConversationParticipant], sync=ParticipantRepository
):
    """The async twin of `ParticipantRepository`."""

    find_present = awaitable(ParticipantRepository.find_present)
    present_in = awaitable(ParticipantRepository.present_in)
    positions = awaitable(ParticipantRepository.positions)
    invite = awaitable(ParticipantRepository.invite)
    leave = awaitable(ParticipantRepository.leave)
    mute = awaitable(ParticipantRepository.mute)
    unmute = awaitable(ParticipantRepository.unmute)
    mark_read = awaitable(ParticipantRepository.mark_read)
    unread_counts = awaitable(ParticipantRepository.unread_counts)
