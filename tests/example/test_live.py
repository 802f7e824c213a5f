"""Live updates of the example app: heard as they are committed, by those who may know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
from psycopg import sql
from sqlalchemy.orm import Session

from examples.community.live import Hub, known_to
from examples.community.news import News, announcing, channel_of
from orgtenancy import Organization, Tenancy, embedded
from orgtenancy.community import (
    ConversationRepository,
    GroupRepository,
    MessageRepository,
    PostRepository,
    UserProfileRepository,
)
from tests.example.visiting import Visit, following, last_message, open_talk, say

A, B, C = "Leila Farahani", "Pavel Dvorak", "Nora Fitzgerald"
Listen = Callable[[], list[News]]


def test_a_message_is_heard_by_those_who_take_part_and_nobody_else(visit: Visit) -> None:
    sender, receiver, third = visit(A), visit(B), visit(C)
    talk, other_talk = open_talk(sender, B), open_talk(sender, C)
    with following(receiver) as heard, following(third) as heard_by_third:
        say(sender, talk, "For one of you")
        assert next(heard) == ("message", event_of(sender, talk))
        # The third person's stream comes to what is theirs, past what is not.
        say(sender, other_talk, "For the other")
        assert next(heard_by_third) == ("message", event_of(sender, other_talk))


def test_what_the_api_does_is_heard_too(visit: Visit) -> None:
    sender, receiver = visit(A), visit(B)
    talk = open_talk(sender, B)
    with following(receiver) as heard:
        post = sender.post("/api/posts", json={"content": "By a program"}).json()["id"]
        assert next(heard) == ("post", {"id": post, "group": None})
        message = sender.post(f"/api{talk}/messages", json={"content": "By a program"}).json()
        assert next(heard)[1]["id"] == message["id"]
        sender.patch(f"/api/messages/{message['id']}", json={"content": "Changed by a program"})
        assert next(heard)[1]["id"] == message["id"]
        receiver.put(f"/api{talk}/read", json={"sequence": message["sequence"]})
        assert next(heard) == ("read", {"conversation": talk.rpartition("/")[2]})


def test_one_does_not_hear_of_ones_own_posts_nor_of_those_of_others_groups(visit: Visit) -> None:
    writer, reader = visit(A), visit(B)
    group = writer.post("/api/groups", json={"name": "Quiet", "privacy": "private"}).json()["id"]
    with following(reader) as heard:
        writer.post("/api/posts", json={"content": "For members", "group_id": group})
        mine = reader.post("/api/posts", json={"content": "My own"}).json()["id"]
        post = writer.post("/api/posts", json={"content": "For everybody"}).json()["id"]
        kind, data = next(heard)
        assert (kind, data["id"]) == ("post", post)
        assert data["id"] != mine


def test_nothing_is_heard_of_the_other_organization(visit: Visit) -> None:
    here, there = visit("Amara Okafor"), visit("Amara Okafor", "harbor")
    sender = visit(A)
    talk = open_talk(sender, "Amara Okafor")
    with following(here) as heard, following(there) as heard_there:
        say(sender, talk, "Only for climbers")
        assert next(heard) == ("message", event_of(sender, talk))
        post = visit("Fatou Diallo", "harbor").post("/api/posts", json={"content": "For bakers"})
        assert next(heard_there) == ("post", {"id": post.json()["id"], "group": None})


def test_who_is_not_signed_in_hears_nothing(visit: Visit) -> None:
    browser = visit(A)
    browser.cookies.clear()
    assert browser.get("/live").status_code == 303


def test_a_stream_may_end_at_any_time(visit: Visit) -> None:
    sender, receiver = visit(A), visit(B)
    talk = open_talk(sender, B)
    for _ in range(3):
        with following(receiver):
            say(sender, talk, "Into the void")
    with following(receiver) as heard:
        say(sender, talk, "And at last")
        last = ("message", event_of(sender, talk))
        # What was said before may still be on its way.
        assert last in (next(heard) for _ in range(4))


@pytest.mark.slow
def test_streams_that_wait_hold_no_connection_of_the_database(visit: Visit) -> None:
    sender, receiver = visit(A), visit(B)
    talk = open_talk(sender, B)
    with ExitStack() as streams:
        # More than the pool has connections.
        heard = [streams.enter_context(following(receiver)) for _ in range(20)]
        assert sender.get("/").status_code == 200
        say(sender, talk, "To all of your tabs")
        event = ("message", event_of(sender, talk))
        assert [next(one) for one in heard] == [event] * 20


# What the checks behind the channel hold, without the app around them.


@pytest.fixture
def talk(tenancy: Tenancy, organization: Organization) -> tuple[UUID, UUID]:
    """The conversation of `ana` and `ben`, and a message in it."""
    with tenancy.session(organization.id) as session:
        conversation, message = begin(session)
        return conversation, message


def begin(session: Session) -> tuple[UUID, UUID]:
    for user_id in ("ana", "ben", "cem"):
        UserProfileRepository(session).upsert_from_claims({"sub": user_id, "name": user_id})
    conversation = ConversationRepository(session).open_direct("ana", "ben")
    message = MessageRepository(session).send(conversation.id, "ana", content="Hello")
    return conversation.id, message.id


def begin_and_fail(tenancy: Tenancy, organization: Organization) -> None:
    with tenancy.session(organization.id) as session:
        begin(session)
        raise ZeroDivisionError


def test_news_are_checked_against_the_rows_whoever_said_them(
    tenancy: Tenancy, organization: Organization, talk: tuple[UUID, UUID]
) -> None:
    conversation, message = talk
    said = [
        News(kind="message", id=message),
        News(kind="read", id=conversation),
        News(kind="message", id=uuid4()),
        News(kind="post", id=message),
    ]
    with tenancy.session(organization.id) as session:
        assert [kind for kind, _ in known_to(session, "ben", said)] == ["message", "read"]
        assert known_to(session, "cem", said) == []


def test_news_of_another_organization_come_to_nothing(
    tenancy: Tenancy, two_organizations: tuple[Organization, Organization]
) -> None:
    first, second = two_organizations
    with tenancy.session(first.id) as session:
        _, message = begin(session)
    with tenancy.session(second.id) as session:
        begin(session)
        assert known_to(session, "ben", [News(kind="message", id=message)]) == []


def test_posts_of_groups_are_news_for_members(
    tenancy: Tenancy, organization: Organization, talk: object
) -> None:
    with tenancy.session(organization.id) as session:
        group = GroupRepository(session).create(creator_id="ana", name="Ana's")
        post = PostRepository(session).create(user_id="ana", content="Psst", group_id=group.id)
        assert known_to(session, "ben", [News(kind="post", id=post.id)]) == []


@contextmanager
def listening(server: embedded.EmbeddedServer, organization: Organization) -> Iterator[Listen]:
    """Hear what is said on an organization's channel, as anybody with a login can."""
    url = server.url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(url, autocommit=True) as connection:
        channel = sql.Identifier(channel_of(organization))
        connection.execute(sql.SQL("LISTEN {}").format(channel))

        def heard() -> list[News]:
            found = list(connection.notifies(timeout=0.5))
            assert {notification.channel for notification in found} <= {channel_of(organization)}
            return [News.model_validate_json(notification.payload) for notification in found]

        yield heard


