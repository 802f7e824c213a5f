"""Conversations under concurrency: nothing said twice, out of order, or lost."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from orgtenancy import Organization
from orgtenancy.community import Conversation, Message
from orgtenancy.community.conversations import MAX_PARTICIPANTS, ConversationRepository
from orgtenancy.community.messages import MessageRepository
from orgtenancy.community.participants import ParticipantRepository
from orgtenancy.errors import Conflict
from orgtenancy.pagination import PageRequest
from tests.community.talks import add_people, all_pages, circle, direct, say
from tests.support.runner import Runner


def pause(session: Session, seconds: float = 0.02) -> None:
    session.execute(select(func.pg_sleep(seconds)))  # the others begin before this commits


def test_both_sides_opening_at_once_get_one_conversation(
    run: Runner, organization: Organization
) -> None:
    def open_it(session: Session, one: str, other: str) -> tuple[UUID, list[str]]:
        conversation = ConversationRepository(session).open_direct(one, other)
        there = ParticipantRepository(session).find_present(conversation.id, one).items
        pause(session)
        return conversation.id, [row.user_id for row in there]

    for _ in range(12):
        ada, bob = sorted([uuid4().hex, uuid4().hex])
        run(organization, add_people, ada, bob)
        sides = [partial(open_it, one=ada, other=bob), partial(open_it, one=bob, other=ada)]
        found = run.concurrently(organization, sides * 2)
        assert len({key for key, _ in found}) == 1
        assert [people for _, people in found] == [[ada, bob]] * 4


def test_numbers_have_no_gap_and_nothing_unread_is_lost(
    run: Runner, organization: Organization
) -> None:
    people = [f"p{n}" for n in range(8)]
    rounds = 6
    group = run(organization, circle, "reader", *people)

    def send(session: Session, person: str, number: int) -> list[int]:
        messages = MessageRepository(session)
        first = messages.send(group, person, content=f"{person} {number}")
        pause(session, 0.005)  # held: those behind wait, or would overtake
        key = f"{number}" if number % 2 else None
        second = messages.send(group, person, content="and", client_key=key)
        return [first.sequence, second.sequence]

    def read(session: Session) -> list[int]:
        """Reads on from the last position, and says so."""
        messages, participants = MessageRepository(session), ParticipantRepository(session)
        position = participants.positions("reader", [group])[group].last_read_sequence
        page = messages.list_after(group, "reader", PageRequest(limit=100), after=position)
        seen = [message.sequence for message in page.items]
        assert seen == list(range(position + 1, position + 1 + len(seen)))
        if seen:
            participants.mark_read(group, "reader", seen[-1])
        return []

    for number in range(rounds):
        senders: list[Callable[[Session], list[int]]] = [
            partial(send, person=person, number=number) for person in people
        ]
        given = run.concurrently(organization, [*senders[:4], read, *senders[4:], read])
        taken = sorted(sequence for sequences in given for sequence in sequences)
        assert taken == list(range(16 * number + 1, 16 * number + 17))

    def check(session: Session) -> None:
        messages, participants = MessageRepository(session), ParticipantRepository(session)
        said = all_pages(lambda page: messages.list_after(group, "reader", page), 100)
        total = 16 * rounds
        assert [message.sequence for message in said] == list(range(1, total + 1))
        times = [message.created_at for message in said]
        assert times == sorted(times)
        held = session.get_one(Conversation, group)
        assert (held.last_sequence, held.last_message_at) == (total, times[-1])
        position = participants.positions("reader", [group])[group].last_read_sequence
        unread = sum(message.sequence > position for message in said)
        assert participants.unread_counts("reader").get(group, 0) == unread
        for person in people:
            others = sum(message.sender_id != person for message in said)
            assert participants.unread_counts(person) == {group: others}

    run(organization, check)


def test_the_same_key_at_once_says_it_once(run: Runner, organization: Organization) -> None:
    pair = run(organization, direct)

    def send(session: Session, key: str) -> UUID:
        message = MessageRepository(session).send(pair, "ada", content="Hi", client_key=key)
        pause(session)
        return message.id

    def state(session: Session) -> tuple[int, int]:
        number = session.scalar(select(func.count()).select_from(Message)) or 0
        return session.get_one(Conversation, pair).last_sequence, number

    for number in range(1, 6):
        found = run.concurrently(organization, [partial(send, key=f"k{number}")] * 8)
        assert len(set(found)) == 1
        assert run(organization, state) == (number, number)


def test_flags_at_once_are_all_kept(run: Runner, organization: Organization) -> None:
    people = [f"p{n}" for n in range(8)]
    group = run(organization, circle, "ada", *people)

    def flag(session: Session, message_id: UUID, person: str) -> bool:
        changed = MessageRepository(session).flag(message_id, person, person)
        pause(session, 0.005)
        return changed

    def flaggers(session: Session, message_id: UUID) -> list[str]:
        return sorted(flag["user_id"] for flag in session.get_one(Message, message_id).flags)

    for _ in range(4):
        message_id = run(organization, say, group)
        act = partial(flag, message_id=message_id)
        each_twice = [partial(act, person=person) for person in people * 2]
        assert sum(run.concurrently(organization, each_twice)) == len(people)
        assert run(organization, flaggers, message_id) == people


def test_positions_marked_at_once_end_at_the_furthest(
    run: Runner, organization: Organization
) -> None:
    pair = run(organization, direct)

    def write(session: Session) -> None:
        for _ in range(12):
            say(session, pair)

    def mark(session: Session, sequence: int) -> int:
        position = ParticipantRepository(session).mark_read(pair, "bob", sequence)
        pause(session, 0.005)
        return position

    def position(session: Session) -> int:
        return ParticipantRepository(session).positions("bob", [pair])[pair].last_read_sequence

    for last in range(12, 61, 12):
        run(organization, write)
        marks = [last - 2, last + 5, last - 7, last - 1, last - 4, last - 11, last - 9, last - 3]
        found = run.concurrently(organization, [partial(mark, sequence=m) for m in marks])
        assert run(organization, position) == last == max(found)
        assert all(now >= min(wanted, last) for now, wanted in zip(found, marks, strict=True))


def test_what_is_deleted_while_it_is_edited_stays_deleted(
    run: Runner, organization: Organization
) -> None:
    pair = run(organization, direct)

    def edit(session: Session, message_id: UUID) -> str:
        try:
            MessageRepository(session).edit(message_id, "ada", "Changed")
        except Conflict:
            return "too late"
        pause(session, 0.005)
        return "edited"

    def delete(session: Session, message_id: UUID) -> str:
        assert MessageRepository(session).soft_delete(message_id, "ada")
        pause(session, 0.005)
        return "deleted"

    def content(session: Session, message_id: UUID) -> str | None:
        return session.get_one(Message, message_id).content

    for number in range(10):
        message_id = run(organization, say, pair)
        acts = [partial(edit, message_id=message_id)] * 3
        acts.insert(number % 4, partial(delete, message_id=message_id))
        found = run.concurrently(organization, acts)
        assert found.count("deleted") == 1
        assert run(organization, content, message_id) is None


@pytest.mark.parametrize("free", [1, 5])
def test_invitations_at_once_keep_to_the_limit(
    run: Runner, organization: Organization, free: int
) -> None:
    newcomers = [f"n{n}" for n in range(16)]

    def start(session: Session) -> UUID:
        add_people(session, *newcomers)
        return circle(session, "ada", *(f"p{n}" for n in range(MAX_PARTICIPANTS - 1 - free)))

    group = run(organization, start)

    def invite(session: Session, number: int) -> int:
        invited = newcomers[number : number + 2]
        try:
            found = ParticipantRepository(session).invite(group, f"p{number}", invited)
        except Conflict:
            return 0
        pause(session)
        return len(found)

    def present(session: Session) -> int:
        participants = ParticipantRepository(session)
        return len(all_pages(lambda page: participants.find_present(group, "ada", page), 100))

    acts = [partial(invite, number=number) for number in range(0, 16, 2)]
    added = sum(run.concurrently(organization, acts))
    assert added == free - free % 2
    assert run(organization, present) == MAX_PARTICIPANTS - free % 2


def test_the_same_person_invited_at_once_comes_in_once(
    run: Runner, organization: Organization
) -> None:
    group = run(organization, circle)
    run(organization, add_people, "dan")

    def invite(session: Session, inviting: str) -> int:
        say(session, group, inviting)
        (found,) = ParticipantRepository(session).invite(group, inviting, ["dan"])
        pause(session)
        return found.last_read_sequence

    def leave(session: Session) -> None:
        ParticipantRepository(session).leave(group, "dan")

    for _ in range(4):
        acts = [partial(invite, inviting=person) for person in ("ada", "bob", "cy")]
        assert len(set(run.concurrently(organization, acts))) == 1
        run(organization, leave)
