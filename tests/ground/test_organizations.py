"""Organizations, the statuses they move through, and actors."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from orgtenancy import Actor, Organization, OrganizationStatus
from orgtenancy.organizations import TRANSITIONS

NOW = datetime(2026, 1, 1, tzinfo=UTC)
S = OrganizationStatus


def make(organization_id: str = "acme", status: OrganizationStatus = S.ACTIVE) -> Organization:
    return Organization(
        id=organization_id,
        name="Acme",
        schema_name="org_acme",
        role_name="r",
        status=status,
        created_at=NOW,
        updated_at=NOW,
    )


def test_the_transitions_are_those_of_the_design() -> None:
    # provisioning → active ⇄ suspended, active ⇄ fenced, → archived → purged
    assert {(source, target) for source in TRANSITIONS for target in TRANSITIONS[source]} == {
        (S.PROVISIONING, S.ACTIVE),
        (S.ACTIVE, S.SUSPENDED),
        (S.SUSPENDED, S.ACTIVE),
        (S.ACTIVE, S.FENCED),
        (S.FENCED, S.ACTIVE),
        (S.ACTIVE, S.ARCHIVED),
        (S.SUSPENDED, S.ARCHIVED),
        (S.ARCHIVED, S.ACTIVE),
        (S.ARCHIVED, S.SUSPENDED),
        (S.ARCHIVED, S.PURGED),
    }


def test_every_status_says_where_it_leads() -> None:
    assert set(TRANSITIONS) == set(S)


def test_nothing_returns_to_provisioning_and_nothing_leaves_purged() -> None:
    assert all(S.PROVISIONING not in targets for targets in TRANSITIONS.values())
    assert TRANSITIONS[S.PURGED] == frozenset()


def test_the_spelling_of_a_status_in_the_registry_does_not_change() -> None:
    assert [str(s) for s in S] == [
        "provisioning",
        "active",
        "suspended",
        "fenced",
        "archived",
        "purged",
    ]


@pytest.mark.parametrize("status", S)
def test_only_an_active_organization_is_open_for_requests(status: OrganizationStatus) -> None:
    assert make(status=status).is_active == (status is S.ACTIVE)


@pytest.mark.parametrize("status", [s for s in S if s is not S.ACTIVE])
def test_a_copy_with_another_status_is_not_open_because_the_original_was(
    status: OrganizationStatus,
) -> None:
    original = make()
    assert original.is_active
    assert not original.model_copy(update={"status": status}).is_active


def test_an_organization_cannot_have_an_invalid_id() -> None:
    with pytest.raises(ValidationError, match="it must start with"):
        make("-acme")


def test_organizations_and_actors_are_frozen() -> None:
    organization, actor = make(), Actor(id="user-1")
    with pytest.raises(ValidationError, match="frozen"):
        organization.schema_name = "org_other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        organization.status = S.PURGED  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        actor.id = "user-2"  # type: ignore[misc]


def test_an_actors_claims_stay_out_of_its_repr() -> None:
    actor = Actor(id="user-1", scopes=frozenset({"post"}), claims={"email": "a@example.org"})
    assert "example.org" not in repr(actor)
    assert "user-1" in repr(actor)
