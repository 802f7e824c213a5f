"""Likes: idempotent, and counted exactly."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from orgtenancy import Organization
from orgtenancy.community import Post, PostLike, PostLikeRepository, PostRepository
from orgtenancy.errors import Invalid, NotFound
from orgtenancy.pagination import PageRequest
from tests.community.seeds import add_person, add_post, counter
from tests.community.statements import number_of_statements
from tests.support.runner import Runner


def test_liking_twice_counts_once_and_says_so(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        likes, post_id = PostLikeRepository(session), add_post(session)
        post = PostRepository(session).get_visible(post_id, "ada")
        assert likes.like(post_id, "ada") is True
        assert likes.like(post_id, "ada") is False
        assert likes.like(post_id, "bob") is True
        assert post.likes_count == counter(session, post_id, "likes_count") == 2
        assert likes.unlike(post_id, "ada") is True
        assert likes.unlike(post_id, "ada") is False
        assert post.likes_count == counter(session, post_id, "likes_count") == 1
        assert likes.like(post_id, "ada") is True
        assert counter(session, post_id, "likes_count") == 2

    run(organization, body)


def test_only_what_is_visible_can_be_liked(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        likes, posts = PostLikeRepository(session), PostRepository(session)
        private = posts.create(user_id="ada", content="own", visibility="private").id
        deleted = add_post(session)
        posts.soft_delete(deleted, "author")
        for post_id in (private, deleted, uuid4()):
            for act in (likes.like, likes.unlike, likes.list_likers):
                with pytest.raises(NotFound):
                    act(post_id, "eve")
        with pytest.raises(Invalid):
            likes.like(private, "")
        assert likes.like(private, "ada")
        assert session.scalar(select(func.count()).select_from(PostLike)) == 1

    run(organization, body)


def test_which_of_some_posts_a_person_likes(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        likes = PostLikeRepository(session)
        first, second, third = (add_post(session) for _ in range(3))
        likes.like(first, "ada")
        likes.like(third, "ada")
        likes.like(second, "bob")
        assert likes.liked_ids("ada", [first, second, uuid4()]) == {first}
        assert likes.liked_ids("ada", iter([first, third, first])) == {first, third}
        assert likes.liked_ids("ada", []) == frozenset()

    run(organization, body)


def test_likers_are_listed_newest_first_with_their_profiles(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> UUID:
        post_id = add_post(session)
        for number in range(7):  # one transaction: they share a created_at
            add_person(session, f"p{number}")
            PostLikeRepository(session).like(post_id, f"p{number}")
        return post_id

    def later(session: Session) -> None:
        PostLikeRepository(session).like(post_id, "ghost")

    def pages(session: Session) -> list[tuple[str, str | None]]:
        found: list[tuple[str, str | None]] = []
        request = PageRequest(limit=3)
        while True:
            page = PostLikeRepository(session).list_likers(post_id, "ada", request)
            found += [
                (like.user_id, like.user.username if like.user else None) for like in page.items
            ]
            if page.next_cursor is None:
                return found
            request = PageRequest(limit=3, cursor=page.next_cursor)

    post_id = run(organization, body)
    run(organization, later)
    assert run(organization, pages) == [
        ("ghost", None),
        *((f"p{n}", f"p{n}") for n in range(6, -1, -1)),
    ]


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))]
)
def test_the_counter_is_exact_under_32_likes_and_unlikes_at_once(
    run: Runner, organization: Organization, seed: int
) -> None:
    random = Random(seed)
    people = [f"p{n}" for n in range(12)]

    def start(session: Session) -> UUID:
        post_id = add_post(session)
        for person in people[::2]:
            PostLikeRepository(session).like(post_id, person)
        return post_id

    post_id = run(organization, start)

    def act(session: Session, person: str, like: bool) -> int:
        likes = PostLikeRepository(session)
        if like:
            return int(likes.like(post_id, person))
        return -int(likes.unlike(post_id, person))

    def state(session: Session) -> tuple[int, int]:
        rows = session.scalar(select(func.count()).select_from(PostLike)) or 0
        return counter(session, post_id, "likes_count"), rows

    expected = len(people[::2])
    for _ in range(3):
        actions = [(random.choice(people), random.random() < 0.5) for _ in range(32)]
        changes = run.concurrently(
            organization, [partial(act, person=person, like=like) for person, like in actions]
        )
        expected += sum(changes)
        assert run(organization, state) == (expected, expected)


def test_the_same_like_at_once_changes_one_thing(run: Runner, organization: Organization) -> None:
    post_id = run(organization, add_post)

    def like(session: Session) -> bool:
        return PostLikeRepository(session).like(post_id, "ada")

    def unlike(session: Session) -> bool:
        return PostLikeRepository(session).unlike(post_id, "ada")

    assert sum(run.concurrently(organization, [like] * 16)) == 1
    assert run(organization, counter, post_id, "likes_count") == 1
    assert sum(run.concurrently(organization, [unlike] * 16)) == 1
    assert run(organization, counter, post_id, "likes_count") == 0


def spoil(session: Session, post_id: UUID, number: int) -> None:
    table: Any = Post.__table__
    session.execute(table.update().where(table.c.id == post_id).values(likes_count=number))


def test_a_recount_sets_the_true_number(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        likes, post_id, other = PostLikeRepository(session), add_post(session), add_post(session)
        for person in ("ada", "bob"):
            likes.like(post_id, person)
        likes.like(other, "ada")
        spoil(session, post_id, 17)
        held = PostRepository(session).get_visible(post_id, "ada")
        assert likes.recount(post_id) == held.likes_count == 2
        assert counter(session, post_id, "likes_count") == 2
        session.add(PostLike(post_id=other, user_id="eve"))  # not flushed yet
        assert likes.recount(other) == 2
        with pytest.raises(NotFound):
            likes.recount(uuid4())

    run(organization, body)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))]
)
def test_a_recount_is_exact_while_likes_go_on(
    run: Runner, organization: Organization, seed: int
) -> None:
    random = Random(seed)
    people = [f"p{n}" for n in range(8)]
    post_id = run(organization, add_post)

    def act(session: Session, person: str) -> None:
        likes = PostLikeRepository(session)
        if not likes.like(post_id, person):
            likes.unlike(post_id, person)
        session.execute(select(func.pg_sleep(random.random() / 50)))

    def recount(session: Session) -> None:
        PostLikeRepository(session).recount(post_id)
        session.execute(select(func.pg_sleep(random.random() / 50)))

    def state(session: Session) -> tuple[int, int]:
        rows = session.scalar(select(func.count()).select_from(PostLike)) or 0
        return counter(session, post_id, "likes_count"), rows

    for _ in range(3):
        actions: list[Callable[[Session], None]] = [recount] * 6
        actions += [partial(act, person=random.choice(people)) for _ in range(18)]
        random.shuffle(actions)
        run.concurrently(organization, actions)
        count, rows = run(organization, state)
        assert count == rows


@pytest.mark.slow
def test_a_recount_waits_for_a_like_that_is_being_made(
    run: Runner, organization: Organization
) -> None:
    post_id = run(organization, add_post)
    for number in range(1, 4):

        def like(session: Session, number: int = number) -> int:
            PostLikeRepository(session).like(post_id, f"p{number}")
            session.execute(select(func.pg_sleep(0.3)))
            return number

        def recount(session: Session) -> int:
            session.execute(select(func.pg_sleep(0.1)))  # the like began, and is not committed
            return PostLikeRepository(session).recount(post_id)

        run.concurrently(organization, [like, recount])
        assert run(organization, counter, post_id, "likes_count") == number


@pytest.mark.parametrize("user_id", ["a\0b", "\ud800", ""])
def test_an_id_that_nobody_can_have(run: Runner, organization: Organization, user_id: str) -> None:
    def body(session: Session) -> None:
        likes, post_id = PostLikeRepository(session), add_post(session, "ada")
        private = PostRepository(session).create(user_id="ada", content="own", visibility="private")
        likes.like(post_id, "ada")
        assert likes.liked_ids(user_id, [post_id]) == frozenset()
        assert len(likes.list_likers(post_id, user_id).items) == 1
        with pytest.raises(NotFound):
            likes.list_likers(private.id, user_id)
        for act in (likes.like, likes.unlike):
            with pytest.raises(Invalid):
                act(post_id, user_id)

    run(organization, body)


def test_likes_are_few_statements(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        likes, post_id = PostLikeRepository(session), add_post(session)
        people = [f"p{n}" for n in range(21)]
        for person in people:
            assert number_of_statements(session, partial(likes.like, post_id, person)) == 1
        for limit in (1, 20):
            read = partial(likes.list_likers, post_id, "ada", PageRequest(limit=limit))
            assert number_of_statements(session, read) == 2
        assert number_of_statements(session, partial(likes.unlike, post_id, "p0")) == 1
        assert number_of_statements(session, partial(likes.liked_ids, "p1", [post_id] * 9)) == 1
        assert number_of_statements(session, partial(likes.recount, post_id)) == 2

    run(organization, body)
