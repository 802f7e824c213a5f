"""Profiles: made from claims, unique by name, changed by their people."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from orgtenancy import Organization
from orgtenancy.community import (
    ActivityLog,
    PostCommentRepository,
    PostLikeRepository,
    PostRepository,
    UserProfile,
    UserProfileRepository,
)
from orgtenancy.community.activity import ActivityLogRepository
from orgtenancy.errors import Conflict, Forbidden, Invalid, NotFound
from tests.community.seeds import add_person, add_post
from tests.community.statements import number_of_statements
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
    def body(session: Session, number: int) -> str:
        claims = {"sub": f"u{number}", "username": f"ada{number}", "name": "Ada"}
        profile = UserProfileRepository(session).upsert_from_claims(claims)
        session.execute(select(func.pg_sleep(0.2)))  # the others begin before this commits
        return profile.username

    for number in range(3):
        acts = [partial(body, number=number)] * 12
        assert run.concurrently(organization, acts) == [f"ada{number}"] * 12
    assert run(organization, lambda session: UserProfileRepository(session).count()) == 3


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


def test_a_profile_that_is_not_active_is_not_changed(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        profiles = UserProfileRepository(session)
        for status in ("deactivated", "anonymized"):
            add_person(session, status, status)
            for change in ("bio", "username"):
                changes: dict[str, Any] = {change: "new"}
                with pytest.raises(Forbidden, match=f"the profile is {status}"):
                    profiles.update(status, **changes)
            assert session.get_one(UserProfile, status).bio is None

    run(organization, body)


def test_a_deactivated_person_is_hidden_and_comes_back(
    run: Runner, organization: Organization
) -> None:
    def write(session: Session) -> UserProfile:
        add_post(session, "ada")
        return add_person(session, "ada")

    def set_status(session: Session, method: str) -> UserProfile:
        profile = getattr(UserProfileRepository(session), method)("ada")
        assert isinstance(profile, UserProfile)
        return profile

    def seen(session: Session) -> int:
        return len(PostRepository(session).find_feed("bob").items)

    made = run(organization, write)
    for method, status, number in (("deactivate", "deactivated", 0), ("reactivate", "active", 1)):
        first, again = (run(organization, set_status, method) for _ in range(2))
        assert first.status == again.status == status
        assert first.updated_at == again.updated_at > made.updated_at
        assert run(organization, seen) == number


def test_an_anonymized_person_leaves_what_was_written_and_nothing_else(
    run: Runner, organization: Organization
) -> None:
    def write(session: Session) -> UUID:
        profiles, log = UserProfileRepository(session), ActivityLogRepository(session)
        for person in ("u1", "u2"):
            add_person(session, person)
            log.record("login", user_id=person, ip_address="10.0.0.1", metadata={"agent": "x"})
        profiles.update(
            "u1",
            username="ada",
            display_name="Ada",
            bio="Countess",
            avatar_url="https://e.org/a.png",
            metadata={"phone": "1"},
        )
        post_id = add_post(session, "u1")
        PostCommentRepository(session).create(post_id=post_id, user_id="u1", content="Mine")
        PostLikeRepository(session).like(post_id, "u1")
        profiles.deactivate("u1")
        return post_id

    def anonymize(session: Session) -> UserProfile:
        held = session.scalars(select(ActivityLog).where(ActivityLog.user_id == "u1")).all()
        profile = UserProfileRepository(session).anonymize("u1")
        assert [(row.ip_address, row.metadata_) for row in held] == [(None, {})] * len(held)
        return profile

    def read(session: Session) -> None:
        for row in session.scalars(select(ActivityLog)):
            if row.user_id == "u1":
                assert (row.ip_address, row.metadata_) == (None, {})
            else:
                assert (str(row.ip_address), row.metadata_) == ("10.0.0.1", {"agent": "x"})
        post = PostRepository(session).get_visible(post_id, "u2")
        assert (post.likes_count, post.comments_count) == (1, 1)
        assert post.author is not None
        assert post.author.status == "anonymized"
        assert UserProfileRepository(session).get_by_username("ada") is None
        for act in (
            UserProfileRepository(session).deactivate,
            UserProfileRepository(session).reactivate,
        ):
            with pytest.raises(Conflict, match="anonymized"):
                act("u1")

    def record_again(session: Session) -> None:
        ActivityLogRepository(session).record("login", user_id="u1", ip_address="::1")

    post_id = run(organization, write)
    profile = run(organization, anonymize)
    assert re.fullmatch("former-[0-9a-f]{32}", profile.username)
    assert (profile.display_name, profile.bio, profile.avatar_url) == (None, None, None)
    assert (profile.metadata_, profile.status) == ({}, "anonymized")
    assert profile.updated_at > profile.created_at
    run(organization, read)
    run(organization, record_again)
    again = run(organization, anonymize)
    assert (again.username, again.updated_at) == (profile.username, profile.updated_at)
    run(organization, read)


def test_who_does_not_exist_has_no_status(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        profiles = UserProfileRepository(session)
        for act in (profiles.deactivate, profiles.reactivate, profiles.anonymize):
            with pytest.raises(NotFound):
                act("nobody")
            for user_id in ("", "a\0b", "\ud800"):
                with pytest.raises(Invalid, match="user id"):
                    act(user_id)

    run(organization, body)


def test_anonymizing_at_the_same_time_is_done_once(run: Runner, organization: Organization) -> None:
    run(organization, add_person, "ada")

    def anonymize(session: Session) -> str:
        return UserProfileRepository(session).anonymize("ada").username

    assert len(set(run.concurrently(organization, [anonymize] * 8))) == 1


def test_nothing_is_written_back_while_a_person_is_anonymized(
    run: Runner, organization: Organization
) -> None:
    """Whoever waited for the anonymizing transaction finds the profile closed."""
    for person in ("u1", "u2", "u3"):
        run(organization, add_person, person)

        def anonymize(session: Session, person: str = person) -> None:
            UserProfileRepository(session).anonymize(person)
            session.execute(select(func.pg_sleep(0.3)))  # the others begin before this commits

        def sign_in(session: Session, person: str = person) -> None:
            session.execute(select(func.pg_sleep(0.1)))
            claims = {"sub": person, "name": "Ada", "picture": "https://e.org/a.png"}
            UserProfileRepository(session).upsert_from_claims(claims)

        def change(session: Session, person: str = person) -> None:
            session.execute(select(func.pg_sleep(0.1)))
            with suppress(Forbidden):
                UserProfileRepository(session).update(person, bio="Back")

        def reactivate(session: Session, person: str = person) -> None:
            session.execute(select(func.pg_sleep(0.1)))
            with suppress(Conflict):
                UserProfileRepository(session).reactivate(person)

        run.concurrently(organization, [anonymize, sign_in, change, reactivate])
        profile = run(organization, lambda s, p=person: s.get_one(UserProfile, p))
        assert profile.status == "anonymized"
        assert (profile.display_name, profile.avatar_url, profile.bio) == (None, None, None)


@pytest.mark.parametrize("user_id", ["", "a\0b", "\ud800"])
def test_an_id_that_nobody_can_have(run: Runner, organization: Organization, user_id: str) -> None:
    def body(session: Session) -> None:
        add_person(session, "ada")
        profiles = UserProfileRepository(session)
        assert profiles.get(user_id) is None
        assert profiles.exists(user_id) is False
        assert profiles.exists("ada") is True
        assert [p.user_id for p in profiles.get_many([user_id, "ada"])] == ["ada"]
        with pytest.raises(Invalid, match="user id"):
            profiles.update(user_id, bio="x")

    run(organization, body)


def test_each_operation_is_few_statements(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> dict[str, int]:
        profiles = UserProfileRepository(session)
        claims = {"sub": "new", "username": "new", "name": "New"}
        add_person(session, "ada")
        acts: dict[str, Callable[[], object]] = {
            "first sight": partial(profiles.upsert_from_claims, claims),
            "later": partial(profiles.upsert_from_claims, claims),
            "update": partial(profiles.update, "ada", bio="x"),
            "rename": partial(profiles.update, "ada", username="Ada"),
            "deactivate": partial(profiles.deactivate, "ada"),
            "reactivate": partial(profiles.reactivate, "ada"),
            "anonymize": partial(profiles.anonymize, "ada"),
            "get_by_username": partial(profiles.get_by_username, "new"),
        }
        return {name: number_of_statements(session, act) for name, act in acts.items()}

    # A rename stands in a savepoint: a name that is taken leaves the transaction usable.
    assert run(organization, body) == {
        "first sight": 2,
        "later": 1,
        "update": 1,
        "rename": 3,
        "deactivate": 1,
        "reactivate": 1,
        "anonymize": 2,
        "get_by_username": 1,
    }
