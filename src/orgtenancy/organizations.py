"""An organization as the registry knows it, and the statuses it moves through."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from orgtenancy.naming import validate_organization_id

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

#: From each status, the statuses that may follow it.
TRANSITIONS: Mapping[OrganizationStatus, frozenset[OrganizationStatus]] = {
    _S.PROVISIONING: frozenset({_S.ACTIVE}),
    _S.ACTIVE: frozenset({_S.SUSPENDED, _S.FENCED, _S.ARCHIVED}),
    _S.SUSPENDED: frozenset({_S.ACTIVE, _S.ARCHIVED}),
    _S.FENCED: frozenset({_S.ACTIVE}),
    _S.ARCHIVED: frozenset({_S.ACTIVE, _S.PURGED}),
    _S.PURGED: frozenset(),
}


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
    """

    model_config = ConfigDict(frozen=True)

    id: OrganizationId
    name: str
    schema_name: str
    role_name: str
    placement: str = "default"
    status: OrganizationStatus = OrganizationStatus.ACTIVE
    revisions: Mapping[str, str] = Field(default_factory=dict)
    attributes: Mapping[str, Any] = Field(default_factory=dict)
    created_at: datetime
    updated_at: datetime

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
