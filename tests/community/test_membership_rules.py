"""Memberships: who can do what in which state, compared with a plain model cell by cell."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import inspect
from sqlalchemy.orm import Session

from orgtenancy import Organization
from orgtenancy.community import GroupMember
from orgtenancy.community.members import GroupMemberRepository
from orgtenancy.community.models import Privacy
from orgtenancy.errors import DomainError
from tests.community.circles import KINDS, ROLES, add_people, circle, kinds, owner_of
from tests.support.runner import Runner

PRIVACIES: tuple[Privacy, ...] = ("public", "private", "secret")

# What people do to others, by the least role that can.
NEEDS = {
    "approve": "moderator",
    "reject": "moderator",
    "invite": "moderator",
    "remove": "moderator",
    "ban": "moderator",
    "unban": "moderator",
    **{f"make {role}": "admin" for role in ROLES},
    "transfer": "owner",
}
HOLDERS = {
    "moderator": {"moderator", "admin", "owner"},
    "admin": {"admin", "owner"},
    "owner": {"owner"},
}
# Whom somebody of a role can act on, and which roles they can give.
BELOW = {
    "owner": {"owner", "admin", "moderator", "member"},
    "admin": {"moderator", "member"},
    "moderator": {"member"},
}
STEP_DOWN = {"owner": set(ROLES), "admin": {"admin", "moderator", "member"}}
CLOSED_BY_ARCHIVING = {"approve", "invite", "transfer", *(f"make {role}" for role in ROLES)}
NOT_TO_ONESELF = {"remove", "ban", "transfer"}

# What becomes of the target, or the error; who is not listed is NotFound.
RESULTS: dict[str, dict[str, str]] = {
    "approve": {"requested": "member"},
    "reject": {"requested": "stranger"},
    "invite": {
        "stranger": "invited",
        "invited": "invited",
        "requested": "member",
        "banned": "Conflict",
        **dict.fromkeys(ROLES, "Conflict"),
    },
    "remove": {"invited": "stranger", **dict.fromkeys(ROLES, "stranger")},
    "ban": dict.fromkeys(KINDS, "banned"),
    "unban": {"banned": "stranger"},
    **{f"make {role}": dict.fromkeys(ROLES, role) for role in ROLES},
    "transfer": dict.fromkeys(ROLES, "owner"),
}


def expected(
    operation: str, actor: str, target: str, *, oneself: bool, privacy: Privacy, archived: bool
) -> str:
    """The plain model: what becomes of the target, or the name of the error."""
    if oneself and operation in NOT_TO_ONESELF:
        return "Invalid"
    if privacy == "secret" and actor in ("requested", "banned", "stranger"):
        return "NotFound"
    if actor not in HOLDERS[NEEDS[operation]]:
        return "Forbidden"
    if archived and operation in CLOSED_BY_ARCHIVING:
        return "Conflict"
    result = RESULTS[operation].get(target, "NotFound")
    if operation in ("remove", "ban") and target in ROLES and target not in BELOW[actor]:
        return "Forbidden"
    if operation.startswith("make ") and target in ROLES:
        role = operation.removeprefix("make ")
        can = STEP_DOWN[actor] if oneself else BELOW[actor] if target in BELOW[actor] else set()
        return result if role in can else "Forbidden"
    return result


def perform(
    session: Session, operation: str, group_id: UUID, actor: str, target: str
) -> GroupMember | None:
    members = GroupMemberRepository(session)
    if operation.startswith("make "):
        role: Any = operation.removeprefix("make ")
        return members.set_role(group_id, actor, target, role)
    name = "transfer_ownership" if operation == "transfer" else operation
    act: Callable[[UUID, str, str], GroupMember | None] = getattr(members, name)
    return act(group_id, actor, target)


def outcome(act: Callable[[], GroupMember | None]) -> str:
    """Do it, and return the kind of the membership it leaves, or the name of the error."""
    try:
        membership = act()
    except DomainError as e:
        return type(e).__name__
    if membership is None:
        return "stranger"
    assert inspect(membership).unloaded == set()
    assert (membership.joined_at is not None) == (membership.status == "active")
    return membership.role if membership.status == "active" else membership.status


@pytest.mark.parametrize(
    ("privacy", "archived"),
    [
        pytest.param("public", False, marks=pytest.mark.slow),
        pytest.param("private", True, marks=pytest.mark.slow),
        pytest.param("secret", False, marks=pytest.mark.slow),
    ],
)
def test_what_everybody_can_do_to_everybody(
    run: Runner, organization: Organization, privacy: Privacy, archived: bool
) -> None:
    people = {f"{kind}-{number}": kind for number in (1, 2) for kind in KINDS}

    def body(session: Session) -> int:
        add_people(session, *people)
        group_id = circle(session, people, privacy=privacy, archived=archived)
        before = kinds(session, group_id)
        cells = 0
        for operation, actor, target in product(RESULTS, KINDS, KINDS):
            for number in (1, 2) if actor == target else (2,):
                one, other = f"{actor}-1", f"{target}-{number}"
                want = expected(
                    operation,
                    actor,
                    target,
                    oneself=one == other,
                    privacy=privacy,
                    archived=archived,
                )
                savepoint = session.begin_nested()
                got = outcome(partial(perform, session, operation, group_id, one, other))
                cell = f"{operation}: {one} to {other}"
                assert got == want, cell
                after = before if want[0].isupper() else before | {other: want}
                if operation == "transfer" and not want[0].isupper():
                    after = after | {one: "admin"}
                    assert owner_of(session, group_id) == other, cell
                after = {user_id: kind for user_id, kind in after.items() if kind != "stranger"}
                assert kinds(session, group_id) == after, cell
                savepoint.rollback()
                cells += 1
        return cells

    assert run(organization, body) == len(RESULTS) * len(KINDS) * (len(KINDS) + 1)


# What becomes of people by what they do themselves.
MEMBERS_STAY = {role: role for role in ROLES}
OWN_RESULTS: dict[str, dict[str, dict[str, str]]] = {
    "public": {
        "join": {
            **MEMBERS_STAY,
            "stranger": "member",
            "requested": "member",
            "invited": "member",
            "banned": "Forbidden",
        },
        "request": {**dict.fromkeys(KINDS, "Conflict"), "banned": "Forbidden"},
        "accept": {**dict.fromkeys(KINDS, "NotFound"), "invited": "member"},
        "leave": {
            **dict.fromkeys(KINDS, "stranger"),
            "banned": "NotFound",
            "stranger": "NotFound",
        },
    },
    "private": {
        "join": {
            **MEMBERS_STAY,
            "stranger": "Forbidden",
            "requested": "Forbidden",
            "invited": "member",
            "banned": "Forbidden",
        },
        "request": {
            **dict.fromkeys(ROLES, "Conflict"),
            "stranger": "requested",
            "requested": "requested",
            "invited": "member",
            "banned": "Forbidden",
        },
        "accept": {**dict.fromkeys(KINDS, "NotFound"), "invited": "member"},
        "leave": {
            **dict.fromkeys(KINDS, "stranger"),
            "banned": "NotFound",
            "stranger": "NotFound",
        },
    },
    "secret": {
        "join": {**dict.fromkeys(KINDS, "NotFound"), **MEMBERS_STAY, "invited": "member"},
        "request": {
            **dict.fromkeys(KINDS, "NotFound"),
            **dict.fromkeys(ROLES, "Conflict"),
            "invited": "member",
        },
        "accept": {**dict.fromkeys(KINDS, "NotFound"), "invited": "member"},
        "leave": {
            **dict.fromkeys(KINDS, "NotFound"),
            **dict.fromkeys(ROLES, "stranger"),
            "invited": "stranger",
        },
    },
}


def expected_of_oneself(operation: str, kind: str, *, privacy: Privacy, archived: bool) -> str:
    result = OWN_RESULTS[privacy][operation][kind]
    if not archived or operation == "leave":
        return result
    hidden = privacy == "secret" and kind in ("requested", "banned", "stranger")
    banned = kind == "banned" and operation in ("join", "request")
    return result if hidden or banned else "Conflict"


@pytest.mark.parametrize("archived", [False, True], ids=["open", "archived"])
@pytest.mark.parametrize("privacy", PRIVACIES)
def test_what_everybody_can_do_themselves(
    run: Runner, organization: Organization, privacy: Privacy, archived: bool
) -> None:
    people = {**{f"{kind}-1": kind for kind in KINDS}, "owner-2": "owner"}

    def body(session: Session) -> None:
        group_id = circle(session, people, privacy=privacy, archived=archived)
        before = kinds(session, group_id)
        members = GroupMemberRepository(session)
        for operation, kind in product(("join", "request", "accept", "leave"), KINDS):
            want = expected_of_oneself(operation, kind, privacy=privacy, archived=archived)
            savepoint = session.begin_nested()
            got = outcome(partial(getattr(members, operation), group_id, f"{kind}-1"))
            assert got == want, f"{operation}: {kind}"
            after = before if want[0].isupper() else before | {f"{kind}-1": want}
            after = {user_id: kind for user_id, kind in after.items() if kind != "stranger"}
            assert kinds(session, group_id) == after, f"{operation}: {kind}"
            savepoint.rollback()

    run(organization, body)
