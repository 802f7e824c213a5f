"""Conversations: one for each pair, seen by those who take part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from orgtenancy import Organization
from orgtenancy.community import Conversation, ConversationParticipant, Message, UserProfile
from orgtenancy.community.conversations import ConversationRepository, direct_key
from orgtenancy.community.messages import MessageRepository
from orgtenancy.community.participants import ParticipantRepository
from orgtenancy.errors import Conflict, Invalid, InvalidCursor, NotFound
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
from tests.support.runner import Runner

UNSTORABLE = ["a\0b", "\ud800"]


def present_ids(session: Session, conversation_id: UUID) -> list[str]:
    found = select(ConversationParticipant.user_id).where(
        ConversationParticipant.conversation_id == conversation_id,
        ConversationParticipant.left_at.is_(None),
    )
    return sorted(session.scalars(found))


def test_two_people_have_one_conversation_whoever_opens_it(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> Conversation:
        add_people(session, "ada", "bob", "cy")
        conversations = ConversationRepository(session)
        opened = conversations.open_direct("ada", "bob")
        assert conversations.open_direct("ada", "bob") is opened
        assert conversations.open_direct("bob", "ada") is opened
        assert conversations.open_direct("ada", "cy").id != opened.id
        assert present_ids(session, opened.id) == ["ada", "bob"]
        assert session.scalar(select(func.count()).select_from(Conversation)) == 2
        return opened

    opened = run(organization, body)
    assert (opened.type, opened.name, opened.created_by) == ("direct", None, "ada")
    assert (opened.last_sequence, opened.last_message_at) == (0, None)


def test_only_people_with_an_active_profile_can_be_written_to(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        conversations = ConversationRepository(session)
        opened = direct(session, "ada", "bob")
        session.get_one(UserProfile, "bob").status = "deactivated"
        add_person(session, "gone", "anonymized")
        session.flush()
        for nobody in ("ghost", "gone"):
            with pytest.raises(NotFound, match="no such person"):
                conversations.open_direct("ada", nobody)
        for invited in (["ghost"], ["bob"], ["ada", "gone"]):
            with pytest.raises(NotFound, match="no such person"):
                conversations.create(creator_id="cy", participant_ids=invited)
        with pytest.raises(NotFound):
            conversations.open_direct("cy", "bob")
        assert conversations.open_direct("ada", "bob").id == opened
        assert session.scalar(select(func.count()).select_from(Conversation)) == 1

    run(organization, body)


@pytest.mark.parametrize(
    ("one", "other"), [("ada", "ada"), ("", "ada"), ("ada", "x" * 256), ("ada", "\0")]
)
def test_a_pair_is_two_people_with_ids(
    run: Runner, organization: Organization, one: str, other: str
) -> None:
    def body(session: Session) -> None:
        add_people(session, "ada")
        with pytest.raises(Invalid):
            ConversationRepository(session).open_direct(one, other)

    run(organization, body)


ids = st.text(st.sampled_from('ab:1",[]\\'), min_size=1, max_size=5)


@example(("a", "a:a:a"), ("a:a", "a:a"))
@given(st.tuples(ids, ids), st.tuples(ids, ids))
def test_a_pair_has_a_name_of_its_own(one: tuple[str, str], other: tuple[str, str]) -> None:
    same = sorted(one) == sorted(other)
    assert (direct_key(*one) == direct_key(*other)) is same
    assert direct_key(*one) == direct_key(*reversed(one))


def test_the_longest_ids_fit_into_the_index(run: Runner, organization: Organization) -> None:
    first = "".join(chr(0x10000 + 7919 * n % 0x20000) for n in range(255))
    second = "".join(chr(0x30000 + 7919 * n % 0x10000) for n in range(255))

    def body(session: Session) -> None:
        session.add_all(
            UserProfile(user_id=user_id, username=name)
            for user_id, name in ((first, "first"), (second, "second"))
        )
        session.flush()
        conversation = ConversationRepository(session).open_direct(first, second)
        assert present_ids(session, conversation.id) == sorted([first, second])

    run(organization, body)


def test_a_group_conversation_begins_with_its_people(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> Conversation:
        add_people(session, "bob", "cy")
        return ConversationRepository(session).create(
            creator_id="ada", name=" Team ", participant_ids=["bob", "cy", "bob", "ada"]
        )

    created = run(organization, body)
    assert (created.type, created.name, created.direct_key) == ("group", "Team", None)
    assert created.created_by == "ada"
    assert created.created_at == created.updated_at
    assert run(organization, present_ids, created.id) == ["ada", "bob", "cy"]


@pytest.mark.parametrize(
    "values",
    [
        {"participant_ids": []},
        {"participant_ids": ["ada"]},
        {"participant_ids": [f"p{n}" for n in range(100)]},
        {"participant_ids": "bob"},
        {"participant_ids": ["bob", ""]},
        {"participant_ids": ["bob\0"]},
        {"creator_id": ""},
        {"name": "x" * 121},
        {"name": "\0"},
    ],
)
def test_bad_input_is_refused(
    run: Runner, organization: Organization, values: dict[str, Any]
) -> None:
    def body(session: Session) -> None:
        add_people(session, "bob", *(f"p{n}" for n in range(100)))
        arguments: dict[str, Any] = {"creator_id": "ada", "participant_ids": ["bob"], **values}
        with pytest.raises(Invalid):
            ConversationRepository(session).create(**arguments)
        assert session.scalar(select(func.count()).select_from(Conversation)) == 0

    run(organization, body)


def test_a_hundred_people_take_part_at_the_most(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> int:
        others = [f"p{n}" for n in range(99)]
        return len(present_ids(session, circle(session, "ada", *others)))

    assert run(organization, body) == 100


def test_strangers_know_of_no_conversation(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        conversations, participants = (
            ConversationRepository(session),
            ParticipantRepository(session),
        )
        group = circle(session)
        pair = direct(session, "dan", "eve")
        participants.leave(group, "cy")
        assert conversations.get_visible(group, "bob").id == group
        strangers = [(group, "cy"), (group, "dan"), (pair, "ada"), (uuid4(), "ada")]
        strangers += [(group, text) for text in UNSTORABLE]
        for conversation_id, stranger in strangers:
            with pytest.raises(NotFound, match="no such conversation"):
                conversations.get_visible(conversation_id, stranger)
        for conversation_id, stranger in strangers[:4]:
            with pytest.raises(NotFound, match="no such conversation"):
                conversations.rename(conversation_id, stranger, "Mine")
        for stranger in ("cy", "zoe", *UNSTORABLE):
            assert conversations.find_for(stranger).items == ()

    run(organization, body)


def test_conversations_are_listed_the_most_recently_active_first(
    run: Runner, organization: Organization
) -> None:
    def start(session: Session) -> list[UUID]:
        add_people(session, "ada", *(f"p{n}" for n in range(7)))
        conversations = ConversationRepository(session)
        # One transaction: they share an `updated_at`.
        return [conversations.open_direct("ada", f"p{n}").id for n in range(7)]

    def listed(session: Session) -> list[UUID]:
        conversations = ConversationRepository(session)
        return [c.id for c in all_pages(lambda page: conversations.find_for("ada", page), 3)]

    first, *others = run(organization, start)
    assert run(organization, listed) == [*reversed(others), first]
    run(organization, say, others[2])
    run(organization, say, first, "p0")
    rest = [key for key in reversed(others) if key != others[2]]
    assert run(organization, listed) == [first, others[2], *rest]


def test_a_cursor_of_another_list_is_refused(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        group = circle(session)
        page = ParticipantRepository(session).find_present(group, "ada", PageRequest(limit=1))
        with pytest.raises(InvalidCursor):
            ConversationRepository(session).find_for("ada", PageRequest(cursor=page.next_cursor))

    run(organization, body)


def test_whoever_takes_part_names_a_group_conversation(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        conversations, group = ConversationRepository(session), circle(session)
        held = conversations.get_visible(group, "ada")
        before = held.updated_at
        assert conversations.rename(group, "bob", " Crew ") is held
        assert held.name == "Crew"
        assert held.updated_at > before
        assert conversations.rename(group, "ada", None).name is None
        with pytest.raises(Invalid):
            conversations.rename(group, "ada", "x" * 121)
        with pytest.raises(Conflict, match="direct"):
            conversations.rename(direct(session, "dan", "eve"), "dan", "Us")

    run(organization, body)


def test_what_is_read_replaces_what_the_session_held(
    run: Runner, organization: Organization
) -> None:
    def past_the_session(session: Session, table: Any, **values: Any) -> None:
        session.execute(update(table.__table__).values(values))

    def body(session: Session) -> None:
        conversations, messages = ConversationRepository(session), MessageRepository(session)
        participants, group = ParticipantRepository(session), circle(session)
        message = messages.get_visible(say(session, group), "ada")
        held = conversations.get_visible(group, "ada")
        place = participants.positions("ada", [group])[group]
        readers: list[tuple[Any, str, Any, Callable[[], object]]] = [
            (Conversation, "name", held, lambda: conversations.get_visible(group, "ada")),
            (Conversation, "name", held, lambda: conversations.find_for("ada")),
            (Message, "content", message, lambda: messages.get_visible(message.id, "ada")),
            (Message, "content", message, lambda: messages.list_before(group, "ada")),
            (Message, "content", message, lambda: messages.list_after(group, "ada")),
            (Message, "content", message, lambda: messages.last_messages([group])),
        ]
        for number, (table, column, row, read) in enumerate(readers):
            past_the_session(session, table, **{column: f"{number}"})
            read()
            assert getattr(row, column) == f"{number}"
        lists: list[Callable[[], object]] = [
            lambda: participants.positions("ada", [group]),
            lambda: participants.present_in([group]),
            lambda: participants.find_present(group, "ada"),
            lambda: participants.invite(group, "ada", ["bob"]),
        ]
        for number, read in enumerate(lists, start=10):
            past_the_session(session, ConversationParticipant, last_read_sequence=number)
            read()
            assert place.last_read_sequence == number

    run(organization, body)


def test_the_number_of_statements_does_not_grow_with_the_list(
    run: Runner, organization: Organization
) -> None:
    def lists(session: Session, user_id: str) -> list[int]:
        conversations, participants = (
            ConversationRepository(session),
            ParticipantRepository(session),
        )
        keys = [c.id for c in conversations.find_for(user_id).items]
        return [
            number_of_statements(session, lambda: conversations.find_for(user_id)),
            number_of_statements(session, lambda: participants.present_in(keys)),
            number_of_statements(session, lambda: participants.positions(user_id, keys)),
            number_of_statements(session, lambda: participants.unread_counts(user_id)),
            number_of_statements(session, lambda: MessageRepository(session).last_messages(keys)),
        ]

    def body(session: Session) -> None:
        add_people(session, "ada", "bob", *(f"p{n}" for n in range(20)))
        conversations = ConversationRepository(session)
        say(session, conversations.open_direct("bob", "p0").id, "p0")
        for n in range(20):
            say(session, conversations.open_direct("ada", f"p{n}").id, f"p{n}")
        assert lists(session, "bob") == lists(session, "ada") == [1] * 5

    run(organization, body)


def test_how_many_statements_a_change_takes(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        add_people(session, "ada", "bob", "cy")
        conversations = ConversationRepository(session)
        people = ["bob", "cy"]
        group = conversations.create(creator_id="ada", participant_ids=people).id
        acts: list[tuple[int, Callable[[], object]]] = [
            (4, lambda: conversations.open_direct("ada", "bob")),
            (1, lambda: conversations.open_direct("bob", "ada")),
            (3, lambda: conversations.create(creator_id="ada", participant_ids=people)),
            (1, lambda: conversations.get_visible(group, "ada")),
            (1, lambda: conversations.rename(group, "ada", "Crew")),
        ]
        for expected, act in acts:
            assert number_of_statements(session, act) == expected

    run(organization, body)
