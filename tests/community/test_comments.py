"""Comments: threads that keep their shape, counted exactly."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, inspect, select
from sqlalchemy.orm import Session

from orgtenancy import Organization
from orgtenancy.community import (
    CommunitySettings,
    Post,
    PostComment,
    PostCommentRepository,
    PostRepository,
)
from orgtenancy.community.comments import MAX_THREAD_REPLIES
from orgtenancy.errors import Conflict, Forbidden, Invalid, InvalidCursor, NotFound
from orgtenancy.pagination import PageRequest
from tests.community.seeds import add_person, add_post, counter
from tests.support.runner import Runner

MAX_DEPTH = CommunitySettings().max_comment_depth


def comment(session: Session, post_id: UUID, parent: UUID | None = None) -> UUID:
    return (
        PostCommentRepository(session)
        .create(post_id=post_id, user_id="ada", content="Text", parent_comment_id=parent)
        .id
    )


def lock(session: Session, post_id: UUID) -> None:
    session.get_one(Post, post_id).locked_at = datetime.now(UTC)
    session.flush()


def test_a_comment_is_complete_after_the_commit(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> tuple[Post, PostComment, PostComment]:
        add_person(session, "ada")
        post = PostRepository(session).create(user_id="bob", content="Hello")
        comments = PostCommentRepository(session)
        first = comments.create(post_id=post.id, user_id="ada", content=" First ")
        reply = comments.create(
            post_id=post.id, user_id="bob", content="Reply", parent_comment_id=first.id
        )
        return post, first, reply

    post, first, reply = run(organization, body)
    assert post.comments_count == 2
    assert (first.content, first.depth, first.path) == ("First", 0, [first.id])
    assert (reply.depth, reply.path) == (1, [first.id, reply.id])
    assert first.author is not None
    assert reply.author is None
    assert first.created_at == first.updated_at
    assert not first.is_tombstone


@pytest.mark.parametrize(
    "values", [{"content": " "}, {"content": "x" * 5_001}, {"content": "\0"}, {"user_id": ""}]
)
def test_bad_input_is_refused(
    run: Runner, organization: Organization, values: dict[str, Any]
) -> None:
    def body(session: Session) -> None:
        arguments: dict[str, Any] = {"user_id": "ada", "content": "Hello", **values}
        with pytest.raises(Invalid):
            PostCommentRepository(session).create(post_id=uuid4(), **arguments)

    run(organization, body)


def test_what_stands_in_the_way_of_a_comment(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        posts, comments = PostRepository(session), PostCommentRepository(session)
        post_id, other_id, deleted_id, locked_id = (add_post(session, "bob") for _ in range(4))
        private_id = posts.create(user_id="bob", content="own", visibility="private").id
        posts.soft_delete(deleted_id, "bob")
        on_locked = comment(session, locked_id)
        lock(session, locked_id)
        elsewhere = comment(session, other_id)
        tombstone = comment(session, post_id)
        comments.soft_delete(tombstone, "ada")

        for invisible in (deleted_id, private_id, uuid4()):
            with pytest.raises(NotFound):
                comment(session, invisible)
        for parent in (elsewhere, uuid4()):
            with pytest.raises(NotFound):
                comment(session, post_id, parent)
        for parent_on_locked in (None, on_locked):
            with pytest.raises(Forbidden, match="locked"):
                comment(session, locked_id, parent_on_locked)
        with pytest.raises(Conflict, match="deleted"):
            comment(session, post_id, tombstone)
        assert counter(session, post_id, "comments_count") == 0
        assert counter(session, other_id, "comments_count") == 1
        assert counter(session, locked_id, "comments_count") == 1

    run(organization, body)


def test_a_thread_gets_no_deeper_than_its_limit(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        post_id = add_post(session)
        deepest = comment(session, post_id)
        for _ in range(MAX_DEPTH):
            deepest = comment(session, post_id, deepest)
        assert session.get_one(PostComment, deepest).depth == MAX_DEPTH
        with pytest.raises(Invalid, match="levels"):
            comment(session, post_id, deepest)
        assert counter(session, post_id, "comments_count") == MAX_DEPTH + 1

    run(organization, body)


def preorder(parents: list[int | None], keys: list[UUID], head: int) -> list[UUID]:
    """The replies below a comment, as a plain model of a tree reads them."""
    found = []
    for number, parent in enumerate(parents):
        if parent == head:
            found += [keys[number], *preorder(parents, keys, number)]
    return found


# Each comment replies to an earlier one, given as its distance, or to the post itself.
shapes = st.lists(st.none() | st.integers(1, 12), min_size=1, max_size=40)


def test_the_pages_of_a_tree_are_the_tree(run: Runner, organization: Organization) -> None:
    def write(
        session: Session, shape: list[int | None]
    ) -> tuple[UUID, list[int | None], list[UUID]]:
        post_id = add_post(session)
        parents: list[int | None] = []
        depths: list[int] = []
        keys: list[UUID] = []
        for number, distance in enumerate(shape):
            parent = None if distance is None or distance > number else number - distance
            if parent is not None and depths[parent] == MAX_DEPTH:
                parent = None
            parents.append(parent)
            depths.append(0 if parent is None else depths[parent] + 1)
            keys.append(comment(session, post_id, None if parent is None else keys[parent]))
        return post_id, parents, keys

    def read(session: Session, post_id: UUID, limit: int) -> list[tuple[UUID, list[UUID]]]:
        found: list[tuple[UUID, list[UUID]]] = []
        cursor = None
        while True:
            page = PostCommentRepository(session).list_tree(
                post_id, "ada", PageRequest(limit=limit, cursor=cursor)
            )
            for thread in page.items:
                assert not thread.has_more
                found.append((thread.head.id, [reply.id for reply in thread.replies]))
            cursor = page.next_cursor
            if cursor is None:
                return found

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(shapes, st.integers(1, 10))
    def check(shape: list[int | None], limit: int) -> None:
        post_id, parents, keys = run(organization, write, shape)
        assert run(organization, read, post_id, limit) == [
            (keys[n], preorder(parents, keys, n)) for n, p in enumerate(parents) if p is None
        ]
        assert run(organization, counter, post_id, "comments_count") == len(keys)

    check()


def test_a_tree_of_any_size_is_three_statements_with_everything_loaded(
    run: Runner, organization: Organization
) -> None:
    def write(session: Session) -> UUID:
        add_person(session, "ada")
        post_id = add_post(session)
        for _ in range(5):
            head = comment(session, post_id)
            for _ in range(4):
                comment(session, post_id, comment(session, post_id, head))
        return post_id

    post_id = run(organization, write)

    def read(session: Session) -> tuple[int, list[PostComment]]:
        statements: list[object] = []
        event.listen(session, "do_orm_execute", statements.append)
        page = PostCommentRepository(session).list_tree(post_id, "ada")
        rows = [row for thread in page.items for row in (thread.head, *thread.replies)]
        return len(statements), rows

    number, rows = run(organization, read)
    assert number == 3
    assert len(rows) == 45
    assert all(inspect(row).unloaded == set() for row in rows)


def test_a_long_thread_comes_in_part_and_the_rest_by_its_replies(
    run: Runner, organization: Organization
) -> None:
    def write(session: Session) -> tuple[UUID, UUID, list[UUID], list[UUID]]:
        post_id = add_post(session)
        head = comment(session, post_id)
        direct = [comment(session, post_id, head) for _ in range(MAX_THREAD_REPLIES + 2)]
        below = [comment(session, post_id, direct[0]) for _ in range(3)]
        return post_id, head, direct, below

    def read(session: Session) -> None:
        comments = PostCommentRepository(session)
        (thread,) = comments.list_tree(post_id, "ada").items
        assert thread.has_more
        expected = [direct[0], *below, *direct[1:]][:MAX_THREAD_REPLIES]
        assert [reply.id for reply in thread.replies] == expected
        found, cursor = [], None
        while True:
            page = comments.list_replies(head, "ada", PageRequest(limit=20, cursor=cursor))
            found += [(thread.head.id, len(thread.replies)) for thread in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert found == [(key, 3 if key == direct[0] else 0) for key in direct]

    post_id, head, direct, below = run(organization, write)
    run(organization, read)


def test_threads_of_invisible_posts_are_not_found(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        comments = PostCommentRepository(session)
        post_id = (
            PostRepository(session).create(user_id="ada", content="own", visibility="private").id
        )
        key = comment(session, post_id)
        for _ in range(2):
            comment(session, post_id)
        assert len(comments.list_tree(post_id, "ada").items) == 3
        page = comments.list_tree(post_id, "ada", PageRequest(limit=1))
        with pytest.raises(InvalidCursor):
            comments.list_replies(key, "ada", PageRequest(cursor=page.next_cursor))
        for act in (comments.list_tree, comments.list_replies, comments.soft_delete):
            with pytest.raises(NotFound):
                act(post_id if act == comments.list_tree else key, "eve")
            with pytest.raises(NotFound):
                act(uuid4(), "ada")

    run(organization, body)


def test_a_deleted_comment_is_a_tombstone_that_keeps_its_replies(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        comments, post_id = PostCommentRepository(session), add_post(session)
        key = comment(session, post_id)
        reply = comment(session, post_id, key)
        with pytest.raises(Forbidden):
            comments.soft_delete(key, "eve")
        assert comments.soft_delete(key, "ada") is True
        assert comments.soft_delete(key, "ada") is False
        held = session.get_one(PostComment, key)
        assert held.is_tombstone
        assert held.content is None
        assert counter(session, post_id, "comments_count") == 1
        (thread,) = comments.list_tree(post_id, "eve").items
        assert thread.head.id == key
        assert thread.head.content is None
        assert [row.content for row in thread.replies] == ["Text"]
        assert thread.replies[0].id == reply

    run(organization, body)


def test_the_counter_is_exact_under_comments_and_deletions_at_once(
    run: Runner, organization: Organization
) -> None:
    post_id = run(organization, add_post)
    root = run(organization, comment, post_id)
    doomed = [run(organization, comment, post_id) for _ in range(4)]

    def write(session: Session) -> int:
        comment(session, post_id, root)
        return 1

    def delete(session: Session, key: UUID) -> int:
        return -int(PostCommentRepository(session).soft_delete(key, "ada"))

    def state(session: Session) -> tuple[int, int]:
        living = session.scalar(
            select(func.count()).select_from(PostComment).where(PostComment.content.is_not(None))
        )
        return counter(session, post_id, "comments_count"), living or 0

    changes = run.concurrently(
        organization,
        [write] * 16 + [partial(delete, key=key) for key in doomed * 4],
    )
    assert sorted(changes) == [-1] * 4 + [0] * 12 + [1] * 16
    assert run(organization, state) == (17, 17)


def test_a_post_locked_meanwhile_gets_no_comment(run: Runner, organization: Organization) -> None:
    """Whatever the order, the count and the comments agree, and none follows the lock."""
    post_id = run(organization, add_post)

    def write(session: Session) -> int:
        try:
            comment(session, post_id)
        except Forbidden:
            return 0
        return 1

    def lock_it(session: Session) -> int:
        lock(session, post_id)
        return 0

    written = sum(run.concurrently(organization, [write] * 6 + [lock_it] + [write] * 6))
    assert run(organization, counter, post_id, "comments_count") == written
    assert run(organization, write) == 0