@pytest.mark.slow
def test_only_what_is_committed_is_told_and_only_its_kind_and_id(
    server: embedded.EmbeddedServer,
    tenancy: Tenancy,
    two_organizations: tuple[Organization, Organization],
    talk: object,
) -> None:
    first, second = two_organizations
    with announcing(), listening(server, first) as heard, listening(server, second) as elsewhere:
        with pytest.raises(ZeroDivisionError):
            begin_and_fail(tenancy, first)
        assert heard() == []
        with tenancy.session(first.id) as session:
            conversation, message = begin(session)
            post = PostRepository(session).create(user_id="ana", content="News").id
            again = MessageRepository(session).send(conversation, "ana", content="x").id
        assert heard() == [
            News(kind="message", id=message),
            News(kind="post", id=post),
            News(kind="message", id=again),
        ]
        assert elsewhere() == []
    with listening(server, first) as heard:
        with tenancy.session(first.id) as session:
            PostRepository(session).create(user_id="ana", content="Nobody listens any more")
        assert heard() == []


def test_a_message_sent_twice_is_told_once(
    server: embedded.EmbeddedServer, tenancy: Tenancy, organization: Organization
) -> None:
    with tenancy.session(organization.id) as session:
        conversation, _ = begin(session)
    with announcing(), listening(server, organization) as heard:
        for _ in range(2):
            with tenancy.session(organization.id) as session:
                message = MessageRepository(session).send(
                    conversation, "ana", content="Once", client_key="k"
                )
        assert heard() == [News(kind="message", id=message.id)]


@pytest.mark.slow
def test_a_lost_connection_ends_the_streams_and_is_made_anew(
    server: embedded.EmbeddedServer,
    tenancy: Tenancy,
    organization: Organization,
    event_loop_runner: asyncio.Runner,
) -> None:
    async def cut_off() -> None:
        async with Hub(tenancy.engine.url) as hub:
            with hub.watch(organization) as watch:
                await asyncio.wait_for(watch.is_heard.wait(), 30)
                await asyncio.to_thread(terminate_listeners, server, organization)
                assert await watch.wait(5) == []
                assert watch.is_over
            with hub.watch(organization) as watch:
                await asyncio.wait_for(watch.is_heard.wait(), 30)
                assert not watch.is_over

    event_loop_runner.run(cut_off())


def terminate_listeners(server: embedded.EmbeddedServer, organization: Organization) -> None:
    url = server.admin_url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE %s",
            [f'LISTEN "{channel_of(organization)}"%'],
        )


def event_of(browser: httpx.Client, talk: str) -> dict[str, str]:
    """Return the event of what was said last in a conversation."""
    message = last_message(browser, talk)
    return {"id": message["id"], "conversation": message["conversation_id"]}


def test_a_stream_is_ready_soon(visit: Visit) -> None:
    started = time.monotonic()
    with following(visit(A)):
        assert time.monotonic() - started < 3
