"""Messages: what is said in a conversation, in an order without gaps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID

from sqlalchemy import Select, and_, select

from orgtenancy.community import inputs
from orgtenancy.community.conversations import (
    ConversationRepository,
    present,
)
from orgtenancy.community.flags import (
    MAX_REASON_LENGTH,
    flag_statement,
    flagged,
    resolve_statement,
)
from orgtenancy.community.models import Conversation, Message
from orgtenancy.community.rows import FRESH, WRITES, remember
from orgtenancy.community.sending import (
    delete_statement,
    edit_statement,
    new_message,
    send_statement,
    sent_before,
)
from orgtenancy.community.settings import CommunitySettings
from orgtenancy.errors import Conflict, Forbidden, NotFound
from orgtenancy.pagination import Page, PageRequest
from orgtenancy.repository import (
    FIRST_PAGE,
    AsyncOrganizationAwareRepository,
    OrganizationAwareRepository,
    awaitable,
)


def visible_messages(viewer: str) -> Select[Message]:
    """Select the messages of the conversations where a person takes part now."""
    return (
        select(Message)
        .where(present(viewer, Message.conversation_id.expression))
        .execution_options(**FRESH)
    )


class MessageRepository(OrganizationAwareRepository[Message]):
    """The messages of the current organization's conversations."""

    def send(
        self,
        conversation_id: UUID,
        sender_id: str,
        *,
        content: str | None = None,
        media_url: str | None = None,
        client_key: str | None = None,
    ) -> Message:
        """Say something in a conversation, and return the message.

        It counts as unread for everybody else, and moves nobody's position.

        Args:
            conversation_id: Where.
            sender_id: Who says it.
            content: 1 to 10,000 characters, or None.
            media_url: An http or https URL, or None.
            client_key: Chosen by the sender's client, 1 to 100 characters. Sending with
                the same key again returns the first message and changes nothing.

        Raises:
            NotFound: If the sender does not take part.
            Invalid: If there is neither content nor media, or a value breaks a rule.
        """
        message = new_message(conversation_id, sender_id, content, media_url, client_key)
        if message.client_key is not None:
            self._lock(conversation_id, sender_id)
        session = self.session
        sent: Message | None = session.scalar(send_statement(message), execution_options=WRITES)
        if sent is None:
            return self._sent_before(message)
        remember(
            session,
            Conversation,
            conversation_id,
            last_sequence=sent.sequence,
            last_message_at=sent.created_at,
            updated_at=sent.created_at,
        )
        return sent

    def get_visible(self, message_id: UUID, user_id: str) -> Message:
        """Return a message, or its tombstone, of a conversation where a person takes part.

        Raises:
            NotFound: If there is none, or they do not take part now.
        """
        message = self.session.scalar(visible_messages(user_id).where(Message.id == message_id))
        if message is None:
            raise NotFound("no such message")
        return message

    def list_before(
        self,
        conversation_id: UUID,
        user_id: str,
        page: PageRequest = FIRST_PAGE,
        *,
        before: int | None = None,
    ) -> Page[Message]:
        """Return a page of what was said before a number, newest first, with tombstones.

        Args:
            conversation_id: Which conversation.
            user_id: Who reads it.
            page: Which page.
            before: The `sequence` that all of them are below, or None for the newest.

        Raises:
            NotFound: If the person does not take part.
            InvalidCursor: If the cursor is not one of this list.
        """
        statement = self._said_in(conversation_id, user_id)
        if before is not None:
            statement = statement.where(Message.sequence < inputs.position(before))
        return self.select_page(
            statement, (Message.sequence,), page, order="messages before", descending=True
        )

    def list_after(
        self,
        conversation_id: UUID,
        user_id: str,
        page: PageRequest = FIRST_PAGE,
        *,
        after: int = 0,
    ) -> Page[Message]:
        """Return a page of what was said after a number, oldest first, with tombstones.

        Args:
            conversation_id: Which conversation.
            user_id: Who reads it.
            page: Which page.
            after: The `sequence` that all of them are above.

        Raises:
            NotFound: If the person does not take part.
            InvalidCursor: If the cursor is not one of this list.
        """
        statement = self._said_in(conversation_id, user_id)
        statement = statement.where(Message.sequence > inputs.position(after))
        return self.select_page(statement, (Message.sequence,), page, order="messages after")

    def last_messages(self, conversation_ids: Iterable[UUID]) -> Mapping[UUID, Message]:
        """Return the last message, or its tombstone, of each of some conversations.

        In one query, for lists: the caller has checked that they are visible.
        """
        wanted = tuple(dict.fromkeys(conversation_ids))
        if not wanted:
            return {}
        last = and_(
            Message.conversation_id == Conversation.id,
            Message.sequence == Conversation.last_sequence,
        )
        statement = select(Message).join(Conversation, last).where(Conversation.id.in_(wanted))
        rows = self.session.scalars(statement, execution_options=FRESH)
        return {row.conversation_id: row for row in rows}

    def edit(self, message_id: UUID, user_id: str, content: str) -> Message:
        """Change the text of one's own message within the time to edit, and return it.

        Raises:
            NotFound: If the person does not take part.
            Forbidden: If it is somebody else's, or the time is over.
            Conflict: If it was deleted.
            Invalid: If a value breaks a rule.
        """
        window = self.session.module_settings(CommunitySettings).message_edit_window
        statement = edit_statement(message_id, inputs.user_id(user_id), content, window)
        message: Message | None = self.session.scalar(statement, execution_options=WRITES)
        if message is None:
            found = self.get_visible(message_id, user_id)
            if found.sender_id != user_id:
                raise Forbidden("only its sender can edit a message")
            if found.deleted_at is not None:
                raise Conflict("the message was deleted")
            raise Forbidden("the time to edit is over")
        return message

    def soft_delete(self, message_id: UUID, user_id: str, *, moderating: bool = False) -> bool:
        """Leave a tombstone of a message: its content and its flags are gone.

        Args:
            message_id: Which message.
            user_id: Who deletes it: its sender.
            moderating: Whether they moderate the whole organization, and need neither be
                the sender nor take part.

        Returns:
            Whether it was there: False if it was a tombstone already.

        Raises:
            NotFound: If there is no such message, or the person does not take part.
            Forbidden: If it is somebody else's.
            Invalid: If the user id breaks a rule.
        """
        statement = delete_statement(message_id, inputs.user_id(user_id), moderating=moderating)
        if self.session.scalar(statement, execution_options=WRITES) is not None:
            return True
        if moderating:
            self._existing(message_id)
        elif self.get_visible(message_id, user_id).sender_id != user_id:
            raise Forbidden("only its sender or a moderator can delete a message")
        return False

    def flag(self, message_id: UUID, user_id: str, reason: str | None = None) -> bool:
        """Report somebody else's message to the moderators.

        Returns:
            Whether it is new: False if the person has an open flag on it.

        Raises:
            NotFound: If the person does not take part.
            Forbidden: If it is one's own.
            Conflict: If it was deleted.
            Invalid: If a value breaks a rule.
        """
        statement = flag_statement(
            message_id,
            inputs.user_id(user_id),
            inputs.optional_text("reason", reason, MAX_REASON_LENGTH),
        )
        if self.session.scalar(statement, execution_options=WRITES) is not None:
            return True
        found = self.get_visible(message_id, user_id)
        if found.sender_id == user_id:
            raise Forbidden("nobody can flag their own message")
        if found.deleted_at is not None:
            raise Conflict("the message was deleted")
        return False

    def find_flagged(self, page: PageRequest = FIRST_PAGE) -> Page[Message]:
        """Return a page of the messages with open flags, oldest first, for moderators.

        Raises:
            InvalidCursor: If the cursor is not one of this list.
        """
        return self.select_page(flagged(), (Message.id,), page, order="flagged")

    def resolve_flags(self, message_id: UUID, *, remove: bool) -> Message:
        """Close the flags of a message, and return it, or its tombstone; for moderators.

        Args:
            message_id: Which message.
            remove: Whether only a tombstone shall be left of it.

        Raises:
            NotFound: If there is no such message.
            Conflict: If it has no open flags.
        """
        statement = resolve_statement(message_id, remove=remove)
        message: Message | None = self.session.scalar(statement, execution_options=WRITES)
        if message is None:
            self._existing(message_id)
            raise Conflict("the message has no open flags")
        return message

    def _lock(self, conversation_id: UUID, user_id: str) -> None:
        # A statement of its own: the next one's snapshot is taken under the lock, and
        # holds the message that another transaction sent with the same key.
        locked = self.session.scalar(
            select(Conversation.id)
            .where(Conversation.id == conversation_id, present(user_id, Conversation.id.expression))
            .with_for_update(key_share=True)
        )
        if locked is None:
            raise NotFound("no such conversation")

    def _sent_before(self, message: Message) -> Message:
        found = None
        if message.client_key is not None:
            found = self.session.scalar(sent_before(message))
        if found is None:
            raise NotFound("no such conversation")
        return found

    def _said_in(self, conversation_id: UUID, viewer: str) -> Select[Message]:
        ConversationRepository(self.session).get_visible(conversation_id, viewer)
        return (
            select(Message)
            .where(Message.conversation_id == conversation_id)
            .execution_options(**FRESH)
        )

    def _existing(self, message_id: UUID) -> Message:
        message = self.session.get(Message, message_id, populate_existing=True)
        if message is None:
            raise NotFound("no such message")
        return message


class AsyncMessageRepository(AsyncOrganizationAwareRepository[Message], sync=MessageRepository):
    """The async twin of `MessageRepository`."""

    send = awaitable(MessageRepository.send)
    get_visible = awaitable(MessageRepository.get_visible)
    list_before = awaitable(MessageRepository.list_before)
    list_after = awaitable(MessageRepository.list_after)
    last_messages = awaitable(MessageRepository.last_messages)
    edit = awaitable(MessageRepository.edit)
    soft_delete = awaitable(MessageRepository.soft_delete)
    flag = awaitable(MessageRepository.flag)
    find_flagged = awaitable(MessageRepository.find_flagged)
    resolve_flags = awaitable(MessageRepository.resolve_flags)
