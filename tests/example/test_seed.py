"""The seed data: the same every time, and shaped like real life."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from examples.community.people import Texts, all_people, all_texts
from examples.community.seed import Generator
from orgtenancy.community import Post, PostComment, PostLike, UserProfile

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
Rows = dict[type[Any], list[dict[str, Any]]]


@pytest.fixture(params=all_texts(), ids=lambda texts: str(texts.id))
def texts(request: pytest.FixtureRequest) -> Texts:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def rows(texts: Texts) -> Rows:
    return Generator(texts, NOW).rows()


def test_two_organizations_share_some_of_sixty_people() -> None:
    people = all_people().values()
    assert len(people) == 60
    assert sum(len(person.organizations) == 2 for person in people) == 5
    assert sum(texts.posts for texts in all_texts()) == 600


def test_it_is_the_same_every_time(texts: Texts, rows: Rows) -> None:
    assert Generator(texts, NOW).rows() == rows


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
