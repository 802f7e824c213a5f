"""Messages: numbered without gaps, said once, changed by those who may."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from orgtenancy import Organization, Tenancy, embedded
from orgtenancy.community import CommunitySettings, Conversation, Message, community
from orgtenancy.community.conversations import ConversationRepository
from orgtenancy.community.messages import MessageRepository
from orgtenancy.community.participants import ParticipantRepository
from orgtenancy.errors import Conflict, Forbidden, Invalid, InvalidCursor, NotFound
from orgtenancy.pagination import PageRequest
from tests.community.seeds import add_person
from tests.community.talks import (
    add_people,
    all_pages,
    circle,
    direct,
    number_of_statements,
    say,
)
from tests.support.notes import notes
from tests.support.runner import Runner

UNSTORABLE = ["a\0b", "\ud800"]
URL = "https://example.org/cat.png"


def stored(session: Session, message_id: UUID) -> Message:
    return session.get_one(Message, message_id, populate_existing=True)


def age(session: Session, message_id: UUID, by: timedelta) -> None:
    session.execute(
        update(Message)
        .where(Message.id == message_id)
        .values(created_at=Message.created_at - by)
        .execution_options(synchronize_session=False)
    )


def test_a_message_is_complete_after_the_commit(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> tuple[Conversation, Message, Message]:
        messages, pair = MessageRepository(session), direct(session)
        held = ConversationRepository(session).get_visible(pair, "ada")
        first = messages.send(pair, "ada", content=" Hi ")
        assert held.last_sequence == 1
        second = messages.send(pair, "bob", content="Ho", media_url=URL, client_key="k")
        return held, first, second

    conversation, first, second = run(organization, body)
    assert (first.sequence, first.type, first.content, first.media_url) == (1, "text", "Hi", None)
    assert (second.sequence, second.type, second.media_url) == (2, "text", URL)
    assert (second.sender_id, second.client_key, second.flags) == ("bob", "k", [])
    assert (first.edited_at, first.deleted_at) == (None, None)
    assert first.created_at == first.updated_at < second.created_at
    assert conversation.last_sequence == 2
    assert conversation.last_message_at == second.created_at
    assert conversation.updated_at >= second.created_at

    def reread(session: Session) -> Conversation:
        return session.get_one(Conversation, conversation.id)

    again = run(organization, reread)
    assert (again.last_sequence, again.last_message_at, again.updated_at) == (
        conversation.last_sequence,
        conversation.last_message_at,
        conversation.updated_at,
    )


def test_media_alone_are_a_message(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        messages, pair = MessageRepository(session), direct(session)
        message = messages.send(pair, "ada", content="  ", media_url=URL)
        assert (message.type, message.content, message.media_url) == ("media", None, URL)
        edited = messages.edit(message.id, "ada", "A cat")
        assert edited is message
        assert (edited.type, edited.content, edited.media_url) == ("text", "A cat", URL)

    run(organization, body)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"content": " "},
        {"content": "x" * 10_001},
        {"content": "\0"},
        {"media_url": "javascript:x"},
        {"media_url": ""},
        {"content": "Hi", "client_key": ""},
        {"content": "Hi", "client_key": "x" * 101},
        {"content": "Hi", "client_key": "\ud800"},
        {"content": "Hi", "sender_id": ""},
    ],
)
def test_bad_input_is_refused(
    run: Runner, organization: Organization, values: dict[str, Any]
) -> None:
    def body(session: Session) -> None:
        pair = direct(session)
        with pytest.raises(Invalid):
            MessageRepository(session).send(pair, **{"sender_id": "ada", **values})
        assert session.get_one(Conversation, pair).last_sequence == 0

    run(organization, body)


def test_strangers_neither_read_nor_write(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        messages, group = MessageRepository(session), circle(session)
        message_id = say(session, group, "cy")
        ParticipantRepository(session).leave(group, "cy")
        for conversation_id, stranger in ((group, "cy"), (group, "dan"), (uuid4(), "ada")):
            acts: list[Any] = [messages.list_before, messages.list_after]
            acts += [lambda c, s: messages.send(c, s, content="Hi")]
            acts += [lambda c, s: messages.send(c, s, content="Hi", client_key="k")]
            for act in acts:
                with pytest.raises(NotFound, match="no such conversation"):
                    act(conversation_id, stranger)
        for key, stranger in ((message_id, "cy"), (message_id, "dan"), (uuid4(), "ada")):
            acts = [messages.get_visible, messages.soft_delete, messages.flag]
            acts += [lambda m, s: messages.edit(m, s, "Hi")]
            for act in acts:
                with pytest.raises(NotFound, match="no such message"):
                    act(key, stranger)
        for text in UNSTORABLE:
            for read in (messages.list_before, messages.list_after):
                with pytest.raises(NotFound):
                    read(group, text)
            with pytest.raises(NotFound):
                messages.get_visible(message_id, text)
            for act in acts[1:]:
                with pytest.raises(Invalid):
                    act(message_id, text)
        assert stored(session, message_id).content == "Hi"
        assert session.get_one(Conversation, group, populate_existing=True).last_sequence == 1

    run(organization, body)


def test_the_same_key_says_it_once(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        messages, group = MessageRepository(session), circle(session)
        first = messages.send(group, "ada", content="Hi", client_key="k")
        say(session, group, "bob")
        held = session.get_one(Conversation, group)
        before = (held.last_sequence, held.last_message_at, held.updated_at)
        assert messages.send(group, "ada", content="Other", client_key=" k ") is first
        session.refresh(held)
        assert (held.last_sequence, held.last_message_at, held.updated_at) == before
        assert first.content == "Hi"
        # Keys are the sender's own, in each conversation.
        assert messages.send(group, "bob", content="Hi", client_key="k").sequence == 3
        other = ConversationRepository(session).create(creator_id="ada", participant_ids=["bob"]).id
        assert messages.send(other, "ada", content="Hi", client_key="k").sequence == 1
        messages.soft_delete(first.id, "ada")
        assert messages.send(group, "ada", content="Hi", client_key="k") is first
        assert first.content is None

    run(organization, body)


def test_what_is_rolled_back_leaves_no_gap(run: Runner, organization: Organization) -> None:
    def attempt(session: Session, pair: UUID) -> None:
        say(session, pair)
        savepoint = session.begin_nested()
        say(session, pair)
        savepoint.rollback()
        assert MessageRepository(session).send(pair, "bob", content="Ho").sequence == 2
        raise RuntimeError

    pair = run(organization, direct)
    with pytest.raises(RuntimeError):
        run(organization, attempt, pair)
    run(organization, say, pair)

    def numbers(session: Session) -> list[int]:
        return [m.sequence for m in MessageRepository(session).list_after(pair, "bob").items]

    assert run(organization, numbers) == [1]


def test_sending_moves_nobodys_position(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        pair = direct(session)
        say(session, pair)
        places = ParticipantRepository(session).find_present(pair, "ada").items
        assert [row.last_read_sequence for row in places] == [0, 0]

    run(organization, body)


def test_messages_are_read_in_both_directions(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        messages, pair = MessageRepository(session), direct(session)
        keys = [say(session, pair, "ada", f"m{n}") for n in range(1, 8)]
        messages.soft_delete(keys[3], "ada")

        def before(limit: int, number: int | None = None) -> list[int]:
            return [
                m.sequence
                for m in all_pages(
                    lambda page: messages.list_before(pair, "bob", page, before=number), limit
                )
            ]

        def after(limit: int, number: int = 0) -> list[int]:
            return [
                m.sequence
                for m in all_pages(
                    lambda page: messages.list_after(pair, "bob", page, after=number), limit
                )
            ]

        assert before(3) == [7, 6, 5, 4, 3, 2, 1]
        assert before(2, 5) == [4, 3, 2, 1]
        assert before(2, 1) == before(2, -(2**70)) == after(2, 7) == after(2, 2**70) == []
        assert before(100, 2**70) == [7, 6, 5, 4, 3, 2, 1]
        assert after(3) == after(3, -5) == [1, 2, 3, 4, 5, 6, 7]
        assert after(2, 4) == [5, 6, 7]
        tombstone = messages.list_after(pair, "bob", after=3).items[0]
        assert (tombstone.id, tombstone.content) == (keys[3], None)
        cursor = messages.list_after(pair, "bob", PageRequest(limit=2)).next_cursor
        with pytest.raises(InvalidCursor):
            messages.list_before(pair, "bob", PageRequest(cursor=cursor))

    run(organization, body)


@pytest.mark.slow
def test_pages_give_every_message_once_in_order(run: Runner, organization: Organization) -> None:
    def write(session: Session, number: int) -> UUID:
        pair = direct(session, uuid4().hex, "reader" + uuid4().hex)
        sender = ParticipantRepository(session).present_in([pair])[pair][0].user_id
        for _ in range(number):
            say(session, pair, sender)
        return pair

    def read(session: Session, pair: UUID, plan: list[tuple[int, int]]) -> None:
        messages = MessageRepository(session)
        person = ParticipantRepository(session).present_in([pair])[pair][0].user_id
        start = session.get_one(Conversation, pair).last_sequence
        older, newer = [], []
        up: str | None = None
        down: str | None = None
        more_up = more_down = True
        for limit, sent in plan + [(100, 0)] * 5:
            if more_down:
                request = PageRequest(limit=limit, cursor=down)
                page = messages.list_before(pair, person, request)
                older += [m.sequence for m in page.items]
                down, more_down = page.next_cursor, page.next_cursor is not None
            if more_up:
                request = PageRequest(limit=limit, cursor=up)
                page = messages.list_after(pair, person, request)
                newer += [m.sequence for m in page.items]
                up, more_up = page.next_cursor, page.next_cursor is not None
            for _ in range(sent):
                say(session, pair, person)
        last = session.get_one(Conversation, pair, populate_existing=True).last_sequence
        assert older == list(range(start, 0, -1))
        assert newer == list(range(1, len(newer) + 1))
        assert start <= len(newer) <= last
        rest = messages.list_after(pair, person, PageRequest(limit=100), after=len(newer))
        assert newer + [m.sequence for m in rest.items] == list(range(1, last + 1))

    plans = st.lists(st.tuples(st.integers(1, 7), st.integers(0, 3)), max_size=12)

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 25), plans)
    def check(number: int, plan: list[tuple[int, int]]) -> None:
        run(organization, read, run(organization, write, number), plan)

    check()


def test_lists_of_conversations_get_their_last_messages(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        messages = MessageRepository(session)
        first, second, empty = circle(session), direct(session, "d", "e"), direct(session, "f", "g")
        say(session, first, "ada")
        last = say(session, first, "bob")
        buried = say(session, second, "d")
        messages.soft_delete(buried, "d")
        found = messages.last_messages(iter([first, second, empty, uuid4(), first]))
        assert {key: row.id for key, row in found.items()} == {first: last, second: buried}
        assert messages.last_messages([]) == {}

    run(organization, body)


def test_senders_change_their_messages_for_a_while(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        messages, group = MessageRepository(session), circle(session)
        message = messages.send(group, "ada", content="Hi")
        assert messages.edit(message.id, "ada", " Ho ") is message
        assert message.content == "Ho"
        assert message.edited_at is not None
        assert message.updated_at >= message.edited_at > message.created_at
        with pytest.raises(Forbidden, match="sender"):
            messages.edit(message.id, "bob", "Mine")
        for text in ("", "x" * 10_001, "\0"):
            with pytest.raises(Invalid):
                messages.edit(message.id, "ada", text)
        window = CommunitySettings().message_edit_window
        age(session, message.id, window - timedelta(seconds=30))
        assert messages.edit(message.id, "ada", "Late").content == "Late"
        age(session, message.id, timedelta(seconds=31))
        with pytest.raises(Forbidden, match="time to edit is over"):
            messages.edit(message.id, "ada", "Too late")
        deleted = say(session, group)
        messages.soft_delete(deleted, "ada")
        with pytest.raises(Conflict, match="deleted"):
            messages.edit(deleted, "ada", "Back")
        assert stored(session, deleted).content is None

    run(organization, body)


def test_a_host_sets_the_time_to_edit(
    server: embedded.EmbeddedServer, organization: Organization
) -> None:
    module = community.with_settings(CommunitySettings(message_edit_window=timedelta(0)))
    tenancy = Tenancy(server.url, admin_url=server.admin_url, modules=[module, notes])
    with closing(tenancy), tenancy.session(organization) as session:
        message_id = say(session, direct(session))
        with pytest.raises(Forbidden, match="time to edit is over"):
            MessageRepository(session).edit(message_id, "ada", "Ho")


def test_a_deleted_message_is_a_tombstone(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        messages, group = MessageRepository(session), circle(session)
        message = messages.send(group, "ada", content="Hi", media_url=URL)
        messages.flag(message.id, "bob")
        with pytest.raises(Forbidden, match="sender or a moderator"):
            messages.soft_delete(message.id, "bob")
        assert messages.soft_delete(message.id, "ada") is True
        assert (message.content, message.media_url, message.flags) == (None, None, [])
        deleted_at = message.deleted_at
        assert deleted_at is not None
        assert messages.soft_delete(message.id, "ada") is False
        assert messages.soft_delete(message.id, "boss", moderating=True) is False
        assert message.deleted_at == deleted_at
        assert messages.get_visible(message.id, "bob") is message

    run(organization, body)


def test_moderators_delete_without_taking_part(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        messages, pair = MessageRepository(session), direct(session)
        message_id = say(session, pair)
        assert messages.soft_delete(message_id, "boss", moderating=True) is True
        assert stored(session, message_id).content is None
        for key, actor, moderating in (
            (uuid4(), "boss", True),
            (uuid4(), "ada", False),
            (message_id, "boss", False),
        ):
            with pytest.raises(NotFound):
                messages.soft_delete(key, actor, moderating=moderating)

    run(organization, body)


def test_one_open_flag_for_each_person(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        messages, group = MessageRepository(session), circle(session)
        message = messages.send(group, "ada", content="Hi")
        updated_at = message.updated_at
        assert messages.flag(message.id, "bob", " rude ") is True
        assert messages.flag(message.id, "bob", "again") is False
        assert messages.flag(message.id, "cy", None) is True
        assert [(f["user_id"], f["reason"]) for f in message.flags] == [
            ("bob", "rude"),
            ("cy", None),
        ]
        assert all(datetime.fromisoformat(f["created_at"]).tzinfo for f in message.flags)
        assert message.updated_at == updated_at
        with pytest.raises(Forbidden, match="own"):
            messages.flag(message.id, "ada")
        for reason in ("x" * 501, "\0"):
            with pytest.raises(Invalid):
                messages.flag(message.id, "bob", reason)
        messages.resolve_flags(message.id, remove=False)
        assert messages.flag(message.id, "bob") is True
        messages.soft_delete(message.id, "ada")
        with pytest.raises(Conflict, match="deleted"):
            messages.flag(message.id, "bob")

    run(organization, body)


def test_moderators_see_and_resolve_what_was_flagged(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        messages, group = MessageRepository(session), circle(session)
        keys = [say(session, group) for _ in range(8)]
        for key in keys[:7]:
            messages.flag(key, "bob")
        messages.flag(keys[0], "cy")
        messages.soft_delete(keys[6], "ada")
        assert [m.id for m in all_pages(messages.find_flagged, 2)] == keys[:6]

        kept = messages.resolve_flags(keys[0], remove=False)
        assert (kept.flags, kept.content, kept.deleted_at) == ([], "Hi", None)
        removed = messages.resolve_flags(keys[1], remove=True)
        assert (removed.flags, removed.content) == ([], None)
        assert removed.deleted_at is not None
        assert [m.id for m in messages.find_flagged().items] == keys[2:6]
        for key in (keys[0], keys[1], keys[6], keys[7]):
            with pytest.raises(Conflict, match="no open flags"):
                messages.resolve_flags(key, remove=True)
        assert stored(session, keys[7]).content == "Hi"
        with pytest.raises(NotFound):
            messages.resolve_flags(uuid4(), remove=True)

    run(organization, body)


def test_somebody_deactivated_is_still_read(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        messages = MessageRepository(session)
        add_person(session, "ada")
        add_person(session, "bob")
        pair = ConversationRepository(session).open_direct("ada", "bob").id
        said = say(session, pair, "bob")
        add_people(session, "cy")
        assert [m.id for m in messages.list_before(pair, "ada").items] == [said]
        assert session.scalar(select(func.count()).select_from(Message)) == 1

    run(organization, body)


def test_how_many_statements_it_takes(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        messages, group = MessageRepository(session), circle(session)
        keys = [say(session, group) for _ in range(40)]
        acts: list[tuple[int, Callable[[], object]]] = [
            (1, lambda: messages.send(group, "ada", content="Hi")),
            (2, lambda: messages.send(group, "ada", content="Hi", client_key="k")),
            (3, lambda: messages.send(group, "ada", content="Hi", client_key="k")),
            (1, lambda: messages.get_visible(keys[0], "bob")),
            (2, lambda: messages.list_before(group, "bob", PageRequest(limit=1))),
            (2, lambda: messages.list_before(group, "bob", PageRequest(limit=20))),
            (2, lambda: messages.list_after(group, "bob", PageRequest(limit=20))),
            (1, lambda: messages.edit(keys[0], "ada", "Ho")),
            (1, lambda: messages.flag(keys[0], "bob")),
            (2, lambda: messages.flag(keys[0], "bob")),
            (1, messages.find_flagged),
            (1, lambda: messages.resolve_flags(keys[0], remove=False)),
            (1, lambda: messages.soft_delete(keys[0], "ada")),
            (2, lambda: messages.soft_delete(keys[0], "ada")),
        ]
        for expected, act in acts:
            assert number_of_statements(session, act) == expected

    run(organization, body)
