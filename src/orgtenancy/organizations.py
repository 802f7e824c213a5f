"""An organization as the registry knows it, and the statuses it moves through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from orgtenancy.naming import CONTROL_PLACEMENT, validate_organization_id

OrganizationId = Annotated[str, AfterValidator(validate_organization_id)]


class OrganizationStatus(StrEnum):
    """Where an organization is in its life."""

    PROVISIONING = "provisioning"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    FENCED = "fenced"
    ARCHIVED = "archived"
    PURGED = "purged"


_S = OrganizationStatus


@dataclass(frozen=True, slots=True)
class Transition:
    """One operation of an organization's life.

    Attributes:
        sources: The statuses in which it is allowed.
        targets: The statuses that it may lead to; none if it leaves the status as it is.
    """

    sources: frozenset[OrganizationStatus]
    targets: frozenset[OrganizationStatus] = frozenset()


#: Every operation of an organization's life, and where it is allowed.
LIFECYCLE: Mapping[str, Transition] = {
    "suspend": Transition(frozenset({_S.ACTIVE}), frozenset({_S.SUSPENDED})),
    "resume": Transition(frozenset({_S.SUSPENDED}), frozenset({_S.ACTIVE})),
    "fence": Transition(frozenset({_S.ACTIVE}), frozenset({_S.FENCED})),
    "unfence": Transition(frozenset({_S.FENCED}), frozenset({_S.ACTIVE})),
    "archive": Transition(frozenset({_S.ACTIVE, _S.SUSPENDED}), frozenset({_S.ARCHIVED})),
    # To the status that it was archived from.
    "restore": Transition(frozenset({_S.ARCHIVED}), frozenset({_S.ACTIVE, _S.SUSPENDED})),
    "purge": Transition(frozenset({_S.ARCHIVED}), frozenset({_S.PURGED})),
    "rename": Transition(frozenset({_S.ACTIVE, _S.SUSPENDED, _S.FENCED, _S.ARCHIVED})),
    "change_id": Transition(frozenset({_S.ACTIVE, _S.SUSPENDED, _S.ARCHIVED})),
}


def _transitions() -> dict[OrganizationStatus, frozenset[OrganizationStatus]]:
    # To provision is where a life begins: no operation of one that exists.
    found: dict[OrganizationStatus, set[OrganizationStatus]] = {
        **{status: set() for status in _S},
        _S.PROVISIONING: {_S.ACTIVE},
    }
    for transition in LIFECYCLE.values():
        for source in transition.sources:
            found[source] |= transition.targets
    return {source: frozenset(targets) for source, targets in found.items()}


#: From each status, the statuses that may follow it.
TRANSITIONS: Mapping[OrganizationStatus, frozenset[OrganizationStatus]] = _transitions()


class Organization(BaseModel):
    """One organization: a row of the registry.

    Attributes:
        id: The identity provider's id.
        name: The display name.
        schema_name: Its PostgreSQL schema, `org_<id>`.
        role_name: Its PostgreSQL role, opaque and never renamed.
        placement: The server that holds it.
        status: Where it is in its life.
        revisions: Migration heads by module name, mirrored from its `alembic_version`.
        attributes: The host's own labels, for instance a region or a plan.
        source: Where it was learned of, such as `logto`; None if it was made by hand.
        created_at: When it was reserved.
        updated_at: When its row changed last.
        status_changed_at: When it got its status.
        status_reason: Why, for people.
        purge_after: From when on it may be purged; None unless it is archived.
        moving_to: The placement that it is about to be on; None unless the last part of a move
            is under way, in which it is fenced.
    """

    model_config = ConfigDict(frozen=True)

    id: OrganizationId
    name: str
    schema_name: str
    role_name: str
    placement: str = CONTROL_PLACEMENT
    status: OrganizationStatus = OrganizationStatus.ACTIVE
    revisions: Mapping[str, str] = Field(default_factory=dict)
    attributes: Mapping[str, Any] = Field(default_factory=dict)
    source: str | None = None
    created_at: datetime
    updated_at: datetime
    status_changed_at: datetime | None = None
    status_reason: str | None = None
    purge_after: datetime | None = None
    moving_to: str | None = None

    @property  # not cached: `model_copy(update=...)` would copy the old answer
    def is_active(self) -> bool:
        """Whether requests may work in it."""
        return self.status is OrganizationStatus.ACTIVE


class Actor(BaseModel):
    """Who acts: the subject of a verified token, with what it may do.

    Attributes:
        id: The identity provider's subject.
        scopes: The scopes granted for this organization.
        claims: All claims of the token, for a host that needs more of them.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    scopes: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = Field(default_factory=dict, repr=False)


class LifecycleEvent(BaseModel):
    """Something that happened to an organization, told after it was committed.

    Attributes:
        kind: The past participle of the operation: `provisioned`, `suspended`, ….
        organization: As it is now.
        previous: As it was, or None if it is new.
        actor_id: Who did it, if known.
        origin: Where it came from, as `current_origin` says.
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    organization: Organization
    previous: Organization | None
    actor_id: str | None
    origin: str


class AuditEntry(BaseModel):
    """A line of the audit: who did what to which organization, when, and what came of it.

    Attributes:
        id: Its number; later entries have higher ones.
        recorded_at: When, by the database's clock.
        action: What, as a past participle: `suspended`, `purge_started`, ….
        organization_id: Which organization, or None.
        actor_id: Who, if known.
        origin: From where, as `current_origin` says.
        result: What came of it.
        details: What else is worth knowing; for one that was refused, the error's code.
        recorded_by: The database's login that wrote it.
        placement: Whose audit it is in; each placement counts its own entries.
    """

    model_config = ConfigDict(frozen=True)

    id: int
    recorded_at: datetime
    action: str
    organization_id: str | None
    actor_id: str | None
    origin: str
    result: Literal["done", "refused", "failed"]
    details: Mapping[str, Any]
    recorded_by: str
    placement: str = CONTROL_PLACEMENT
