"""What happens to a group at the same time happens one after the other."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from uuid import UUID

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from orgtenancy import Organization
from orgtenancy.community import PostRepository
from orgtenancy.community.groups import GroupRepository
from orgtenancy.community.members import GroupMemberRepository
from orgtenancy.errors import DomainError
from tests.community.circles import add_people, circle, kinds, owner_of
from tests.support.runner import Runner

Act = Callable[[GroupMemberRepository, UUID], object]


def pause(session: Session, seconds: float) -> None:
    session.execute(select(func.pg_sleep(seconds)))


def until(session: Session, holds: Callable[[], bool]) -> None:
    """Look again and again, with room for the other transactions, until something holds."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        pause(session, 0.005)


def somebody_waits(session: Session) -> bool:
    """Tell whether another transaction waits for what this one holds."""
    waits = text(
        "SELECT EXISTS (SELECT FROM pg_locks"
        " WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid)))"
    )
    return bool(session.scalar(waits))


def tried(session: Session, act: Act, group_id: UUID) -> str:
    """Do it and commit a little later, while the others have begun; return what came of it."""
    try:
        act(GroupMemberRepository(session), group_id)
    except DomainError as e:
        return type(e).__name__
    pause(session, 0.03)
    return "done"


def race(run: Runner, organization: Organization, group_id: UUID, *acts: Act) -> list[str]:
    return run.concurrently(
        organization, [partial(tried, act=act, group_id=group_id) for act in acts]
    )


@pytest.mark.parametrize("round_", range(6))
def test_of_two_owners_who_leave_at_once_one_stays(
    run: Runner, organization: Organization, round_: int
) -> None:
    people = {"ada": "owner", "bob": "owner", "eve": "member"}
    group_id = run(organization, circle, people)
    for _ in range(3):
        results = race(
            run,
            organization,
            group_id,
            lambda members, group_id: members.leave(group_id, "ada"),
            lambda members, group_id: members.leave(group_id, "bob"),
        )
        assert sorted(results) == ["Conflict", "done"]
        stays = "ada" if results[0] == "Conflict" else "bob"
        left = "bob" if stays == "ada" else "ada"
        assert run(organization, kinds, group_id) == {stays: "owner", "eve": "member"}
        assert run(organization, owner_of, group_id) == stays

        def back(session: Session, stays: str = stays, left: str = left) -> None:
            members = GroupMemberRepository(session)
            members.join(group_id, left)
            members.set_role(group_id, stays, left, "owner")

        run(organization, back)


FIRST: dict[str, Act] = {
    "leave": lambda members, group_id: members.leave(group_id, "ada"),
    "step down": lambda members, group_id: members.set_role(group_id, "ada", "ada", "admin"),
}
SECOND: dict[str, Act] = {
    "leave": lambda members, group_id: members.leave(group_id, "bob"),
    "step down": lambda members, group_id: members.set_role(group_id, "bob", "bob", "member"),
    "remove": lambda members, group_id: members.remove(group_id, "ada", "bob"),
    "ban": lambda members, group_id: members.ban(group_id, "ada", "bob"),
    "demote": lambda members, group_id: members.set_role(group_id, "ada", "bob", "member"),
}


@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("first", FIRST)
def test_no_two_ways_out_at_once_leave_a_group_without_an_owner(
    run: Runner, organization: Organization, first: str, second: str
) -> None:
    """One owner goes, and the other goes too, or is made to go by the first one."""
    for _ in range(2):
        group_id = run(organization, circle, {"ada": "owner", "bob": "owner"})
        results = race(run, organization, group_id, FIRST[first], SECOND[second])
        assert results.count("done") == 1
        left = run(organization, kinds, group_id)
        assert list(left.values()).count("owner") == 1


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 3))]
)
def test_the_number_of_members_is_exact_in_a_storm(
    run: Runner, organization: Organization, seed: int
) -> None:
    random = Random(seed)
    crowd = [f"p{number}" for number in range(8)]

    def start(session: Session) -> UUID:
        add_people(session, *crowd)
        people = {person: random.choice(["member", "requested", "stranger"]) for person in crowd}
        return circle(session, {"owner": "owner", "mod": "moderator", **people})

    group_id = run(organization, start)
    own: list[Callable[[GroupMemberRepository, str], object]] = [
        lambda members, who: members.join(group_id, who),
        lambda members, who: members.leave(group_id, who),
        lambda members, who: members.remove(group_id, "mod", who),
        lambda members, who: members.approve(group_id, "mod", who),
        lambda members, who: members.invite(group_id, "mod", who),
        lambda members, who: members.ban(group_id, "owner", who),
        lambda members, who: members.unban(group_id, "mod", who),
    ]

    def act(
        session: Session, does: Callable[[GroupMemberRepository, str], object], who: str
    ) -> str:
        try:
            does(GroupMemberRepository(session), who)
        except DomainError as e:
            return type(e).__name__
        return "done"

    for _ in range(6):
        acts = [partial(act, does=random.choice(own), who=random.choice(crowd)) for _ in range(16)]
        assert "done" in run.concurrently(organization, acts)
        run(organization, kinds, group_id)


