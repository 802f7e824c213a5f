"""Groups: founded, found by those who may know of them, changed, and closed."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from functools import partial
from itertools import pairwise, product
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, inspect, select
from sqlalchemy.orm import Session

from orgtenancy import Organization, Tenancy
from orgtenancy.community import Group, slugs
from orgtenancy.community.groups import AsyncGroupRepository, GroupRepository
from orgtenancy.community.members import GroupMemberRepository
from orgtenancy.errors import Conflict, DomainError, Forbidden, Invalid, InvalidCursor, NotFound
from orgtenancy.pagination import Page, PageRequest
from tests.community.circles import KINDS, ROLES, circle, counted, kinds
from tests.support.runner import Runner

EVERYBODY = {kind: kind for kind in KINDS}


def found(session: Session, name: str, **values: Any) -> Group:
    return GroupRepository(session).create(**{"creator_id": "ada", "name": name, **values})


def names(page: Page[Group]) -> list[str]:
    return [group.name for group in page.items]


def test_a_group_is_complete_after_the_commit(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> Group:
        return found(
            session,
            "  Cave Explorers ",
            slug="Caves",
            description="Below the hills",
            privacy="private",
            category="Outdoors",
            rules=" ",
        )

    group = run(organization, body)
    assert (group.name, group.slug, group.privacy) == ("Cave Explorers", "Caves", "private")
    assert (group.description, group.category, group.rules) == (
        "Below the hills",
        "Outdoors",
        None,
    )
    assert (group.owner_id, group.member_count, group.archived_at) == ("ada", 1, None)
    assert group.created_at == group.updated_at
    assert inspect(group).unloaded == set()
    assert run(organization, kinds, group.id) == {"ada": "owner"}


@pytest.mark.parametrize(
    "values",
    [
        {"name": " "},
        {"name": "x" * 121},
        {"name": "a\0"},
        {"name": None},
        {"creator_id": ""},
        {"creator_id": "a\0"},
        {"slug": ""},
        {"slug": "a b"},
        {"slug": "-a"},
        {"slug": "höhle"},
        {"slug": "x" * 81},
        {"slug": "a\n"},
        {"privacy": "hidden"},
        {"privacy": None},
        {"description": "x" * 5_001},
        {"rules": "x" * 10_001},
        {"category": "x" * 61},
        {"category": 7},
    ],
)
def test_bad_input_is_refused(
    run: Runner, organization: Organization, values: dict[str, Any]
) -> None:
    def body(session: Session) -> None:
        with counted(session) as statements:
            with pytest.raises(Invalid):
                found(session, **{"name": "Caves", **values})
            if "creator_id" not in values:
                with pytest.raises(Invalid):
                    GroupRepository(session).update(uuid4(), "ada", **values)
        assert statements == []

    run(organization, body)


def test_a_taken_slug_is_a_conflict_and_the_transaction_goes_on(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        groups = GroupRepository(session)
        first = found(session, "First", slug="caves")
        second = found(session, "Second", slug="hills")
        held = second.slug
        with pytest.raises(Conflict, match="taken"):
            found(session, "Third", slug="CAVES")
        with pytest.raises(Conflict, match="taken"):
            groups.update(second.id, "ada", slug="Caves", name="Lost")
        assert (second.slug, second.name) == (held, "Second")
        assert groups.update(first.id, "ada", slug="CAVES").slug == "CAVES"
        assert groups.update(second.id, "ada", slug="mountains") is second

    def stored(session: Session) -> dict[str, str]:
        return {group.slug: group.name for group in session.scalars(select(Group))}

    run(organization, body)
    assert run(organization, stored) == {"CAVES": "First", "mountains": "Second"}


def test_a_slug_made_from_a_taken_name_gets_a_suffix(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> list[str]:
        return [found(session, name).slug for name in ("Höhlen & Co.", "hohlen co", "王", "!" * 9)]

    first, second, third, fourth = run(organization, body)
    assert (first, third) == ("hohlen-co", "group")
    assert second.startswith("hohlen-co-")
    assert fourth.startswith("group-")


@given(st.text(st.characters(exclude_categories=()), max_size=200))
def test_every_name_makes_distinct_slugs(name: str) -> None:
    made = list(slugs.made_from(name))
    assert len({slug.lower() for slug in made}) == len(made) == 4
    for slug in made:
        assert slugs.checked(slug) == slug == slug.lower()
        assert "--" not in slug
        assert not slug.endswith("-")
    # Names that differ in case, accents or blanks around them only begin alike.
    alike = unicodedata.normalize("NFKC", f"  {name} ")
    assert next(slugs.made_from(alike)) == made[0]


KNOWS_OF = {"public": set(KINDS), "private": set(KINDS), "secret": {*ROLES, "invited"}}


@pytest.mark.parametrize("privacy", ["public", "private", "secret"])
def test_who_knows_of_a_group(run: Runner, organization: Organization, privacy: Any) -> None:
    def body(session: Session) -> None:
        groups = GroupRepository(session)
        group_id = circle(session, EVERYBODY, privacy=privacy)
        group = session.get_one(Group, group_id)
        for viewer in (*KINDS, "a\0b", "\ud800", ""):
            kind = EVERYBODY.get(viewer, "stranger")
            lists = (groups.find_visible(viewer), groups.search("circle", viewer))
            if kind in KNOWS_OF[privacy]:
                assert groups.get_visible(group_id, viewer) is group
                assert groups.get_by_slug(group.slug.upper(), viewer) is group
                assert [names(page) for page in lists] == [["Circle"]] * 2
            else:
                with pytest.raises(NotFound, match="no such group"):
                    groups.get_visible(group_id, viewer)
                with pytest.raises(NotFound, match="no such group"):
                    groups.get_by_slug(group.slug, viewer)
                assert [names(page) for page in lists] == [[]] * 2
            assert names(groups.find_joined(viewer)) == (["Circle"] if kind in ROLES else [])
        for slug in ("nothing", "", "a\0b", "\ud800", "höhle"):
            with pytest.raises(NotFound):
                groups.get_by_slug(slug, "owner")
        with pytest.raises(NotFound):
            groups.get_visible(uuid4(), "owner")

    run(organization, body)


def test_groups_come_in_pages_by_name(run: Runner, organization: Organization) -> None:
    def pages(find: Callable[[PageRequest], Page[Group]]) -> list[UUID]:
        keys, request = [], PageRequest(limit=2)
        while True:
            page = find(request)
            keys += [group.id for group in page.items]
            if page.next_cursor is None:
                return keys
            assert len(page.items) == 2
            request = PageRequest(limit=2, cursor=page.next_cursor)

    def body(session: Session) -> None:
        groups, members = GroupRepository(session), GroupMemberRepository(session)
        for number, name in enumerate(("d", "a", "c", "a", "b", "a", "e")):
            group = found(session, name, category="odd" if number % 2 else None)
            if name in "ab":
                members.join(group.id, "bob")
            found(session, name, privacy="secret", creator_id="eve")
        visible = session.scalars(
            select(Group.id).where(Group.owner_id == "ada").order_by(Group.name, Group.id)
        ).all()
        assert pages(partial(groups.find_visible, "bob")) == visible
        odd = pages(partial(groups.find_visible, "bob", category=" odd "))
        assert odd == [key for key in visible if session.get_one(Group, key).category]
        assert pages(partial(groups.find_joined, "bob")) == visible[:4]
        assert len(pages(partial(groups.find_visible, "eve"))) == 14
        assert groups.find_visible("bob", category="none").items == ()
        first = groups.find_visible("bob", PageRequest(limit=1))
        with pytest.raises(InvalidCursor):
            groups.find_joined("bob", PageRequest(cursor=first.next_cursor))
        for category in ("x" * 61, "a\0"):
            with pytest.raises(Invalid, match="category"):
                groups.find_visible("bob", category=category)

    run(organization, body)


def test_groups_are_searched_by_their_words_newest_first(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        groups = GroupRepository(session)
        found(session, "Climbing", description="Ropes and rocks")
        found(session, "Cooking")
        found(session, "Rope makers")
        found(session, "Secret rope", privacy="secret")
        assert names(groups.search("rope", "bob")) == ["Rope makers", "Climbing"]
        assert names(groups.search("ROPES", "ada")) == ["Secret rope", "Rope makers", "Climbing"]
        assert names(groups.search("rope -rocks or cook", "bob")) == ["Rope makers", "Cooking"]
        first = groups.search("rope", "bob", PageRequest(limit=1))
        assert names(first) == ["Rope makers"]
        second = groups.search("rope", "bob", PageRequest(limit=1, cursor=first.next_cursor))
        assert (names(second), second.next_cursor) == (["Climbing"], None)
        assert names(groups.search("' & | ! ) :* \\", "bob")) == []
        for query in ("", "  ", "x" * 201, "a\0b", "\ud800"):
            with pytest.raises(Invalid):
                groups.search(query, "bob")

    run(organization, body)


def test_an_update_changes_what_is_named_and_clears_none(
    run: Runner, organization: Organization
) -> None:
    def first(session: Session) -> Group:
        return found(session, "Caves", description="Deep", category="Outdoors", rules="None")

    def second(session: Session, group_id: UUID) -> Group:
        return GroupRepository(session).update(
            group_id, "ada", name=" Hills ", description=None, privacy="secret", category=" "
        )

    before = run(organization, first)
    after = run(organization, second, before.id)
    assert (after.name, after.slug, after.privacy) == ("Hills", "caves", "secret")
    assert (after.description, after.category, after.rules) == (None, None, "None")
    assert after.updated_at > after.created_at == before.created_at


def test_requests_that_are_open_when_a_group_becomes_public_can_be_approved(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        groups, members = GroupRepository(session), GroupMemberRepository(session)
        group_id = circle(session, {"owner": "owner", "ada": "requested"}, privacy="private")
        groups.update(group_id, "owner", privacy="public")
        assert members.memberships("ada", [group_id])[group_id].status == "requested"
        assert members.approve(group_id, "owner", "ada").status == "active"
        assert groups.get_visible(group_id, "ada").member_count == 2

    run(organization, body)


@pytest.mark.parametrize("archived", [False, True], ids=["open", "archived"])
@pytest.mark.parametrize("privacy", ["public", "secret"])
def test_who_changes_a_group(
    run: Runner, organization: Organization, privacy: Any, archived: bool
) -> None:
    least = {"update": ("owner", "admin"), "archive": ("owner",), "unarchive": ("owner",)}

    def want(operation: str, kind: str) -> str:
        if kind not in KNOWS_OF[privacy]:
            return "NotFound"
        if kind not in least[operation]:
            return "Forbidden"
        return "Conflict" if archived and operation == "update" else "done"

    def body(session: Session) -> None:
        groups = GroupRepository(session)
        group_id = circle(session, EVERYBODY, privacy=privacy, archived=archived)
        acts: dict[str, Callable[[str], Group]] = {
            "update": lambda actor: groups.update(group_id, actor, name="New", slug="new"),
            "archive": lambda actor: groups.archive(group_id, actor),
            "unarchive": lambda actor: groups.unarchive(group_id, actor),
        }
        for (operation, act), kind in product(acts.items(), KINDS):
            savepoint = session.begin_nested()
            wanted = want(operation, kind)
            if wanted != "done":
                with pytest.raises(DomainError) as refusal:
                    act(kind)
                assert refusal.type.__name__ == wanted, (operation, kind)
            else:
                group = act(kind)
                assert (group.name == "New") == (operation == "update")
                closed = archived if operation == "update" else operation == "archive"
                assert (group.archived_at is not None) == closed
                assert inspect(group).unloaded == set()
            savepoint.rollback()
        for bad in ("", "a\0b"):
            for change in acts.values():
                with pytest.raises(Invalid):
                    change(bad)

    run(organization, body)


def test_archiving_is_idempotent_and_can_be_taken_back(
    run: Runner, organization: Organization
) -> None:
    group_id = run(organization, lambda session: found(session, "Caves").id)

    def step(name: str) -> Group:
        def body(session: Session) -> Group:
            groups = GroupRepository(session)
            act = groups.archive if name == "archive" else groups.unarchive
            return act(group_id, "ada")

        return run(organization, body)

    opened, first, second, third, fourth = map(
        step, ("unarchive", "archive", "archive", "unarchive", "unarchive")
    )
    assert opened.archived_at is None
    assert first.archived_at is not None
    assert (second.archived_at, second.updated_at) == (first.archived_at, first.updated_at)
    assert (third.archived_at, fourth.archived_at) == (None, None)
    assert opened.updated_at < first.updated_at < third.updated_at == fourth.updated_at


STATEMENTS: dict[str, tuple[int, Callable[[GroupRepository, Group], object]]] = {
    "create": (2, lambda r, g: r.create(creator_id="ada", name="New")),
    "create with a taken name": (3, lambda r, g: r.create(creator_id="ada", name="Caves")),
    "get_visible": (1, lambda r, g: r.get_visible(g.id, "ada")),
    "get_by_slug": (1, lambda r, g: r.get_by_slug("caves", "ada")),
    "find_visible": (1, lambda r, g: r.find_visible("ada", category="x")),
    "find_joined": (1, lambda r, g: r.find_joined("ada")),
    "search": (1, lambda r, g: r.search("caves", "ada")),
    "update": (3, lambda r, g: r.update(g.id, "ada", name="Hills")),
    "archive": (3, lambda r, g: r.archive(g.id, "ada")),
    "unarchive": (2, lambda r, g: r.unarchive(g.id, "ada")),
}


def test_each_operation_is_a_few_statements(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> dict[str, int]:
        group = found(session, "Caves")
        for number in range(30):
            found(session, f"Caves {number}", category="x")
        numbers = {}
        for name, (_, act) in STATEMENTS.items():
            savepoint = session.begin_nested()
            with counted(session) as statements:
                act(GroupRepository(session), group)
            numbers[name] = len(statements)
            savepoint.rollback()
            session.refresh(group)
        return numbers

    assert run(organization, body) == {name: number for name, (number, _) in STATEMENTS.items()}


def test_of_groups_that_want_a_slug_at_the_same_time_one_gets_it(
    run: Runner, organization: Organization
) -> None:
    def create(session: Session, number: int) -> bool:
        try:
            found(session, f"Group {number}", slug="WANTED" if number % 2 else "wanted")
        except Conflict:
            return False
        session.execute(select(func.pg_sleep(0.05)))  # the others begin before this commits
        return True

    got = run.concurrently(organization, [partial(create, number=n) for n in range(8)])
    assert sum(got) == 1
    assert run(organization, lambda session: GroupRepository(session).count()) == 1


def test_groups_of_one_name_at_the_same_time_get_different_slugs(
    run: Runner, organization: Organization
) -> None:
    def create(session: Session) -> str:
        slug = found(session, "Caves").slug
        session.execute(select(func.pg_sleep(0.05)))  # the others begin before this commits
        return slug

    made = sorted(run.concurrently(organization, [create] * 8))
    assert made[0] == "caves"
    assert all(one < other for one, other in pairwise(made))


def test_the_async_twin_is_awaited(
    organization: Organization, tenancy: Tenancy, event_loop_runner: asyncio.Runner
) -> None:
    async def body() -> tuple[str, ...]:
        async with tenancy.session(organization) as session:
            groups = AsyncGroupRepository(session)
            group = await groups.create(creator_id="ada", name="Caves")
            await groups.update(group.id, "ada", slug="hills")
            with pytest.raises(Forbidden):
                await groups.archive(group.id, "eve")
            return tuple(group.slug for group in (await groups.find_visible("eve")).items)

    assert event_loop_runner.run(body()) == ("hills",)
