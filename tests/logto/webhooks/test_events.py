"""What a body says, whatever is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orgtenancy.identity.logto_sync.inbound import events
from orgtenancy.identity.logto_sync.inbound.events import (
    Action,
    ArchiveOrganization,
    Ignore,
    LogtoEvent,
    ProvisionOrganization,
    RefreshMembers,
    RemoveMember,
    SetActor,
    Unusable,
    action_of,
    read_event,
)
from orgtenancy.testing import logto_webhook
from tests.logto.webhooks.world import recordings

ORGANIZATION, USER = "7zp7flxblujn", "afb6zw2tnuqy"

EVENTS = [events.CREATED, events.UPDATED, events.DELETED, events.MEMBERSHIP, events.SUSPENSION]


def body(number: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(recordings()[number])
    return found


@pytest.mark.parametrize(
    ("number", "name", "subject", "occurred_at", "action"),
    [
        (
            0,
            "Organization.Created",
            ORGANIZATION,
            "04:33:10.896",
            ProvisionOrganization(ORGANIZATION, "Acme", body(0)["data"]),
        ),
        (
            1,
            "Organization.Membership.Updated",
            ORGANIZATION,
            "04:33:11.054",
            RefreshMembers(ORGANIZATION),
        ),
        (
            2,
            "Organization.Data.Updated",
            ORGANIZATION,
            "04:33:11.124",
            ProvisionOrganization(ORGANIZATION, "Acme 2", body(2)["data"]),
        ),
        (
            3,
            "Organization.Membership.Updated",
            ORGANIZATION,
            "04:33:11.183",
            RefreshMembers(ORGANIZATION),
        ),
        (
            4,
            "Organization.Membership.Updated",
            ORGANIZATION,
            "04:33:21.436",
            RemoveMember(ORGANIZATION, USER),
        ),
        (5, "User.SuspensionStatus.Updated", USER, "04:33:22.497", SetActor(USER, "suspended")),
        (
            6,
            "Organization.Deleted",
            ORGANIZATION,
            "04:33:22.543",
            ArchiveOrganization(ORGANIZATION),
        ),
    ],
)
def test_each_recorded_body_says_what_is_to_be_done(
    number: int, name: str, subject: str, occurred_at: str, action: Action
) -> None:
    when = datetime.fromisoformat(f"2026-11-23T{occurred_at}+00:00")
    assert read_event(body(number)) == LogtoEvent(name, subject, when)
    assert action_of(body(number)) == action


def test_all_recorded_bodies_are_looked_at() -> None:
    assert len(recordings()) == 7


def test_what_was_not_recorded_is_understood_too() -> None:
    assert action_of(logto_webhook("user_deleted", user="bob")) == SetActor("bob", "deleted")
    assert action_of(logto_webhook("user_resumed", user="bob")) == SetActor("bob", "active")
    assert action_of({"event": "User.Deleted", "data": {"id": "bob"}}) == SetActor("bob", "deleted")
    # A user who accepts an invitation: neither the route nor the user is one of the above.
    invitation = {"event": events.MEMBERSHIP, "organizationId": "acme", "params": {"id": "inv"}}
    assert action_of(invitation) == RefreshMembers("acme")


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "PUT"},
        {"matchedRoute": "/organizations/:id/users/:userId/roles"},
        {"matchedRoute": None},
        {"params": {}},
        {"params": {"id": "acme", "userId": 7}},
        {"params": {"id": "acme", "userId": ""}},
    ],
)
def test_only_the_removal_of_a_user_removes_one(changes: dict[str, Any]) -> None:
    removal = logto_webhook("member_removed", organization="acme", user="bob")
    assert action_of(removal) == RemoveMember("acme", "bob")
    assert action_of({**removal, **changes}) == RefreshMembers("acme")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"event": events.CREATED}, "no data.id"),
        ({"event": events.UPDATED, "data": None}, "no data.id"),
        ({"event": events.CREATED, "data": {"id": "x" * 300}}, "no data.id"),
        ({"event": events.CREATED, "data": {"id": "a\nb"}}, "no data.id"),
        ({"event": events.DELETED}, "no params.id"),
        ({"event": events.DELETED, "params": []}, "no params.id"),
        ({"event": events.MEMBERSHIP}, "no organizationId"),
        ({"event": events.SUSPENSION, "data": {"id": "bob"}}, "no data.id, or no data.isSuspended"),
        (
            {"event": events.SUSPENSION, "data": {"id": "bob", "isSuspended": 1}},
            "no data.id, or no data.isSuspended",
        ),
        ({"event": events.USER_DELETED}, "no params.userId"),
    ],
)
def test_an_event_that_says_too_little_says_what_it_lacks(
    body: dict[str, Any], reason: str
) -> None:
    assert action_of(body) == Unusable(reason)


def test_a_name_is_optional() -> None:
    for name in (None, "", 7, ["x"]):
        found = action_of({"event": events.CREATED, "data": {"id": "acme", "name": name}})
        assert isinstance(found, ProvisionOrganization)
        assert found.name is None


@pytest.mark.parametrize("event", ["User.Created", "PostSignIn", "organization.created", "", None])
def test_other_events_are_ignored(event: object) -> None:
    assert action_of({"event": event, "data": {"id": "acme"}}) == Ignore()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
members = {
    "event": st.sampled_from(EVENTS) | json_values,
    "createdAt": st.just("2026-11-23T04:33:10.896Z") | json_values,
    "method": st.just("DELETE") | json_values,
    "matchedRoute": st.just("/organizations/:id/users/:userId") | json_values,
    "organizationId": json_values,
    "params": st.fixed_dictionaries({}, optional={"id": json_values, "userId": json_values})
    | json_values,
    "data": st.fixed_dictionaries(
        {}, optional={"id": json_values, "name": json_values, "isSuspended": json_values}
    )
    | json_values,
}
bodies = st.fixed_dictionaries({}, optional=members) | st.dictionaries(st.text(), json_values)


@settings(deadline=None)
@given(body=bodies)
def test_whatever_the_json_the_parser_has_an_answer(body: Mapping[str, Any]) -> None:
    action = action_of(body)
    assert isinstance(action, get_args(Action))
    try:
        event = read_event(body)
    except ValueError:
        return
    assert event.occurred_at.tzinfo is not None
    assert 0 < len(event.name) <= 256
    assert len(event.subject) <= 256
    assert (event.subject == "") == isinstance(action, Ignore | Unusable)
    f"{event.name}{event.subject}".encode()
