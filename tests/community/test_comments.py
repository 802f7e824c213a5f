"""Comments: threads that keep their shape, counted exactly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, func, inspect, select
from sqlalchemy.orm import Session

from orgtenancy import Organization, Tenancy, embedded
from orgtenancy.community import (
    CommunitySettings,
    Post,
    PostComment,
    PostCommentRepository,
    PostRepository,
    community,
)
from orgtenancy.community.threads import MAX_THREAD_REPLIES
from orgtenancy.errors import Conflict, Forbidden, Invalid, InvalidCursor, NotFound
from orgtenancy.pagination import PageRequest
from tests.community.seeds import add_group, add_person, add_post, counter
from tests.community.statements import number_of_statements
from tests.support.notes import notes
from tests.support.runner import AsyncRunner, Runner, SyncRunner

MAX_DEPTH = CommunitySettings().max_comment_depth


def comment(session: Session, post_id: UUID, parent: UUID | None = None) -> UUID:
    return (
        PostCommentRepository(session)
        .create(post_id=post_id, user_id="ada", content="Text", parent_comment_id=parent)
        .id
    )


def lock(session: Session, post_id: UUID) -> None:
    PostRepository(session).lock(post_id, "mod", moderating=True)


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


@pytest.fixture(params=["sync", "async"])
def run_flat(
    request: pytest.FixtureRequest,
    server: embedded.EmbeddedServer,
    event_loop_runner: asyncio.Runner,
) -> Iterator[Runner]:
    """Runs a function where the host allows one level of replies."""
    flat = community.with_settings(CommunitySettings(max_comment_depth=1))
    tenancy = Tenancy(server.url, admin_url=server.admin_url, modules=[flat, notes])
    if request.param == "sync":
        yield SyncRunner(tenancy)
    else:
        yield AsyncRunner(tenancy, event_loop_runner)
    event_loop_runner.run(tenancy.aclose())


def test_how_deep_a_thread_gets_is_a_setting(
    run_flat: Runner, run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> tuple[UUID, UUID]:
        post_id = add_post(session)
        reply = comment(session, post_id, comment(session, post_id))
        with pytest.raises(Invalid, match="1 levels"):
            comment(session, post_id, reply)
        return post_id, reply

    post_id, reply = run_flat(organization, body)
    run(organization, comment, post_id, reply)  # where the default is set


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


def test_an_author_changes_what_a_comment_says(run: Runner, organization: Organization) -> None:
    def write(session: Session) -> UUID:
        add_person(session, "ada")
        return comment(session, add_post(session))

    def change(session: Session) -> PostComment:
        return PostCommentRepository(session).update(key, "ada", " Better ")

    key = run(organization, write)
    changed = run(organization, change)
    assert (changed.id, changed.content) == (key, "Better")
    assert changed.updated_at > changed.created_at
    assert changed.author is not None
    assert changed.author.username == "ada"


def test_what_stands_in_the_way_of_a_change(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        posts, comments = PostRepository(session), PostCommentRepository(session)
        post_id, locked_id = add_post(session, "bob"), add_post(session, "bob")
        hidden_id = add_post(session, "bob")
        living, tombstone = comment(session, post_id), comment(session, post_id)
        removed, on_locked = comment(session, post_id), comment(session, locked_id)
        on_hidden = comment(session, hidden_id)
        comments.soft_delete(tombstone, "ada")
        comments.remove(removed, "mod", moderating=True)
        lock(session, locked_id)
        posts.soft_delete(hidden_id, "bob")

        for key in (living, tombstone, on_locked):
            with pytest.raises(Forbidden, match="author"):
                comments.update(key, "eve", "Worse")
        for key in (tombstone, removed):
            with pytest.raises(Conflict, match="deleted"):
                comments.update(key, "ada", "Back")
        with pytest.raises(Forbidden, match="locked"):
            comments.update(on_locked, "ada", "Too late")
        for key in (on_hidden, uuid4()):
            with pytest.raises(NotFound):
                comments.update(key, "ada", "Nowhere")
        for content in (" ", "x" * 5_001, "\0"):
            with pytest.raises(Invalid):
                comments.update(living, "ada", content)
        lock_again = posts.lock(locked_id, "bob", locked=False)
        assert comments.update(on_locked, "ada", "In time").post_id == lock_again.id
        assert session.get_one(PostComment, living).content == "Text"

    run(organization, body)


def test_moderators_remove_comments(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        posts, comments = PostRepository(session), PostCommentRepository(session)
        group = add_group(session, privacy="secret", members=("ada", "member"), moderators=("mod",))
        add_group(session, moderators=("eve",))
        inside = posts.create(user_id="ada", content="Group", group_id=group).id
        outside = add_post(session, "ada")
        here, there = comment(session, inside), comment(session, outside)
        below = comment(session, inside, here)
        for actor in ("ada", "member"):
            with pytest.raises(Forbidden):
                comments.remove(here, actor)
        for actor in ("ada", "mod", "eve"):
            with pytest.raises(Forbidden):
                comments.remove(there, actor)
        for moderating in (True, False):
            with pytest.raises(NotFound):
                comments.remove(here, "eve", moderating=moderating)
            with pytest.raises(NotFound):
                comments.remove(uuid4(), "mod", moderating=moderating)
        assert comments.remove(here, "mod") is True
        assert comments.remove(here, "mod") is False
        assert comments.remove(here, "member", moderating=True) is False
        assert comments.soft_delete(here, "ada") is False
        with pytest.raises(Forbidden):
            comments.remove(here, "member")
        assert comments.remove(there, "eve", moderating=True) is True
        held = session.get_one(PostComment, here)
        session.expire_all()
        row = session.get_one(PostComment, here)
        assert (held is row, row.content, row.removed_by) == (True, None, "mod")
        assert (row.removed_at is not None, row.deleted_at) == (True, None)
        assert session.get_one(PostComment, below).content == "Text"
        assert counter(session, inside, "comments_count") == 1
        assert counter(session, outside, "comments_count") == 0

    run(organization, body)


def test_what_the_session_holds_follows_a_removal(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> PostComment:
        post_id = add_post(session)
        post = session.get_one(Post, post_id)
        held = session.get_one(PostComment, comment(session, post_id))
        PostCommentRepository(session).remove(held.id, "mod", moderating=True)
        assert post.comments_count == 0
        return held

    held = run(organization, body)
    assert (held.content, held.removed_by, held.is_tombstone) == (None, "mod", True)
    assert held.removed_at == held.updated_at


def test_a_comment_that_author_and_moderators_delete_at_once_counts_off_once(
    run: Runner, organization: Organization
) -> None:
    post_id = run(organization, add_post)

    def delete(session: Session, key: UUID) -> bool:
        return PostCommentRepository(session).soft_delete(key, "ada")

    def remove(session: Session, key: UUID) -> bool:
        return PostCommentRepository(session).remove(key, "mod", moderating=True)

    def change(session: Session, key: UUID) -> bool:
        with suppress(Conflict):
            PostCommentRepository(session).update(key, "ada", "Changed")
        return False

    def rows(session: Session) -> list[PostComment]:
        return list(session.scalars(select(PostComment)))

    for _ in range(3):
        keys = [run(organization, comment, post_id) for _ in range(4)]
        acts: list[Callable[[Session], bool]] = [
            partial(act, key=key)
            for _ in range(2)
            for act in (delete, remove, change)
            for key in keys
        ]
        assert sum(run.concurrently(organization, acts)) == len(keys)
        assert run(organization, counter, post_id, "comments_count") == 0
    for row in run(organization, rows):
        assert row.content is None
        assert (row.deleted_at is None) != (row.removed_at is None)
        assert (row.removed_by == "mod") == (row.removed_at is not None)


def spoil(session: Session, post_id: UUID, number: int) -> None:
    table: Any = Post.__table__
    session.execute(table.update().where(table.c.id == post_id).values(comments_count=number))


def test_a_recount_sets_the_true_number(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        comments, post_id, other = PostCommentRepository(session), *map(add_post, [session] * 2)
        first = comment(session, post_id)
        comment(session, post_id, first)
        comment(session, other)
        comments.soft_delete(first, "ada")
        comments.remove(comment(session, post_id), "mod", moderating=True)
        spoil(session, post_id, 17)
        held = PostRepository(session).get_visible(post_id, "ada")
        assert comments.recount(post_id) == held.comments_count == 1
        assert counter(session, post_id, "comments_count") == 1
        with pytest.raises(NotFound):
            comments.recount(uuid4())

    run(organization, body)


def test_a_recount_is_exact_while_comments_go_on(run: Runner, organization: Organization) -> None:
    post_id = run(organization, add_post)
    doomed = [run(organization, comment, post_id) for _ in range(6)]

    def write(session: Session) -> None:
        comment(session, post_id)
        session.execute(select(func.pg_sleep(0.01)))

    def delete(session: Session, key: UUID) -> None:
        PostCommentRepository(session).soft_delete(key, "ada")
        session.execute(select(func.pg_sleep(0.01)))

    def recount(session: Session) -> None:
        PostCommentRepository(session).recount(post_id)

    acts: list[Callable[[Session], None]] = [write, recount, write, recount, write]
    run.concurrently(organization, acts * 4 + [partial(delete, key=key) for key in doomed])
    assert run(organization, counter, post_id, "comments_count") == 12


@pytest.mark.parametrize("user_id", ["a\0b", "\ud800", ""])
def test_an_id_that_nobody_can_have(run: Runner, organization: Organization, user_id: str) -> None:
    def body(session: Session) -> None:
        comments, post_id = PostCommentRepository(session), add_post(session)
        key = comment(session, post_id)
        assert len(comments.list_tree(post_id, user_id).items) == 1
        assert comments.list_replies(key, user_id).items == ()
        for act in (
            comments.soft_delete,
            partial(comments.remove, moderating=True),
            partial(comments.update, content="x"),
        ):
            with pytest.raises(Invalid, match="user id"):
                act(key, user_id)

    run(organization, body)


def test_each_write_is_few_statements(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> dict[str, int]:
        comments, post_id = PostCommentRepository(session), add_post(session)
        first, second, third = (comment(session, post_id) for _ in range(3))
        acts: dict[str, Callable[[], object]] = {
            "create": partial(comment, session, post_id),
            "reply": partial(comment, session, post_id, first),
            "update": partial(comments.update, first, "ada", "Better"),
            "soft_delete": partial(comments.soft_delete, second, "ada"),
            "remove": partial(comments.remove, third, "mod", moderating=True),
            "recount": partial(comments.recount, post_id),
        }
        return {name: number_of_statements(session, act) for name, act in acts.items()}

    # One to write, one for the profile of the author, and a reply reads what it replies to.
    assert run(organization, body) == {
        "create": 2,
        "reply": 3,
        "update": 2,
        "soft_delete": 1,
        "remove": 1,
        "recount": 2,
    }
