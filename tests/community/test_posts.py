"""Posts: who may publish, see, change and delete them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.orm import Session

from orgtenancy import Organization
from orgtenancy.community import Post, PostRepository
from orgtenancy.errors import Conflict, Forbidden, Invalid, NotFound
from tests.community.seeds import add_group, add_person, add_post
from tests.community.statements import number_of_statements
from tests.support.runner import Runner


def test_a_post_is_complete_after_the_commit(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> Post:
        add_person(session, "ada")
        return PostRepository(session).create(
            user_id="ada",
            content="  Hello ",
            media=[{"url": "https://e.org/a.png", "alt": "A"}],
            tags=["#Math", "math"],
        )

    post = run(organization, body)
    assert (post.content, post.visibility, post.group_id) == ("Hello", "public", None)
    assert post.media == [{"url": "https://e.org/a.png", "alt": "A"}]
    assert post.tags == ["math"]
    assert (post.likes_count, post.comments_count, post.version) == (0, 0, 1)
    assert post.author is not None
    assert post.author.username == "ada"
    assert post.created_at == post.updated_at
    assert (post.pinned_at, post.locked_at, post.deleted_at) == (None, None, None)


def test_a_person_without_a_profile_can_post(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> Post:
        return PostRepository(session).get_visible(add_post(session, "ghost"), "viewer")

    assert run(organization, body).author is None


@pytest.mark.parametrize(
    "values",
    [
        {"content": ""},
        {"content": " \n "},
        {"content": "x" * 10_001},
        {"content": "a\0b"},
        {"content": "\ud800"},
        {"user_id": ""},
        {"visibility": "friends"},
        {"visibility": "group"},
        {"visibility": "public", "group_id": uuid4()},
        {"tags": ["x" * 51]},
        {"tags": [f"t{i}" for i in range(21)]},
        {"media": [{"url": "ftp://x"}]},
        {"media": [{"url": "https://x"}] * 11},
    ],
)
def test_bad_input_is_refused(
    run: Runner, organization: Organization, values: dict[str, Any]
) -> None:
    def body(session: Session) -> None:
        arguments: dict[str, Any] = {"user_id": "ada", "content": "Hello", **values}
        with pytest.raises(Invalid):
            PostRepository(session).create(**arguments)
        assert PostRepository(session).count() == 0

    run(organization, body)


def test_only_active_members_post_in_a_group(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        posts = PostRepository(session)
        open_group = add_group(session, members=("ada",), invited=("bob",))
        secret = add_group(session, privacy="secret", members=("ada",), invited=("bob",))
        archived = add_group(session, members=("ada",), archived=True)

        post = posts.create(user_id="ada", content="Hello", group_id=open_group)
        assert (post.visibility, post.group_id) == ("group", open_group)
        for user_id in ("bob", "eve"):
            with pytest.raises(Forbidden):
                posts.create(user_id=user_id, content="Hello", group_id=open_group)
        with pytest.raises(Forbidden):
            posts.create(user_id="bob", content="Hello", group_id=secret)
        with pytest.raises(NotFound):
            posts.create(user_id="eve", content="Hello", group_id=secret)
        with pytest.raises(NotFound):
            posts.create(user_id="ada", content="Hello", group_id=uuid4())
        with pytest.raises(Conflict, match="archived"):
            posts.create(user_id="ada", content="Hello", group_id=archived)

    run(organization, body)


def test_who_sees_a_post(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        posts = PostRepository(session)
        add_person(session, "gone", "deactivated")
        group = add_group(session, members=("ada", "member"), invited=("invited",))
        viewers = ("ada", "member", "invited", "eve", "gone")
        seen_by: dict[UUID, set[str]] = {
            posts.create(user_id="ada", content="public").id: {*viewers},
            posts.create(user_id="ada", content="own", visibility="private").id: {"ada"},
            posts.create(user_id="ada", content="group", group_id=group).id: {"ada", "member"},
            posts.create(user_id="gone", content="public").id: set(),
        }
        for post_id, seeing in seen_by.items():
            for viewer in viewers:
                if viewer in seeing:
                    assert posts.get_visible(post_id, viewer).id == post_id
                else:
                    with pytest.raises(NotFound):
                        posts.get_visible(post_id, viewer)
        with pytest.raises(NotFound):
            posts.get_visible(uuid4(), "ada")

    run(organization, body)


def test_an_update_changes_what_is_named_and_raises_the_version(
    run: Runner, organization: Organization
) -> None:
    def first(session: Session) -> Post:
        add_person(session, "ada")
        return PostRepository(session).create(user_id="ada", content="One", tags=["a"])

    def second(session: Session, before: Post) -> Post:
        return PostRepository(session).update(
            before.id, "ada", expected_version=before.version, content="Two"
        )

    before = run(organization, first)
    after = run(organization, second, before)
    assert (after.content, after.tags, after.version) == ("Two", ["a"], 2)
    assert after.updated_at > before.updated_at
    assert after.author is not None
    assert after.author.username == "ada"


def test_what_stands_in_the_way_of_an_update(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        posts = PostRepository(session)
        post_id = add_post(session, "ada")
        private = posts.create(user_id="ada", content="own", visibility="private").id
        posts.update(post_id, "ada", expected_version=1, content="Two")
        for version in (1, 3, 0, -1, 2**31, 2**70):
            with pytest.raises(Conflict, match="version 2"):
                posts.update(post_id, "ada", expected_version=version, content="Three")
        with pytest.raises(Forbidden):
            posts.update(post_id, "eve", expected_version=2, content="Three")
        with pytest.raises(NotFound):
            posts.update(private, "eve", expected_version=1, content="Three")
        with pytest.raises(NotFound):
            posts.update(uuid4(), "ada", expected_version=1, content="Three")
        bad: list[dict[str, Any]] = [{"content": ""}, {"likes_count": 9}, {"media": [{}]}]
        for changes in bad:
            with pytest.raises(Invalid):
                posts.update(post_id, "ada", expected_version=2, **changes)
        assert posts.get_visible(post_id, "ada").content == "Two"

    run(organization, body)


def test_of_edits_made_from_the_same_version_one_wins(
    run: Runner, organization: Organization
) -> None:
    def edit(session: Session, version: int, number: int) -> bool:
        try:
            PostRepository(session).update(
                post_id, "ada", expected_version=version, content=f"Edit {number}"
            )
        except Conflict:
            return False
        return True

    post_id = run(organization, add_post, "ada")
    for version in range(1, 6):
        won = run.concurrently(
            organization, [partial(edit, version=version, number=n) for n in range(8)]
        )
        assert sum(won) == 1
        post = run(organization, lambda s: PostRepository(s).get_visible(post_id, "ada"))
        assert (post.version, post.content) == (version + 1, f"Edit {won.index(True)}")


def test_a_deleted_post_is_gone_from_every_list(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        posts = PostRepository(session)
        post_id = add_post(session, "ada")
        with pytest.raises(Forbidden):
            posts.soft_delete(post_id, "eve")
        posts.soft_delete(post_id, "ada")
        assert posts.find_feed("ada").items == ()
        assert posts.find_by_author("ada", "ada").items == ()
        with pytest.raises(NotFound):
            posts.get_visible(post_id, "ada")
        with pytest.raises(NotFound):
            posts.soft_delete(post_id, "ada")
        with pytest.raises(NotFound):
            posts.update(post_id, "ada", expected_version=1, content="Back")
        row = session.get_one(Post, post_id, populate_existing=True)
        assert row.deleted_at is not None
        assert row.deleted_by == "ada"

    run(organization, body)


def test_moderators_delete_what_they_moderate(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        posts = PostRepository(session)
        group = add_group(session, members=("ada", "member"), moderators=("mod",))
        first, second = (
            posts.create(user_id="ada", content="In the group", group_id=group).id for _ in range(2)
        )
        elsewhere = add_post(session, "ada")
        with pytest.raises(Forbidden):
            posts.soft_delete(first, "member")
        with pytest.raises(Forbidden):
            posts.soft_delete(elsewhere, "mod")
        with pytest.raises(NotFound):
            posts.soft_delete(first, "eve", moderating=True)
        posts.soft_delete(first, "mod")
        posts.soft_delete(second, "member", moderating=True)
        posts.soft_delete(elsewhere, "eve", moderating=True)
        assert posts.find_feed("ada").items == ()

    run(organization, body)


def test_who_pins_and_locks(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        posts = PostRepository(session)
        group = add_group(session, privacy="secret", members=("ada", "member"), moderators=("mod",))
        add_group(session, moderators=("eve",))
        inside = posts.create(user_id="ada", content="Group", group_id=group).id
        outside = add_post(session, "ada")

        def outcome(act: Callable[[UUID, str], Post], post_id: UUID, actor: str) -> object:
            try:
                return act(post_id, actor).id == post_id
            except (Forbidden, NotFound) as e:
                return type(e)

        actors = ("ada", "member", "mod", "eve")
        for on in (True, False):
            pin, lock = partial(posts.pin, pinned=on), partial(posts.lock, locked=on)
            assert [outcome(pin, inside, a) for a in actors] == [
                Forbidden,
                Forbidden,
                True,
                NotFound,
            ]
            assert [outcome(pin, outside, a) for a in actors] == [Forbidden] * 4
            assert [outcome(lock, inside, a) for a in actors] == [True, Forbidden, True, NotFound]
            assert [outcome(lock, outside, a) for a in actors] == [True, *[Forbidden] * 3]
            for act in (partial(pin, moderating=True), partial(lock, moderating=True)):
                assert outcome(act, outside, "eve") is True
                assert outcome(act, inside, "member") is True
                assert outcome(act, inside, "eve") is NotFound
                assert outcome(act, uuid4(), "ada") is NotFound

    run(organization, body)


def test_a_pin_and_a_lock_are_set_once_and_are_no_edit(
    run: Runner, organization: Organization
) -> None:
    def write(session: Session) -> Post:
        add_person(session, "ada")
        return PostRepository(session).create(user_id="ada", content="Hello")

    def mark(session: Session, on: bool) -> Post:
        posts = PostRepository(session)
        posts.pin(first.id, "mod", pinned=on, moderating=True)
        return posts.lock(first.id, "ada", locked=on)

    first = run(organization, write)
    marked, again = run(organization, mark, True), run(organization, mark, True)
    assert marked.pinned_at is not None
    assert marked.locked_at is not None
    assert (again.pinned_at, again.locked_at) == (marked.pinned_at, marked.locked_at)
    for _ in range(2):
        post = run(organization, mark, False)
        assert (post.pinned_at, post.locked_at) == (None, None)
    assert (post.version, post.updated_at) == (1, first.updated_at)
    assert post.author is not None
    later = run(organization, mark, True)
    assert later.pinned_at is not None
    assert later.pinned_at > marked.pinned_at


def test_pins_at_the_same_time_keep_one_time(run: Runner, organization: Organization) -> None:
    post_id = run(organization, add_post)

    def pin(session: Session) -> object:
        return PostRepository(session).pin(post_id, "mod", moderating=True).pinned_at

    assert len(set(run.concurrently(organization, [pin] * 8))) == 1


@pytest.mark.parametrize("actor", ["", "x" * 256, "a\0b", "\ud800"])
def test_a_write_needs_a_real_actor(run: Runner, organization: Organization, actor: str) -> None:
    def body(session: Session) -> None:
        posts, post_id = PostRepository(session), add_post(session)
        for act in (
            partial(posts.update, expected_version=1, content="x"),
            partial(posts.soft_delete, moderating=True),
            partial(posts.pin, moderating=True),
            partial(posts.lock, moderating=True),
        ):
            with pytest.raises(Invalid, match="user id"):
                act(post_id, actor)

    run(organization, body)


def test_each_write_is_few_statements(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> dict[str, int]:
        posts, post_id = PostRepository(session), add_post(session)
        group = add_group(session, members=("author",))

        def create(group_id: UUID | None = None) -> Post:
            return posts.create(user_id="author", content="Hello", group_id=group_id)

        acts: dict[str, Callable[[], object]] = {
            "create": create,
            "create in a group": partial(create, group),
            "update": partial(posts.update, post_id, "author", expected_version=1, content="x"),
            "pin": partial(posts.pin, post_id, "author", moderating=True),
            "lock": partial(posts.lock, post_id, "author"),
            "get_visible": partial(posts.get_visible, post_id, "author"),
            "soft_delete": partial(posts.soft_delete, post_id, "author"),
        }
        return {name: number_of_statements(session, act) for name, act in acts.items()}

    # One to write, and one for the profile of the author, which no write can join.
    assert run(organization, body) == {
        "create": 2,
        "create in a group": 3,
        "update": 2,
        "pin": 2,
        "lock": 2,
        "get_visible": 1,
        "soft_delete": 1,
    }
