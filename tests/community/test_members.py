"""Members: what a membership holds, who inherits a group, and who reads which list."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import inspect
from sqlalchemy.orm import Session

from orgtenancy import Organization, Tenancy
from orgtenancy.community import GroupMember
from orgtenancy.community.groups import GroupRepository
from orgtenancy.community.members import AsyncGroupMemberRepository, GroupMemberRepository
from orgtenancy.errors import Conflict, Forbidden, Invalid, InvalidCursor, NotFound
from orgtenancy.pagination import Page, PageRequest
from tests.community.circles import KINDS, ROLES, add_people, circle, counted, kinds, owner_of
from tests.community.seeds import add_person
from tests.support.runner import Runner

EVERYBODY = {kind: kind for kind in KINDS}


def test_a_membership_and_its_group_are_current_after_every_change(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> UUID:
        add_people(session, "eve")
        group_id = circle(session, {"owner": "owner", "mod": "moderator"}, privacy="private")
        members = GroupMemberRepository(session)
        group = GroupRepository(session).get_visible(group_id, "owner")

        asked = members.request(group_id, "ada")
        assert (asked.status, asked.role, asked.joined_at) == ("requested", "member", None)
        assert group.member_count == 2
        approved = members.approve(group_id, "mod", "ada")
        assert approved is asked
        assert (asked.status, asked.invited_by) == ("active", None)
        assert asked.joined_at is not None
        assert group.member_count == 3

        invited = members.invite(group_id, "mod", "eve")
        assert (invited.status, invited.invited_by, invited.joined_at) == ("invited", "mod", None)
        assert members.accept(group_id, "eve") is invited
        assert (invited.status, invited.invited_by, group.member_count) == ("active", "mod", 4)

        assert members.set_role(group_id, "owner", "eve", "admin").role == "admin"
        banned = members.ban(group_id, "owner", "eve")
        assert (banned.role, banned.status) == ("member", "banned")
        assert (banned.joined_at, banned.invited_by, group.member_count) == (None, None, 3)
        rows: tuple[Any, ...] = (group, asked, banned)
        assert all(inspect(row).unloaded == set() for row in rows)
        members.remove(group_id, "mod", "ada")
        assert group.member_count == 2
        members.unban(group_id, "mod", "eve")
        assert group.updated_at == group.created_at  # people came and went, nobody changed it
        return group_id

    def later(session: Session) -> None:
        assert kinds(session, group_id) == {"owner": "owner", "mod": "moderator"}

    group_id = run(organization, body)
    run(organization, later)


def test_a_change_is_stamped_and_a_repeated_one_is_not(
    run: Runner, organization: Organization
) -> None:
    people = {**EVERYBODY, "owner-2": "owner"}

    def seed(session: Session) -> UUID:
        add_people(session, *people)
        return circle(session, people, privacy="private")

    def repeat(session: Session) -> None:
        members = GroupMemberRepository(session)
        repeated: list[Callable[[], GroupMember]] = [
            lambda: members.join(group_id, "member"),
            lambda: members.request(group_id, "requested"),
            lambda: members.invite(group_id, "admin", "invited"),
            lambda: members.ban(group_id, "admin", "banned"),
            lambda: members.set_role(group_id, "owner", "moderator", "moderator"),
        ]
        for act in repeated:
            with counted(session) as statements:
                row = act()
            assert row.updated_at == row.created_at
            assert row.invited_by is None
            assert len(statements) == 2

    def change(session: Session) -> None:
        members = GroupMemberRepository(session)
        changed = [
            members.approve(group_id, "admin", "requested"),
            members.accept(group_id, "invited"),
            members.set_role(group_id, "owner", "moderator", "admin"),
            members.ban(group_id, "owner", "member"),
            members.transfer_ownership(group_id, "owner", "admin"),
        ]
        for row in changed:
            assert row.updated_at > row.created_at
        group = GroupRepository(session).get_visible(group_id, "admin")
        assert group.updated_at > group.created_at

    group_id = run(organization, seed)
    run(organization, repeat)
    run(organization, change)


def test_only_people_with_an_active_profile_are_invited(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        add_people(session, "ada", "asked")
        add_person(session, "gone", "deactivated")
        people = {"owner": "owner", "member": "member", "asked": "requested", "gone": "requested"}
        group_id = circle(session, people, privacy="private")
        members = GroupMemberRepository(session)
        for absent in ("gone", "nobody"):
            with pytest.raises(NotFound, match="no such person"):
                members.invite(group_id, "owner", absent)
            with pytest.raises(Forbidden):  # who may not invite learns nothing of people
                members.invite(group_id, "member", absent)
        assert members.invite(group_id, "owner", "ada").status == "invited"
        both_agree = members.invite(group_id, "owner", "asked")
        assert (both_agree.status, both_agree.invited_by) == ("active", "owner")
        # Whoever asks is let in by approval, whatever the profile.
        assert members.approve(group_id, "owner", "gone").status == "active"

    run(organization, body)


def test_the_last_owner_stays(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        people = {"ada": "owner", "bob": "admin", "eve": "banned", "ben": "invited"}
        group_id = circle(session, people)
        members = GroupMemberRepository(session)
        for act in (
            lambda: members.leave(group_id, "ada"),
            lambda: members.set_role(group_id, "ada", "ada", "admin"),
            lambda: members.set_role(group_id, "ada", "ada", "member"),
        ):
            with pytest.raises(Conflict, match="keep an owner"):
                act()
        assert kinds(session, group_id) == people
        members.set_role(group_id, "ada", "bob", "owner")
        members.leave(group_id, "ada")
        assert kinds(session, group_id) == {"bob": "owner", "eve": "banned", "ben": "invited"}
        assert owner_of(session, group_id) == "bob"
        with pytest.raises(Conflict):
            members.leave(group_id, "bob")

    run(organization, body)


ENDS: dict[str, Callable[[GroupMemberRepository, UUID, str], object]] = {
    "leave": lambda members, group_id, who: members.leave(group_id, who),
    "step down": lambda members, group_id, who: members.set_role(group_id, who, who, "member"),
    "be demoted": lambda members, group_id, who: members.set_role(group_id, "last", who, "admin"),
    "be removed": lambda members, group_id, who: members.remove(group_id, "last", who),
    "be banned": lambda members, group_id, who: members.ban(group_id, "last", who),
}


@pytest.mark.parametrize("way", ENDS)
def test_the_longest_standing_owner_inherits_a_group(
    run: Runner, organization: Organization, way: str
) -> None:
    def body(session: Session) -> None:
        # They came in this order; the group names the second.
        people = dict.fromkeys(("oldest", "named", "later", "last"), "owner")
        people = {"admin": "admin", **people, "banned": "banned"}
        group_id = circle(session, people, owner_id="named")
        members = GroupMemberRepository(session)
        group = GroupRepository(session).get_visible(group_id, "admin")
        ENDS[way](members, group_id, "later")
        assert (group.owner_id, group.updated_at) == ("named", group.created_at)
        ENDS[way](members, group_id, "named")
        assert (group.owner_id, owner_of(session, group_id)) == ("oldest", "oldest")
        ENDS[way](members, group_id, "oldest")
        assert (group.owner_id, owner_of(session, group_id)) == ("last", "last")
        left = {user_id for user_id, kind in kinds(session, group_id).items() if kind == "owner"}
        assert left == {"last"}

    run(organization, body)


def test_ownership_is_handed_over(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        people = {"ada": "owner", "bob": "owner", "eve": "member", "ben": "invited"}
        group_id = circle(session, people)
        members = GroupMemberRepository(session)
        group = GroupRepository(session).get_visible(group_id, "ada")
        for absent in ("ben", "nobody"):
            with pytest.raises(NotFound, match="no such member"):
                members.transfer_ownership(group_id, "ada", absent)
        taker = members.transfer_ownership(group_id, "bob", "eve")
        assert (taker.user_id, taker.role, group.owner_id) == ("eve", "owner", "eve")
        assert group.member_count == 3
        expected = {"ada": "owner", "bob": "admin", "eve": "owner", "ben": "invited"}
        assert kinds(session, group_id) == expected
        # To an owner: the group names another one.
        assert members.transfer_ownership(group_id, "eve", "ada").role == "owner"
        assert kinds(session, group_id) == expected | {"eve": "admin"}
        assert owner_of(session, group_id) == "ada"

    run(organization, body)


def test_bad_input_is_refused_before_a_statement(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        members, group_id = GroupMemberRepository(session), uuid4()
        role: Any = "king"
        alone = (members.join, members.request, members.accept, members.leave)
        others = (
            *(members.approve, members.reject, members.invite, members.remove, members.ban),
            *(members.unban, members.transfer_ownership),
        )
        with counted(session) as statements:
            for bad in ("", "a\0b", "\ud800", "x" * 256):
                for act in alone:
                    with pytest.raises(Invalid, match="user id"):
                        act(group_id, bad)
                for act_on in others:
                    with pytest.raises(Invalid):
                        act_on(group_id, bad, "ada")
                    with pytest.raises(Invalid):
                        act_on(group_id, "ada", bad)
            for act_on in (members.remove, members.ban, members.transfer_ownership):
                with pytest.raises(Invalid, match="nobody"):
                    act_on(group_id, "ada", "ada")
            with pytest.raises(Invalid, match="role"):
                members.set_role(group_id, "ada", "bob", role)
        assert statements == []
        with pytest.raises(NotFound, match="no such group"):
            members.join(group_id, "ada")

    run(organization, body)


SEES_MEMBERS = {
    "public": set(KINDS),
    "private": set(ROLES),
    "secret": set(ROLES),
}
KNOWS_OF = {"public": set(KINDS), "private": set(KINDS), "secret": {*ROLES, "invited"}}


@pytest.mark.parametrize("privacy", ["public", "private", "secret"])
def test_who_reads_which_list(run: Runner, organization: Organization, privacy: Any) -> None:
    def users(page: Page[GroupMember]) -> list[str]:
        return [row.user_id for row in page.items]

    def body(session: Session) -> None:
        group_id = circle(session, EVERYBODY, privacy=privacy)
        members = GroupMemberRepository(session)
        for viewer in (*KINDS, "a\0b", "\ud800", ""):
            kind = EVERYBODY.get(viewer, "stranger")
            refusal = Forbidden if kind in KNOWS_OF[privacy] else NotFound
            if kind in SEES_MEMBERS[privacy]:
                assert users(members.find_members(group_id, viewer)) == sorted(ROLES)
            else:
                with pytest.raises(refusal):
                    members.find_members(group_id, viewer)
            for find, found in (
                (members.find_requests, "requested"),
                (members.find_invited, "invited"),
                (members.find_banned, "banned"),
            ):
                if kind in ("owner", "admin", "moderator"):
                    assert users(find(group_id, viewer)) == [found]
                else:
                    with pytest.raises(refusal):
                        find(group_id, viewer)
        for find_any in (members.find_members, members.find_requests, members.find_invited):
            with pytest.raises(NotFound):
                find_any(uuid4(), "owner")

    run(organization, body)


def test_members_come_in_pages(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        people = {f"p{number}": "member" for number in range(5)}
        waiting = {f"r{number}": "requested" for number in range(5)}
        group_id = circle(session, {**waiting, **people, "owner": "owner"})
        members = GroupMemberRepository(session)
        for find, expected in (
            (members.find_members, ["owner", *people]),
            (members.find_requests, list(waiting)),
        ):
            found, request = [], PageRequest(limit=2)
            while True:
                page = find(group_id, "owner", request)
                found += [row.user_id for row in page.items]
                if page.next_cursor is None:
                    break
                request = PageRequest(limit=2, cursor=page.next_cursor)
            assert found == expected
        first = members.find_members(group_id, "owner", PageRequest(limit=1))
        with pytest.raises(InvalidCursor):
            members.find_requests(group_id, "owner", PageRequest(cursor=first.next_cursor))

    run(organization, body)


def test_people_find_their_own_invitations_and_memberships(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        members = GroupMemberRepository(session)
        statuses = ("invited", "member", "banned", "invited", "requested", "stranger", "invited")
        groups = [circle(session, {"owner": "owner", "ada": status}) for status in statuses]
        page = members.find_invitations("ada", PageRequest(limit=2))
        assert [row.group_id for row in page.items] == [groups[0], groups[3]]
        page = members.find_invitations("ada", PageRequest(limit=2, cursor=page.next_cursor))
        assert [row.group_id for row in page.items] == [groups[6]]
        for nobody in ("a\0b", "\ud800", "", "owner"):
            assert members.find_invitations(nobody).items == ()
        assert members.memberships("a\0b", groups) == {}
        assert members.memberships("ada", []) == {}
        with counted(session) as statements:
            found = members.memberships("ada", iter([*groups[:4], groups[5], groups[0], uuid4()]))
        assert len(statements) == 1
        assert {key: row.status for key, row in found.items()} == {
            groups[0]: "invited",
            groups[1]: "active",
            groups[2]: "banned",
            groups[3]: "invited",
        }

    run(organization, body)


# Of the statements of a change, one locks the group, and one reads the memberships.
STATEMENTS: dict[str, tuple[int, Callable[[GroupMemberRepository, UUID], object]]] = {
    "find_members": (2, lambda m, g: m.find_members(g, "owner")),
    "find_requests": (2, lambda m, g: m.find_requests(g, "owner")),
    "find_invited": (2, lambda m, g: m.find_invited(g, "owner")),
    "find_banned": (2, lambda m, g: m.find_banned(g, "owner")),
    "find_invitations": (1, lambda m, g: m.find_invitations("invited")),
    "join": (4, lambda m, g: m.join(g, "invited")),
    "request": (3, lambda m, g: m.request(g, "stranger")),
    "accept": (4, lambda m, g: m.accept(g, "invited")),
    "leave": (4, lambda m, g: m.leave(g, "owner")),
    "leave as invited": (3, lambda m, g: m.leave(g, "invited")),
    "approve": (4, lambda m, g: m.approve(g, "owner", "requested")),
    "reject": (3, lambda m, g: m.reject(g, "owner", "requested")),
    "invite": (4, lambda m, g: m.invite(g, "owner", "stranger")),
    "invite who asked": (5, lambda m, g: m.invite(g, "owner", "requested")),
    "remove": (4, lambda m, g: m.remove(g, "owner-2", "owner")),
    "ban a stranger": (3, lambda m, g: m.ban(g, "owner", "stranger")),
    "ban": (4, lambda m, g: m.ban(g, "owner-2", "owner")),
    "unban": (3, lambda m, g: m.unban(g, "owner", "banned")),
    "set_role": (3, lambda m, g: m.set_role(g, "owner", "member", "admin")),
    "set_role of an owner": (4, lambda m, g: m.set_role(g, "owner", "owner", "admin")),
    "transfer_ownership": (4, lambda m, g: m.transfer_ownership(g, "owner", "member")),
}


def test_each_operation_is_a_few_statements(run: Runner, organization: Organization) -> None:
    people = {**EVERYBODY, "owner-2": "owner", **{f"p{n}": "member" for n in range(30)}}

    def body(session: Session) -> dict[str, int]:
        add_people(session, *people)
        group_id = circle(session, people, privacy="private")
        numbers = {}
        for name, (_, act) in STATEMENTS.items():
            savepoint = session.begin_nested()
            session.expunge_all()
            with counted(session) as statements:
                act(GroupMemberRepository(session), group_id)
            numbers[name] = len(statements)
            savepoint.rollback()
        return numbers

    assert run(organization, body) == {name: number for name, (number, _) in STATEMENTS.items()}


def test_a_membership_that_ended_elsewhere_begins_anew(
    run: Runner, organization: Organization, tenancy: Tenancy
) -> None:
    group_id = run(organization, circle, {"owner": "owner", "ada": "member"})

    def body(session: Session) -> None:
        members = GroupMemberRepository(session)
        held = members.memberships("ada", [group_id])[group_id]
        group = GroupRepository(session).get_visible(group_id, "ada")
        with tenancy.session(organization) as other:
            GroupMemberRepository(other).remove(group_id, "owner", "ada")
        assert group.member_count == 2
        assert members.join(group_id, "ada") is held
        assert group.member_count == 2
        members.leave(group_id, "ada")
        assert members.memberships("ada", [group_id]) == {}
        assert session.get(GroupMember, (group_id, "ada")) is None
        assert members.join(group_id, "ada").status == "active"

    run(organization, body)
    assert run(organization, kinds, group_id) == {"owner": "owner", "ada": "member"}


def test_a_change_is_decided_by_what_the_database_says_now(
    run: Runner, organization: Organization, tenancy: Tenancy
) -> None:
    people = {"owner": "owner", "mod": "moderator", "ada": "requested"}
    group_id = run(organization, circle, people)

    def body(session: Session) -> None:
        members, groups = GroupMemberRepository(session), GroupRepository(session)
        group = groups.get_visible(group_id, "mod")
        held = members.memberships("mod", [group_id])[group_id]
        with tenancy.session(organization) as other:
            GroupMemberRepository(other).set_role(group_id, "owner", "mod", "member")
        with pytest.raises(Forbidden):
            members.reject(group_id, "mod", "ada")
        assert held.role == "member"
        session.commit()
        with tenancy.session(organization) as other:
            GroupRepository(other).archive(group_id, "owner")
        assert group.archived_at is None
        with pytest.raises(Conflict, match="archived"):
            members.join(group_id, "ada")
        assert group.archived_at is not None

    run(organization, body)


def test_the_async_twin_is_awaited(
    organization: Organization, tenancy: Tenancy, event_loop_runner: asyncio.Runner
) -> None:
    with tenancy.session(organization) as session:
        group_id = circle(session, {"owner": "owner"})

    async def body() -> list[str]:
        async with tenancy.session(organization) as session:
            members = AsyncGroupMemberRepository(session)
            await members.join(group_id, "ada")
            await members.set_role(group_id, "owner", "ada", "admin")
            return [row.role for row in (await members.find_members(group_id, "eve")).items]

    assert event_loop_runner.run(body()) == ["admin", "owner"]
