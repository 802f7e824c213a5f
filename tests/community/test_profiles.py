"""Profiles: made from claims, unique by name, changed by their people."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from orgtenancy import Organization
from orgtenancy.community import UserProfile, UserProfileRepository
from orgtenancy.errors import Conflict, Invalid, NotFound
from tests.community.seeds import add_person
from tests.support.runner import Runner


def test_a_profile_is_made_from_claims_at_first_sight(
    run: Runner, organization: Organization
) -> None:
    claims = {"sub": "u1", "preferred_username": "ada@example.org", "name": " Ada ", "extra": 1}

    def body(session: Session) -> UserProfile:
        return UserProfileRepository(session).upsert_from_claims(
            claims | {"picture": "https://example.org/ada.png"}
        )

    profile = run(organization, body)
    assert (profile.user_id, profile.username, profile.display_name) == ("u1", "ada", "Ada")
    assert profile.avatar_url == "https://example.org/ada.png"
    assert (profile.status, profile.metadata_, profile.bio) == ("active", {}, None)
    assert profile.created_at == profile.updated_at


def test_claims_fill_in_what_is_empty_and_leave_what_was_set(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> UserProfile:
        profiles = UserProfileRepository(session)
        profiles.upsert_from_claims({"sub": "u1", "username": "ada"})
        profiles.update("u1", display_name="Countess")
        return profiles.upsert_from_claims(
            {"sub": "u1", "username": "other", "name": "Ada", "picture": "https://e.org/a.png"}
        )

    profile = run(organization, body)
    assert (profile.username, profile.display_name) == ("ada", "Countess")
    assert profile.avatar_url == "https://e.org/a.png"


def test_claims_bring_nothing_back_to_an_anonymized_profile(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> UserProfile:
        add_person(session, "u1", "anonymized")
        return UserProfileRepository(session).upsert_from_claims({"sub": "u1", "name": "Ada"})

    profile = run(organization, body)
    assert (profile.status, profile.display_name) == ("anonymized", None)


def test_a_taken_username_gets_a_suffix(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> list[str]:
        profiles = UserProfileRepository(session)
        return [
            profiles.upsert_from_claims({"sub": f"u{i}", "username": name}).username
            for i, name in enumerate(["ada", "ADA", "Ada", "a" * 60, "a" * 60])
        ]

    names = run(organization, body)
    assert names[0] == "ada"
    assert names[1].startswith("ADA-")
    assert names[2].startswith("Ada-")
    assert names[3] == "a" * 40
    assert names[4].startswith("aaa")
    assert len(names[4]) == 40


@pytest.mark.parametrize(
    ("claims", "username"),
    [
        ({}, "user"),
        ({"name": "Żółć Ångström"}, "Zoc-Angstrom"),
        ({"name": "王"}, "user"),
        ({"username": "..--"}, "user"),
        ({"username": 7, "nickname": "bob"}, "bob"),
        ({"name": "a\0b", "picture": "javascript:x"}, "a-b"),
        ({"name": "\ud800x", "picture": 5}, "x"),
    ],
)
def test_no_claim_makes_a_profile_fail(
    run: Runner, organization: Organization, claims: dict[str, Any], username: str
) -> None:
    def body(session: Session) -> UserProfile:
        return UserProfileRepository(session).upsert_from_claims({"sub": "u1", **claims})

    profile = run(organization, body)
    assert profile.username == username
    assert profile.avatar_url is None


@pytest.mark.parametrize("sub", [None, "", "x" * 256, 7])
def test_claims_without_a_subject_are_refused(
    run: Runner, organization: Organization, sub: Any
) -> None:
    def body(session: Session) -> None:
        with pytest.raises(Invalid, match="user id"):
            UserProfileRepository(session).upsert_from_claims({"sub": sub})

    run(organization, body)


def test_one_person_at_the_same_time_gets_one_profile(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> str:
        claims = {"sub": "u1", "username": "ada", "name": "Ada"}
        profile = UserProfileRepository(session).upsert_from_claims(claims)
        session.execute(select(func.pg_sleep(0.2)))  # the others begin before this commits
        return profile.username

    assert run.concurrently(organization, [body] * 12) == ["ada"] * 12


def test_people_of_one_name_at_the_same_time_get_different_usernames(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session, number: int) -> str:
        claims = {"sub": f"u{number}", "username": "ada"}
        profile = UserProfileRepository(session).upsert_from_claims(claims)
        session.execute(select(func.pg_sleep(0.05)))  # the others begin before this commits
        return profile.username

    names = run.concurrently(organization, [partial(body, number=n) for n in range(12)])
    assert len({name.lower() for name in names}) == 12
    assert "ada" in names


def test_a_profile_is_found_by_username_without_regard_to_case(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        add_person(session, "Ada")
        profiles = UserProfileRepository(session)
        found = profiles.get_by_username("aDA")
        assert found is not None
        assert found.user_id == "Ada"
        assert profiles.get_by_username("nobody") is None
        assert profiles.get_by_username("a\0da") is None
        assert profiles.get_by_username("") is None

    run(organization, body)


def test_profiles_are_read_many_at_once(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> list[str]:
        for name in "abc":
            add_person(session, name)
        return [p.user_id for p in UserProfileRepository(session).get_many(["c", "x", "a", "c"])]

    assert run(organization, body) == ["c", "a"]


def test_an_update_changes_what_is_named_and_clears_none(
    run: Runner, organization: Organization
) -> None:
    def first(session: Session) -> UserProfile:
        add_person(session, "ada")
        return UserProfileRepository(session).update(
            "ada",
            username="Lovelace",
            display_name=" Ada ",
            bio="Mathematician",
            avatar_url="https://e.org/a.png",
            metadata={"links": ["x"]},
        )

    def second(session: Session) -> UserProfile:
        return UserProfileRepository(session).update("ada", bio=None, display_name="  ")

    before = run(organization, first)
    assert (before.username, before.display_name) == ("Lovelace", "Ada")
    after = run(organization, second)
    assert (after.username, after.display_name, after.bio) == ("Lovelace", None, None)
    assert after.metadata_ == {"links": ["x"]}
    assert after.updated_at > after.created_at


def test_a_taken_username_is_a_conflict_and_the_transaction_goes_on(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        add_person(session, "ada")
        add_person(session, "bob")
        profiles = UserProfileRepository(session)
        with pytest.raises(Conflict, match="taken"):
            profiles.update("bob", username="ADA", bio="lost")
        profiles.update("bob", bio="kept")

    def names(session: Session) -> dict[str, str | None]:
        return {p.username: p.bio for p in session.scalars(select(UserProfile))}

    run(organization, body)
    assert run(organization, names) == {"ada": None, "bob": "kept"}


def test_one_of_many_who_want_a_username_at_the_same_time_gets_it(
    run: Runner, organization: Organization
) -> None:
    people = [f"p{n}" for n in range(8)]

    def seed(session: Session) -> None:
        for person in people:
            add_person(session, person)

    def rename(session: Session, person: str) -> bool:
        try:
            UserProfileRepository(session).update(person, username="Wanted")
        except Conflict:
            return False
        return True

    run(organization, seed)
    got = run.concurrently(organization, [partial(rename, person=p) for p in people])
    assert sum(got) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"username": "a b"},
        {"username": None},
        {"bio": "x" * 2_001},
        {"display_name": "a\0"},
        {"avatar_url": "javascript:alert(1)"},
        {"metadata": {"a": "\0"}},
        {"metadata": None},
        {"status": "deactivated"},
    ],
)
def test_bad_changes_are_refused_before_a_statement(
    run: Runner, organization: Organization, changes: dict[str, Any]
) -> None:
    def body(session: Session) -> None:
        with pytest.raises(Invalid):
            UserProfileRepository(session).update("nobody", **changes)
        with pytest.raises(NotFound):
            UserProfileRepository(session).update("nobody", bio="x")

    run(organization, body)
