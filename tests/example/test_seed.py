"""The seed data: the same every time, and shaped like real life."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from examples.community.people import Texts, all_people, all_texts, members_of
from examples.community.seed import rows_of
from orgtenancy.community import (
    ActivityLog,
    Conversation,
    ConversationParticipant,
    Group,
    GroupMember,
    Message,
    Post,
    PostComment,
    PostLike,
    UserProfile,
)

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
Rows = dict[type[Any], list[dict[str, Any]]]


@pytest.fixture(params=all_texts(), ids=lambda texts: str(texts.id))
def texts(request: pytest.FixtureRequest) -> Texts:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def rows(texts: Texts) -> Rows:
    return rows_of(texts, NOW)


def test_two_organizations_share_some_of_sixty_people() -> None:
    people = all_people().values()
    assert len(people) == 60
    assert sum(len(person.organizations) == 2 for person in people) == 5
    assert sum(texts.posts for texts in all_texts()) == 600


def test_it_is_the_same_every_time(texts: Texts, rows: Rows) -> None:
    assert rows_of(texts, NOW) == rows


def test_keys_are_of_the_time_of_their_rows(rows: Rows) -> None:
    for row in (*rows[Post], *rows[PostComment]):
        key: UUID = row["id"]
        assert key.version == 7
        assert key.int >> 80 == int(row["created_at"].timestamp() * 1000)
        assert row["created_at"] <= NOW


def test_no_two_posts_say_the_same(rows: Rows) -> None:
    assert len({post["content"] for post in rows[Post]}) == len(rows[Post])
    texts = [row["content"] for row in (*rows[Post], *rows[PostComment])]
    assert not [text for text in texts if "{" in text or "}" in text]


def test_likes_are_uneven_and_counted(rows: Rows) -> None:
    counts = Counter(like["post_id"] for like in rows[PostLike])
    assert all(post["likes_count"] == counts[post["id"]] for post in rows[Post])
    ordered = sorted((post["likes_count"] for post in rows[Post]), reverse=True)
    tenth = len(ordered) // 10
    assert sum(ordered[:tenth]) > sum(ordered) * 0.3
    assert ordered[-1] == 0


def test_comments_are_nested_after_what_they_reply_to(rows: Rows) -> None:
    comments = {comment["id"]: comment for comment in rows[PostComment]}
    posts = {post["id"]: post for post in rows[Post]}
    assert {comment["depth"] for comment in comments.values()} == {0, 1, 2, 3, 4}
    for comment in comments.values():
        assert comment["created_at"] > posts[comment["post_id"]]["created_at"]
        if comment["parent_comment_id"]:
            parent = comments[comment["parent_comment_id"]]
            assert comment["path"] == [*parent["path"], comment["id"]]
            assert comment["created_at"] > parent["created_at"]
    counts = Counter(comment["post_id"] for comment in comments.values())
    assert all(post["comments_count"] == counts[post["id"]] for post in posts.values())


def test_every_member_has_a_profile(texts: Texts, rows: Rows) -> None:
    names = {profile["display_name"] for profile in rows[UserProfile]}
    assert names == set(texts.people)


def test_groups_have_exact_counts_and_somebody_at_each_door(rows: Rows) -> None:
    members = Counter(m["group_id"] for m in rows[GroupMember] if m["status"] == "active")
    assert all(group["member_count"] == members[group["id"]] for group in rows[Group])
    assert {group["privacy"] for group in rows[Group]} == {"public", "private", "secret"}
    assert any(group["archived_at"] for group in rows[Group])
    doors = {(member["group_id"], member["status"]) for member in rows[GroupMember]}
    for group in rows[Group]:
        if group["privacy"] == "private":
            assert (group["id"], "requested") in doors
        if group["privacy"] == "secret":
            assert (group["id"], "invited") in doors
    inside = {(m["group_id"], m["user_id"]) for m in rows[GroupMember] if m["status"] == "active"}
    posts = [post for post in rows[Post] if post.get("group_id")]
    assert posts
    assert all((post["group_id"], post["user_id"]) in inside for post in posts)


def test_conversations_have_no_gaps_and_some_of_them_wait(texts: Texts, rows: Rows) -> None:
    sequences: dict[UUID, list[int]] = {}
    for message in rows[Message]:
        sequences.setdefault(message["conversation_id"], []).append(message["sequence"])
    last = {
        conversation["id"]: conversation["last_sequence"] for conversation in rows[Conversation]
    }
    for conversation, found in sequences.items():
        assert found == list(range(1, last[conversation] + 1))
    keys = [c["direct_key"] for c in rows[Conversation] if c["direct_key"]]
    assert len(keys) == len(set(keys))
    places = rows[ConversationParticipant]
    waiting = {p["user_id"] for p in places if p["last_read_sequence"] < last[p["conversation_id"]]}
    both = {person.id for person in all_people().values() if len(person.organizations) == 2}
    assert both <= waiting
    assert {person.id for person in members_of(texts.id)} == {p["user_id"] for p in places}
    (flagged,) = (message for message in rows[Message] if message["flags"])
    assert flagged["content"] == texts.reported["message"]


def test_the_activity_log_begins_with_what_was_done_last(rows: Rows) -> None:
    times = [log["created_at"] for log in rows[ActivityLog]]
    assert times == sorted(times)
    assert {"post.create", "post.like", "comment.create"} <= {
        log["action"] for log in rows[ActivityLog]
    }
