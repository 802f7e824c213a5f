"""Participants: who is there, what they have read, and what they hear of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from orgtenancy import Organization
from orgtenancy.community import ConversationParticipant, UserProfile
from orgtenancy.community.conversations import ConversationRepository
from orgtenancy.community.messages import MessageRepository
from orgtenancy.community.participants import WITHOUT_END, ParticipantRepository
from orgtenancy.community.places import MAX_LISTED_PARTICIPANTS
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


def place(session: Session, conversation_id: UUID, user_id: str) -> ConversationParticipant:
    return session.get_one(
        ConversationParticipant, (conversation_id, user_id), populate_existing=True
    )


def test_those_who_take_part_are_listed_by_id(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        participants = ParticipantRepository(session)
        group = circle(session, "ada", *(f"p{n}" for n in range(7)))
        participants.leave(group, "p3")
        found = all_pages(lambda page: participants.find_present(group, "ada", page))
        assert [row.user_id for row in found] == ["ada", "p0", "p1", "p2", "p4", "p5", "p6"]
        page = ConversationRepository(session).find_for("ada", PageRequest(limit=1))
        assert page.next_cursor is None
        with pytest.raises(InvalidCursor):
            participants.find_present(group, "ada", PageRequest(cursor="bm9uZQ"))

    run(organization, body)


def test_strangers_find_and_change_nothing(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        participants = ParticipantRepository(session)
        group = circle(session)
        add_people(session, "dan", "eve")
        participants.leave(group, "cy")
        for conversation_id, stranger in ((group, "cy"), (group, "dan"), (uuid4(), "ada")):
            acts: list[Any] = [
                lambda c, s: participants.find_present(c, s),
                lambda c, s: participants.invite(c, s, ["eve"]),
                lambda c, s: participants.leave(c, s),
                lambda c, s: participants.mute(c, s),
                lambda c, s: participants.unmute(c, s),
                lambda c, s: participants.mark_read(c, s, 1),
            ]
            for act in acts:
                with pytest.raises(NotFound, match="no such conversation"):
                    act(conversation_id, stranger)
        for text in UNSTORABLE:
            assert participants.unread_counts(text) == {}
            assert participants.positions(text, [group]) == {}
            with pytest.raises(NotFound):
                participants.find_present(group, text)
            for act in acts[1:]:
                with pytest.raises(Invalid):
                    act(group, text)

    run(organization, body)


def test_lists_of_conversations_get_their_first_people(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        participants = ParticipantRepository(session)
        many = [f"p{n:02}" for n in range(15)]
        large = circle(session, "ada", *many)
        participants.leave(large, "p00")
        small = direct(session, "bob", "cy")
        unknown = uuid4()
        found = participants.present_in(iter([large, small, unknown, large]))
        names = {key: [row.user_id for row in rows] for key, rows in found.items()}
        assert names == {
            large: ["ada", *many[1:]][:MAX_LISTED_PARTICIPANTS],
            small: ["bob", "cy"],
            unknown: [],
        }
        assert participants.present_in([]) == {}

    run(organization, body)


def test_positions_are_ones_own_and_present(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        participants = ParticipantRepository(session)
        first, second, left = circle(session), direct(session, "ada2", "bob2"), uuid4()
        left = ConversationRepository(session).create(creator_id="cy", participant_ids=["ada"]).id
        participants.leave(left, "ada")
        say(session, first, "bob")
        participants.mark_read(first, "ada", 1)
        found = participants.positions("ada", [first, second, left, uuid4()])
        assert {key: row.last_read_sequence for key, row in found.items()} == {first: 1}
        assert participants.positions("ada", []) == {}

    run(organization, body)


def test_the_invited_begin_with_nothing_unread(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        participants, group = ParticipantRepository(session), circle(session)
        add_people(session, "dan", "eve")
        for _ in range(3):
            say(session, group)
        participants.mark_read(group, "bob", 1)
        participants.mute(group, "cy")
        participants.leave(group, "cy")
        left = place(session, group, "cy")
        assert left.left_at is not None

        added = participants.invite(group, "bob", ["dan", "cy", "bob", "dan"])
        assert [row.user_id for row in added] == ["dan", "cy", "bob"]
        assert [row.last_read_sequence for row in added] == [3, 3, 1]
        assert all(row.left_at is None for row in added)
        assert added[1] is left
        assert participants.unread_counts("dan") == participants.unread_counts("cy") == {}
        assert participants.unread_counts("bob") == {group: 2}
        say(session, group)
        assert participants.unread_counts("dan") == {group: 1}
        assert participants.unread_counts("cy") == {group: 1}

    run(organization, body)


def test_what_stands_in_the_way_of_an_invitation(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        participants = ParticipantRepository(session)
        group, pair = circle(session, "ada", "bob"), direct(session, "dan", "eve")
        add_person(session, "off", "deactivated")
        with pytest.raises(Conflict, match="direct"):
            participants.invite(pair, "dan", ["ada"])
        for nobody in ("ghost", "off"):
            with pytest.raises(NotFound, match="no such person"):
                participants.invite(group, "ada", ["dan", nobody])
        invalid: list[Any] = [[], ["dan", ""], ["\0"], "dan"]
        for ids in invalid:
            with pytest.raises(Invalid):
                participants.invite(group, "ada", ids)
        assert len(participants.find_present(group, "ada").items) == 2
        session.get_one(UserProfile, "bob").status = "deactivated"
        session.flush()
        (unchanged,) = participants.invite(group, "ada", ["bob"])
        assert unchanged.user_id == "bob"

    run(organization, body)


def test_no_more_than_a_hundred_are_present(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        participants = ParticipantRepository(session)
        group = circle(session, "ada", *(f"p{n}" for n in range(98)))
        add_people(session, "x", "y")
        with pytest.raises(Conflict, match="100"):
            participants.invite(group, "ada", ["x", "y"])
        participants.invite(group, "ada", ["x", "p1", "p2"])
        with pytest.raises(Conflict, match="100"):
            participants.invite(group, "ada", ["y"])
        assert len(participants.invite(group, "ada", ["x", "p1"])) == 2
        participants.leave(group, "p7")
        participants.invite(group, "ada", ["y"])
        assert len(all_pages(lambda p: participants.find_present(group, "ada", p), 100)) == 100

    run(organization, body)


def test_a_group_can_be_left_and_a_direct_conversation_cannot(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        participants, group = ParticipantRepository(session), circle(session)
        held = place(session, group, "bob")
        participants.leave(group, "bob")
        assert held.left_at is not None
        with pytest.raises(NotFound):
            participants.leave(group, "bob")
        pair = direct(session, "dan", "eve")
        with pytest.raises(Conflict, match="mute it"):
            participants.leave(pair, "dan")
        assert place(session, pair, "dan").left_at is None

    run(organization, body)


def test_muting_has_an_end_or_none(run: Runner, organization: Organization) -> None:
    tomorrow = datetime.now(timezone(timedelta(hours=5))) + timedelta(days=1)

    def body(session: Session) -> None:
        participants, pair = ParticipantRepository(session), direct(session)
        held = participants.mute(pair, "ada")
        assert held.muted_until == WITHOUT_END
        assert participants.mute(pair, "ada", tomorrow) is held
        assert held.muted_until == tomorrow
        assert participants.mute(pair, "ada", datetime.max.replace(tzinfo=UTC)) is held
        assert held.muted_until == WITHOUT_END
        assert place(session, pair, "bob").muted_until is None
        assert participants.unmute(pair, "ada").muted_until is None
        assert participants.unmute(pair, "ada").muted_until is None
        for wrong in (tomorrow.replace(tzinfo=None), tomorrow - timedelta(days=2)):
            with pytest.raises(Invalid, match="until"):
                participants.mute(pair, "ada", wrong)

    run(organization, body)


def test_the_position_moves_forward_and_to_the_last_message_at_most(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        participants, pair = ParticipantRepository(session), direct(session)
        held = place(session, pair, "bob")
        assert participants.mark_read(pair, "bob", 5) == 0
        assert place(session, pair, "bob").last_read_at is None
        for _ in range(4):
            say(session, pair)
        assert participants.mark_read(pair, "bob", 2) == 2
        moved_at = held.last_read_at
        assert moved_at is not None
        assert held.last_read_sequence == 2
        for earlier in (2, 1, 0, -(2**80)):
            assert participants.mark_read(pair, "bob", earlier) == 2
        assert held.last_read_at == moved_at
        assert participants.mark_read(pair, "bob", 2**80) == 4
        assert place(session, pair, "ada").last_read_sequence == 0

    run(organization, body)


def test_the_time_of_reading_is_kept_when_the_position_stays(
    run: Runner, organization: Organization
) -> None:
    def start(session: Session) -> UUID:
        pair = direct(session)
        say(session, pair)
        ParticipantRepository(session).mark_read(pair, "bob", 1)
        return pair

    def again(session: Session, pair: UUID) -> None:
        before = place(session, pair, "bob").last_read_at
        ParticipantRepository(session).mark_read(pair, "bob", 1)
        assert place(session, pair, "bob").last_read_at == before
        say(session, pair)
        ParticipantRepository(session).mark_read(pair, "bob", 2)
        after = place(session, pair, "bob").last_read_at
        assert before is not None
        assert after is not None
        assert after > before

    run(organization, again, run(organization, start))


def test_unread_is_what_others_said_and_did_not_delete(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        participants, messages = ParticipantRepository(session), MessageRepository(session)
        group, pair = circle(session), direct(session, "dan", "eve")
        quiet = ConversationRepository(session).create(creator_id="bob", participant_ids=["ada"]).id
        left = ConversationRepository(session).create(creator_id="bob", participant_ids=["ada"]).id
        for sender in ("ada", "bob", "cy", "bob"):
            deleted = say(session, group, sender)
        say(session, pair, "dan")
        say(session, left, "bob")
        say(session, quiet, "ada")
        participants.leave(left, "ada")
        participants.mute(group, "ada")
        assert participants.unread_counts("ada") == {group: 3}
        assert participants.unread_counts("bob") == {group: 2, quiet: 1}
        assert participants.unread_counts("bob", [quiet]) == {quiet: 1}
        assert participants.unread_counts("bob", []) == {}
        messages.soft_delete(deleted, "bob")
        assert participants.unread_counts("ada") == {group: 2}
        participants.mark_read(group, "ada", 2)
        assert participants.unread_counts("ada") == {group: 1}
        participants.mark_read(group, "ada", 4)
        assert participants.unread_counts("ada") == {}
        assert participants.unread_counts("eve") == {pair: 1}
        assert participants.unread_counts("nobody") == {}

    run(organization, body)


steps = st.lists(
    st.tuples(
        st.sampled_from(["say", "delete", "read"]),
        st.integers(0, 2),  # which conversation
        st.integers(0, 1),  # who
        st.integers(0, 12),  # which message, or up to which
    ),
    max_size=40,
)


def test_unread_counts_are_those_of_a_plain_model(run: Runner, organization: Organization) -> None:
    def start(session: Session, people: list[str]) -> list[UUID]:
        add_people(session, *people)
        create = ConversationRepository(session).create
        return [create(creator_id=people[0], participant_ids=people[1:]).id for _ in range(3)]

    def act(session: Session, keys: list[UUID], people: list[str], plan: list[Any]) -> None:
        participants, messages = ParticipantRepository(session), MessageRepository(session)
        said: list[list[tuple[UUID, int]]] = [[], [], []]
        alive: set[UUID] = set()
        read = [[0, 0], [0, 0], [0, 0]]
        for kind, c, who, number in plan:
            if kind == "say":
                said[c].append((say(session, keys[c], people[who]), who))
                alive.add(said[c][-1][0])
            elif kind == "delete" and number < len(said[c]):
                key, sender = said[c][number]
                assert messages.soft_delete(key, people[sender]) is (key in alive)
                alive.discard(key)
            elif kind == "read":
                read[c][who] = max(read[c][who], min(number, len(said[c])))
                assert participants.mark_read(keys[c], people[who], number) == read[c][who]
        for who in (0, 1):
            expected = {
                keys[c]: number
                for c in range(3)
                if (
                    number := sum(
                        key in alive and sender != who for key, sender in said[c][read[c][who] :]
                    )
                )
            }
            assert participants.unread_counts(people[who]) == expected

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps)
    def check(plan: list[Any]) -> None:
        people = [uuid4().hex, uuid4().hex]
        keys = run(organization, start, people)
        run(organization, act, keys, people, plan)

    check()


def test_how_many_statements_it_takes(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        participants, group = ParticipantRepository(session), circle(session)
        newcomers = [f"p{n}" for n in range(10)]
        add_people(session, *newcomers)
        say(session, group)
        acts: list[tuple[int, Any]] = [
            (2, lambda: participants.find_present(group, "ada")),
            (4, lambda: participants.invite(group, "ada", newcomers[:1])),
            (4, lambda: participants.invite(group, "ada", newcomers[1:])),
            (2, lambda: participants.invite(group, "ada", newcomers)),
            (1, lambda: participants.mute(group, "ada")),
            (1, lambda: participants.unmute(group, "ada")),
            (1, lambda: participants.mark_read(group, "bob", 1)),
            (1, lambda: participants.mark_read(group, "bob", 1)),
            (1, lambda: participants.leave(group, "bob")),
        ]
        for expected, act in acts:
            assert number_of_statements(session, act) == expected

    run(organization, body)
