"""Search: what is typed finds what it should, never fails, and never shows too much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from sqlalchemy import ColumnElement, insert
from sqlalchemy.orm import Session

from orgtenancy import Organization, Tenancy, embedded
from orgtenancy.community import (
    CommunitySettings,
    Post,
    PostRepository,
    UserProfile,
    UserProfileRepository,
    community,
)
from orgtenancy.community.search import MAX_QUERY_LENGTH, begins, words
from orgtenancy.errors import Invalid, InvalidCursor
from orgtenancy.pagination import PageRequest
from tests.community.seeds import add_group, add_person, add_post
from tests.community.statements import analyze, number_of_statements, plan
from tests.support.notes import notes
from tests.support.runner import Runner

REFUSED = ["", "  ", "x" * (MAX_QUERY_LENGTH + 1), "a\0b", "\ud800"]
ALL = PageRequest(limit=100)


@pytest.fixture
def german_organization(
    server: embedded.EmbeddedServer, tenancy: Tenancy
) -> Iterator[Organization]:
    """A fresh organization that is searched in German."""
    german = community.with_settings(CommunitySettings(search_language="german"))
    other = Tenancy(server.url, admin_url=server.admin_url, modules=[german, notes])
    yield other.schemas.provision(f"t{uuid4().hex[:12]}")
    other.close()


def found(session: Session, query: str, viewer: str = "ada") -> set[str]:
    page = PostRepository(session).search(query, viewer, ALL)
    return {post.content for post in page.items}


def test_a_post_is_found_by_its_words_in_any_inflection(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        for content in ("The ships are sailing", "A boat sailed home", "Home, at last"):
            add_post(session, content=content)
        assert found(session, "SHIP sail") == {"The ships are sailing"}
        assert found(session, "sails") == {"The ships are sailing", "A boat sailed home"}
        assert found(session, '"sailed home"') == {"A boat sailed home"}
        assert found(session, '"home sailed"') == set()
        assert found(session, "ships or last") == {"The ships are sailing", "Home, at last"}
        assert found(session, "home -boat") == {"Home, at last"}
        assert found(session, "the") == set()  # a stop word

    run(organization, body)


def test_the_language_is_the_organizations(
    run: Runner, organization: Organization, german_organization: Organization
) -> None:
    def body(session: Session) -> set[str]:
        add_post(session, content="Das Haus am Fluss")
        return found(session, "den Häusern")

    assert run(german_organization, body) == {"Das Haus am Fluss"}
    assert run(organization, body) == set()


def test_an_edit_is_searched_at_once(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        post_id = add_post(session, "ada", "Ships")
        PostRepository(session).update(post_id, "ada", expected_version=1, content="Boats")
        assert found(session, "ship") == set()
        assert found(session, "boat") == {"Boats"}

    run(organization, body)


@pytest.mark.parametrize("query", REFUSED)
def test_a_query_without_content_is_refused(
    run: Runner, organization: Organization, query: str
) -> None:
    def body(session: Session) -> None:
        with pytest.raises(Invalid):
            PostRepository(session).search(query, "ada")
        with pytest.raises(Invalid):
            UserProfileRepository(session).search(query)

    run(organization, body)


def seed(session: Session) -> None:
    """Write posts of the same words of every kind."""
    posts = PostRepository(session)
    add_person(session, "gone", "deactivated")
    inside = add_group(session, members=("ada", "bob"))
    outside = add_group(session, privacy="secret", members=("bob",))
    for content in ("red ship", "blue ship or boat", "a b c"):
        add_post(session, "bob", content)
        add_post(session, "gone", content)
        posts.create(user_id="bob", content=content, visibility="private")
        posts.create(user_id="bob", content=content, group_id=inside)
        posts.create(user_id="bob", content=content, group_id=outside)
        posts.soft_delete(add_post(session, "bob", content), "bob")


# Words, the operators of PostgreSQL's query languages, and what is in no language.
operators = ("or", "OR", '"', "'", "''", "-", "!", "&", "|", "<->", "<2>", ":*", ":A", "(", ")")
others = ("ship", "red", "a", "\\", "%", "%s", "%(x)s", ":x", "$1", "--", ";", "é", "🦊", "\ufffe")
pieces = st.sampled_from(operators + others)
queries = st.one_of(st.lists(pieces, max_size=12).map(" ".join), st.lists(pieces).map("".join))
queries |= st.text(st.characters(exclude_categories=()), max_size=40)


def test_no_query_fails_or_finds_what_is_invisible(run: Runner, organization: Organization) -> None:
    run(organization, seed)

    def visible(session: Session) -> set[UUID]:
        return {post.id for post in PostRepository(session).find_feed("ada", ALL).items}

    seen = run(organization, visible)
    assert len(seen) == 6

    def search(session: Session, query: str) -> set[UUID]:
        try:
            return {p.id for p in PostRepository(session).search(query, "ada", ALL).items}
        except Invalid:
            return set()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(queries)
    def check(query: str) -> None:
        assert run(organization, search, query) <= seen

    check()
    assert len(run(organization, search, "ship")) == 4
    assert run(organization, search, "-ship") == run(organization, search, "-red -blue")


def test_the_pages_of_a_search_joined_are_all_that_is_found(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        expected = [add_post(session, content=f"ship {n}") for n in range(5)][::-1]
        posts, keys, cursor = PostRepository(session), [], None
        while True:
            page = posts.search("ships", "ada", PageRequest(limit=2, cursor=cursor))
            keys += [post.id for post in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert keys == expected
        other = posts.find_feed("ada", PageRequest(limit=1)).next_cursor
        with pytest.raises(InvalidCursor):
            posts.search("ships", "ada", PageRequest(cursor=other))

    run(organization, body)


def test_a_search_is_one_statement_that_its_index_serves(
    run: Runner, organization: Organization, server: embedded.EmbeddedServer
) -> None:
    def write(session: Session) -> None:
        ids = [*(f"boat-{n}" for n in range(2_000)), *(f"ship-{n}" for n in range(25)), "yacht"]
        session.execute(insert(UserProfile), [{"user_id": i, "username": i} for i in ids])
        session.execute(insert(Post), [{"user_id": i, "content": i} for i in ids])

    def read(session: Session) -> None:
        posts, people = PostRepository(session), UserProfileRepository(session)
        for page in (PageRequest(limit=1), PageRequest(limit=20)):
            for search in (partial(posts.search, "ship", "ada"), partial(people.search, "ship")):
                assert len(search(page).items) == page.limit
                assert number_of_statements(session, partial(search, page)) == 1
        assert "ix_posts_search" in plan(session, partial(posts.search, "yacht", "ada"))
        assert "ix_user_profiles_search" in plan(session, partial(people.search, "yacht"))

    run(organization, write)
    analyze(server, organization, ["posts", "user_profiles"])
    run(organization, read)


def named(session: Session, query: str) -> list[str]:
    return [p.username for p in UserProfileRepository(session).search(query, ALL).items]


def test_people_are_found_by_the_beginnings_of_their_names(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        for username, name in {
            "ada.lovelace": "Countess Ada King-Noël",
            "grace": "Grace Hopper",
            "Adam": None,
            "gone": "Ada Gone",
            "lost": "Ada Lost",
        }.items():
            session.add(UserProfile(user_id=username, username=username, display_name=name))
        session.flush()
        UserProfileRepository(session).deactivate("gone")
        UserProfileRepository(session).anonymize("lost")
        assert named(session, "ada") == ["Adam", "ada.lovelace"]
        assert named(session, "ADA love") == ["ada.lovelace"]
        assert named(session, "noë count") == ["ada.lovelace"]
        assert named(session, "ada.lovelace") == ["ada.lovelace"]
        assert named(session, "king-noël") == ["ada.lovelace"]
        assert named(session, "love hop") == []
        assert named(session, "velace") == []
        assert named(session, "the former") == []

    run(organization, body)


@pytest.mark.parametrize("query", ["-", "' & !", "🦊", ":*", "\\"])
def test_a_search_for_people_needs_a_word(
    run: Runner, organization: Organization, query: str
) -> None:
    with pytest.raises(Invalid, match="word"):
        run(organization, lambda session: UserProfileRepository(session).search(query))


def test_no_search_for_people_fails(run: Runner, organization: Organization) -> None:
    def search(session: Session, query: str) -> None:
        with suppress(Invalid):
            UserProfileRepository(session).search(query)

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(queries)
    def check(query: str) -> None:
        run(organization, search, query)

    check()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("Ada", "'Ada':*"),
        ("ada.king  noël", "'ada':* & 'king':* & 'noël':*"),
        ("o'neil\\", "'o':* & 'neil':*"),
        ("a\u2003b « c:*|!d", "'a\u2003b':* & 'c':* & 'd':*"),
    ],
)
def test_each_word_is_quoted_whatever_the_server_takes_for_a_blank(query: str, words: str) -> None:
    column: ColumnElement[str] = UserProfile.__table__.c.search
    assert list(begins(column, query).compile().params.values()) == [words]


# Left out is what PostgreSQL's parser takes for a part of a word, a tag or an entity, and
# the blanks beyond ASCII, which are letters to a server of the locale C; and signs such as
# '²', which are digits to Python, and to some servers no part of a word.
names = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Z", "No"], include_characters=" \n"),
    max_size=60,
)


def test_every_beginning_of_every_word_of_a_name_finds_the_person(
    run: Runner, organization: Organization
) -> None:
    run(organization, add_person, "somebody")

    def search(session: Session, name: str, beginning: str) -> list[str]:
        UserProfileRepository(session).update("somebody", display_name=name)
        return named(session, beginning)

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(names, st.data())
    def check(name: str, data: st.DataObject) -> None:
        known = words(name)
        assume(known)
        word = data.draw(st.sampled_from(known))
        beginning = word[: data.draw(st.integers(1, len(word)))]
        assume(words(beginning))
        assert run(organization, search, name, beginning) == ["somebody"]

    check()
