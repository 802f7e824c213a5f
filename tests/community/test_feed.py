"""The feed: everything visible, newest first, in pages, at a constant cost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, insert, inspect
from sqlalchemy.orm import Session

from orgtenancy import Organization, embedded
from orgtenancy.community import GroupMember, Post, PostRepository
from orgtenancy.errors import DomainError, Forbidden, Invalid, InvalidCursor, NotFound
from orgtenancy.pagination import Page, PageRequest, encode_cursor
from tests.community.seeds import Privacy, add_group, add_person, add_post
from tests.community.statements import analyze, number_of_statements, plan
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


def test_a_group_is_read_by_its_active_members(run: Runner, organization: Organization) -> None:
    cases: list[tuple[Privacy, type[DomainError]]]
    cases = [("public", Forbidden), ("private", Forbidden), ("secret", NotFound)]

    def body(session: Session) -> None:
        posts = PostRepository(session)
        for privacy, outside in cases:
            group = add_group(session, privacy=privacy, members=("ada", "bob"), invited=("cleo",))
            add_group(session, privacy=privacy, members=("eve",))
            with pytest.raises(Forbidden):
                posts.find_by_group(group, "cleo")
            assert posts.find_by_group(group, "bob").items == ()
            keys = [
                posts.create(user_id="ada", content="Text", group_id=group).id for _ in range(3)
            ]
            posts.soft_delete(keys.pop(), "ada")
            add_post(session, "ada")
            for member in ("ada", "bob"):
                assert [p.id for p in posts.find_by_group(group, member).items] == keys[::-1]
            with pytest.raises(outside):
                posts.find_by_group(group, "eve")
            with pytest.raises(Forbidden):
                posts.find_by_group(group, "cleo")
        with pytest.raises(NotFound):
            posts.find_by_group(uuid4(), "ada")

    run(organization, body)


def test_who_left_a_group_reads_it_no_more(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        posts, group = PostRepository(session), add_group(session, members=("ada",))
        own = posts.create(user_id="ada", content="Text", group_id=group).id
        posts.pin(own, "ada", moderating=True)
        session.delete(session.get_one(GroupMember, (group, "ada")))
        assert posts.get_visible(own, "ada").id == own  # an author always sees it
        with pytest.raises(Forbidden):
            posts.find_by_group(group, "ada")
        with pytest.raises(Forbidden):
            posts.find_pinned("ada", group_id=group)

    run(organization, body)


def test_a_tag_is_found_however_it_is_written(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        posts = PostRepository(session)
        first = posts.create(user_id="bob", content="One", tags=["Math", "b"]).id
        posts.create(user_id="bob", content="Two", tags=["maths"])
        posts.create(user_id="bob", content="Three", tags=["math"], visibility="private")
        last = posts.create(user_id="ada", content="Four", tags=["#MATH"], visibility="private").id
        for tag in ("math", " #Math ", "MATH"):
            assert [p.id for p in posts.find_by_tag(tag, "ada").items] == [last, first]
        assert posts.find_by_tag("a'); --", "ada").items == ()
        for tag in ("", "#", "x" * 51, "a\0", "\ud800"):
            with pytest.raises(Invalid):
                posts.find_by_tag(tag, "ada")

    run(organization, body)


def test_pinned_posts_are_of_a_group_or_of_none(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        posts = PostRepository(session)
        group = add_group(session, privacy="private", members=("ada",), moderators=("mod",))
        inside, outside, private, deleted = (
            posts.create(user_id="ada", content="Group", group_id=group).id,
            add_post(session, "ada"),
            posts.create(user_id="ada", content="Own", visibility="private").id,
            add_post(session, "ada"),
        )
        for key in (inside, outside, private, deleted):
            posts.pin(key, "ada", moderating=True)
        posts.soft_delete(deleted, "ada")
        posts.create(user_id="ada", content="Not pinned", group_id=group)
        assert [p.id for p in posts.find_pinned("ada").items] == [private, outside]
        assert [p.id for p in posts.find_pinned("eve").items] == [outside]
        assert [p.id for p in posts.find_pinned("mod", group_id=group).items] == [inside]
        with pytest.raises(Forbidden):
            posts.find_pinned("eve", group_id=group)
        with pytest.raises(NotFound):
            posts.find_pinned("eve", group_id=uuid4())
        page = posts.find_pinned("ada", PageRequest(limit=1))
        rest = posts.find_pinned("ada", PageRequest(cursor=page.next_cursor))
        assert [p.id for p in rest.items] == [outside]
        with pytest.raises(InvalidCursor):
            posts.find_pinned("mod", PageRequest(cursor=page.next_cursor), group_id=group)
        posts.pin(inside, "mod", pinned=False)
        assert posts.find_pinned("mod", group_id=group).items == ()

    run(organization, body)


def every_list(session: Session, group: UUID) -> list[Callable[[str, PageRequest], Page[Post]]]:
    posts = PostRepository(session)

    def pinned_in_group(viewer: str, page: PageRequest) -> Page[Post]:
        return posts.find_pinned(viewer, page, group_id=group)

    return [
        posts.find_feed,
        posts.find_pinned,
        pinned_in_group,
        partial(posts.find_by_author, "ada"),
        partial(posts.find_by_group, group),
        partial(posts.find_by_tag, "a"),
        partial(posts.search, "hello"),
    ]


def test_a_page_of_every_list_is_one_statement(run: Runner, organization: Organization) -> None:
    def write(session: Session) -> UUID:
        posts, group = PostRepository(session), add_group(session, members=("ada",))
        for number in range(21):
            add_person(session, f"p{number}")
            for group_id in (group, None):
                key = posts.create(user_id="ada", content="Hello", tags=["a"], group_id=group_id).id
                posts.pin(key, "ada", moderating=True)
        return group

    def read(session: Session, limit: int) -> None:
        page = PageRequest(limit=limit)
        for read in every_list(session, group):
            assert len(read("ada", page).items) == limit
            assert number_of_statements(session, partial(read, "ada", page)) == 1

    group = run(organization, write)
    for limit in (1, 20):
        run(organization, read, limit)


@pytest.mark.parametrize("viewer", ["", "a\0", "\ud800"])
def test_an_id_that_nobody_can_have_sees_what_everybody_sees(
    run: Runner, organization: Organization, viewer: str
) -> None:
    def body(session: Session) -> None:
        posts, page = PostRepository(session), PageRequest()
        group = add_group(session, members=("ada",))
        key = posts.create(user_id="ada", content="Hello", tags=["a"]).id
        posts.create(user_id="ada", content="Hello", tags=["a"], group_id=group)
        feed, pinned, *of_group, author, by_group, tag, search = every_list(session, group)
        for read in (feed, author, tag, search):
            assert [post.id for post in read(viewer, page).items] == [key]
        assert pinned(viewer, page).items == posts.find_by_author(viewer, "ada").items == ()
        for read in (*of_group, by_group):
            with pytest.raises(Forbidden):
                read(viewer, page)
        assert posts.get_visible(key, viewer).id == key

    run(organization, body)


def test_the_lists_have_their_indexes(
    run: Runner, organization: Organization, server: embedded.EmbeddedServer
) -> None:
    def write(session: Session) -> UUID:
        group = add_group(session, members=("ada",))
        rows = [{"user_id": "ada", "content": "Hello", "tags": [f"t{n}"]} for n in range(3_000)]
        session.execute(insert(Post), rows)
        inside = {"user_id": "ada", "content": "Hello", "group_id": group, "visibility": "group"}
        session.execute(insert(Post), [inside] * 300)
        posts = PostRepository(session)
        for group_id in (group, None):
            key = posts.create(user_id="ada", content="Hello", group_id=group_id).id
            posts.pin(key, "ada", moderating=True)
        return group

    def read(session: Session) -> None:
        posts = PostRepository(session)
        assert "ix_posts_tags" in plan(session, partial(posts.find_by_tag, "t7", "ada"))
        assert "ix_posts_group" in plan(session, partial(posts.find_by_group, group, "ada"))
        for group_id in (group, None):
            pinned = partial(posts.find_pinned, "ada", group_id=group_id)
            assert "ix_posts_pinned" in plan(session, pinned)

    group = run(organization, write)
    analyze(server, organization, ["posts"])
    run(organization, read)