def test_the_same_join_at_once_counts_once(run: Runner, organization: Organization) -> None:
    group_id = run(organization, circle, {"owner": "owner"})
    joins: list[Act] = [lambda members, group_id: members.join(group_id, "ada")] * 12
    assert race(run, organization, group_id, *joins) == ["done"] * 12
    assert run(organization, kinds, group_id) == {"owner": "owner", "ada": "member"}
    leaves: list[Act] = [lambda members, group_id: members.leave(group_id, "ada")] * 12
    assert Counter(race(run, organization, group_id, *leaves)) == {"done": 1, "NotFound": 11}
    assert run(organization, kinds, group_id) == {"owner": "owner"}


def test_who_leaves_meanwhile_is_given_no_group(run: Runner, organization: Organization) -> None:
    for _ in range(6):
        group_id = run(organization, circle, {"ada": "owner", "bob": "member"})
        results = race(
            run,
            organization,
            group_id,
            lambda members, group_id: members.transfer_ownership(group_id, "ada", "bob"),
            lambda members, group_id: members.leave(group_id, "bob"),
        )
        left = run(organization, kinds, group_id)
        if results == ["done", "Conflict"]:
            assert left == {"ada": "admin", "bob": "owner"}
        else:
            assert results == ["NotFound", "done"]
            assert left == {"ada": "owner"}


def test_a_request_taken_back_meanwhile_is_not_approved(
    run: Runner, organization: Organization
) -> None:
    for _ in range(6):
        group_id = run(organization, circle, {"ada": "owner", "bob": "requested"})
        results = race(
            run,
            organization,
            group_id,
            lambda members, group_id: members.approve(group_id, "ada", "bob"),
            lambda members, group_id: members.leave(group_id, "bob"),
        )
        assert results in (["done", "done"], ["NotFound", "done"])
        assert run(organization, kinds, group_id) == {"ada": "owner"}


DECISIONS: dict[str, Act] = {
    "ban": lambda members, group_id: members.ban(group_id, "ada", "mod"),
    "archive": lambda members, group_id: groups(members).archive(group_id, "ada"),
    "promote": lambda members, group_id: members.set_role(group_id, "ada", "eve", "admin"),
    "close": lambda members, group_id: groups(members).update(group_id, "ada", privacy="private"),
}


def groups(members: GroupMemberRepository) -> GroupRepository:
    return GroupRepository(members.session)


@pytest.mark.parametrize(
    ("decision", "act", "expected"),
    [
        ("ban", lambda members, g: members.approve(g, "mod", "bob"), "Forbidden"),
        ("ban", lambda members, g: members.join(g, "mod"), "Forbidden"),
        ("ban", lambda members, g: members.transfer_ownership(g, "ada", "mod"), "NotFound"),
        ("archive", lambda members, g: members.join(g, "ben"), "Conflict"),
        ("archive", lambda members, g: members.set_role(g, "ada", "mod", "admin"), "Conflict"),
        ("archive", lambda members, g: groups(members).update(g, "ada", name="New"), "Conflict"),
        ("promote", lambda members, g: members.remove(g, "mod", "eve"), "Forbidden"),
        ("promote", lambda members, g: groups(members).update(g, "eve", name="New"), "done"),
        ("close", lambda members, g: members.join(g, "ben"), "Forbidden"),
    ],
)
def test_who_waits_for_a_decision_acts_by_what_it_left(
    run: Runner, organization: Organization, decision: str, act: Act, expected: str
) -> None:
    people = {"ada": "owner", "mod": "moderator", "bob": "requested", "eve": "member"}
    group_id = run(organization, circle, people)

    decided: list[str] = []

    def decide(session: Session) -> str:
        DECISIONS[decision](GroupMemberRepository(session), group_id)
        decided.append(decision)
        until(session, lambda: somebody_waits(session))
        return "decided"

    def late(session: Session) -> str:
        until(session, lambda: bool(decided))
        return tried(session, act, group_id)

    both: list[Callable[[Session], str]] = [decide, late]
    assert run.concurrently(organization, both) == ["decided", expected]
    run(organization, kinds, group_id)


def test_who_posts_and_then_changes_the_group_waits_for_nobody_who_posted(
    run: Runner, organization: Organization
) -> None:
    """A post's foreign key holds a lock on the group: taking the group's lock is no upgrade."""
    people = {"ada": "owner", **{f"p{number}": "member" for number in range(6)}}
    group_id = run(organization, circle, people)

    def act(session: Session, who: str) -> str:
        PostRepository(session).create(user_id=who, content="Goodbye", group_id=group_id)
        pause(session, 0.03)  # the others post before this goes on
        GroupMemberRepository(session).leave(group_id, who)
        return "done"

    acts = [partial(act, who=f"p{number}") for number in range(6)]
    assert run.concurrently(organization, acts) == ["done"] * 6
    assert run(organization, kinds, group_id) == {"ada": "owner"}
