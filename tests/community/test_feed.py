"""The feed: everything visible, newest first, in pages, at a constant cost."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, inspect
from sqlalchemy.orm import Session

from orgtenancy import Organization
from orgtenancy.community import Post, PostRepository
from orgtenancy.errors import InvalidCursor
from orgtenancy.pagination import Page, PageRequest, encode_cursor
from tests.community.seeds import add_group, add_person, add_post
from tests.support.runner import Runner


def seed(session: Session) -> list[UUID]:
    """Write posts of every kind, and return those that `ada` sees, newest first."""
    posts = PostRepository(session)
    for person in ("ada", "bob", "cleo"):
        add_person(session, person)
    add_person(session, "gone", "deactivated")
    inside = add_group(session, members=("ada", "bob"))
    outside = add_group(session, members=("bob",), invited=("ada",))
    seen = []
    for number in range(30):
        seen.append(add_post(session, ("bob", "cleo", "ghost")[number % 3]))
        seen.append(posts.create(user_id="ada", content="own", visibility="private").id)
        seen.append(posts.create(user_id="bob", content="inside", group_id=inside).id)
        posts.create(user_id="bob", content="outside", group_id=outside)
        posts.create(user_id="bob", content="private", visibility="private")
        add_post(session, "gone")
        deleted = add_post(session, "bob")
        posts.soft_delete(deleted, "bob")
    return seen[::-1]


def test_the_pages_joined_are_the_whole_feed_in_order(
    run: Runner, organization: Organization
) -> None:
    expected = run(organization, seed)

    def pages(session: Session, limits: list[int]) -> list[UUID]:
        found, cursor = [], None
        for limit in limits + [100] * len(expected):
            page = PostRepository(session).find_feed("ada", PageRequest(limit=limit, cursor=cursor))
            found += [post.id for post in page.items]
            cursor = page.next_cursor
            if cursor is None:
                return found
            assert len(page.items) == limit
        raise AssertionError("the feed never ends")

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.integers(1, 100), max_size=10))
    def check(limits: list[int]) -> None:
        assert run(organization, pages, limits) == expected

    check()


def test_a_post_written_meanwhile_moves_no_page(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        written = [add_post(session) for _ in range(4)]
        posts = PostRepository(session)
        first = posts.find_feed("ada", PageRequest(limit=2))
        add_post(session)
        second = posts.find_feed("ada", PageRequest(limit=2, cursor=first.next_cursor))
        assert [p.id for p in (*first.items, *second.items)] == written[::-1]
        assert second.next_cursor is None

    run(organization, body)


def test_a_cursor_of_another_list_is_refused(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        for _ in range(3):
            add_post(session)
        posts = PostRepository(session)
        other = posts.find_by_author("author", "ada", PageRequest(limit=1))
        for cursor in (other.next_cursor, "x", "AAAA"):
            with pytest.raises(InvalidCursor):
                posts.find_feed("ada", PageRequest(cursor=cursor))

    run(organization, body)


def test_a_feed_of_any_length_is_one_statement_with_everything_loaded(
    run: Runner, organization: Organization
) -> None:
    run(organization, seed)

    def body(session: Session) -> tuple[int, Page[Post]]:
        statements: list[object] = []
        event.listen(session, "do_orm_execute", statements.append)
        page = PostRepository(session).find_feed("ada", PageRequest(limit=90))
        return len(statements), page

    number, page = run(organization, body)
    assert number == 1
    for post in page.items:
        assert inspect(post).unloaded == set()
        assert (post.author is None) == (post.user_id == "ghost")


def test_the_feed_reads_what_the_database_says_now(run: Runner, organization: Organization) -> None:
    run(organization, add_post, "ada")

    def body(session: Session) -> int:
        held = PostRepository(session).find_feed("ada").items
        table = Post.__table__
        session.connection().execute(table.update().values(likes_count=7))  # type: ignore[attr-defined]
        PostRepository(session).find_feed("ada")
        return held[0].likes_count

    assert run(organization, body) == 7


def test_an_author_page_holds_what_the_viewer_sees(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        seed(session)
        posts = PostRepository(session)
        mine = posts.find_by_author("ada", "ada", PageRequest(limit=100)).items
        assert len(mine) == 30
        assert posts.find_by_author("ada", "bob").items == ()
        theirs = posts.find_by_author("bob", "ada", PageRequest(limit=100)).items
        assert {p.content for p in theirs} == {"inside", "Hello"}
        assert [p.id for p in theirs] == sorted((p.id for p in theirs), reverse=True)

    run(organization, body)


@pytest.mark.parametrize("value", ["text", 1, None, datetime.now(UTC)])
def test_a_forged_cursor_does_not_reach_the_database(
    run: Runner, organization: Organization, value: object
) -> None:
    page = PageRequest(cursor=encode_cursor("feed", [value]))
    with pytest.raises(InvalidCursor):
        run(organization, lambda s: PostRepository(s).find_feed("ann", page))
