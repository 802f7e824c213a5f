"""The schemas that a job is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    Subquery,
    Text,
    cast,
    false,
    func,
    literal,
    null,
    select,
    union_all,
)

from orgtenancy.organizations import OrganizationStatus
from orgtenancy.registry.tables import organizations, spares

# One is not there yet, the others are no more.
_WITHOUT_SCHEMA = (OrganizationStatus.PROVISIONING, OrganizationStatus.PURGED)


class TargetGone(Exception):
    """A schema is no target any more: dropped meanwhile, or its status keeps jobs out.

    The message says which, where that is known.
    """


@dataclass(frozen=True, slots=True)
class Target:
    """A schema that a job is about.

    Attributes:
        role_name: Its key: it never changes, also when a spare becomes an organization.
        schema_name: Its name for now.
        organization_id: Whose it is, or None for a spare.
        revisions: The revision of each module, as the registry mirrors it.
        attributes: The host's labels of the organization.
    """

    role_name: str
    schema_name: str
    organization_id: str | None
    revisions: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What people call it."""
        return self.schema_name if self.organization_id is None else self.organization_id


@dataclass(frozen=True, slots=True)
class RevisionGroup:
    """Schemas that are at the same revisions.

    Attributes:
        revisions: The revision of each module.
        organizations: How many organizations.
        spares: How many spares.
        fenced: How many of the organizations are fenced: jobs leave them alone.
    """

    revisions: Mapping[str, str]
    organizations: int
    spares: int
    fenced: int = 0


def group_by_revisions(
    connection: Connection, placement: str, *, organization_ids: Sequence[str] | None = None
) -> list[RevisionGroup]:
    """Return which revisions the fleet, or some organizations, are at, in one query."""
    every = _every_schema(placement).subquery()
    owned = func.count(every.c.organization_id)
    fenced = func.count().filter(every.c.is_fenced)
    statement = select(every.c.revisions, owned, func.count() - owned, fenced).group_by(
        every.c.revisions
    )
    if organization_ids is not None:
        statement = statement.where(every.c.organization_id.in_(organization_ids))
    groups = [RevisionGroup(*row) for row in connection.execute(statement)]
    return sorted(groups, key=lambda group: sorted(group.revisions.items()))


def find_targets(
    connection: Connection,
    placement: str,
    *,
    organization_ids: Sequence[str] | None = None,
    with_spares: bool = True,
    status: OrganizationStatus | None = None,
) -> list[Target]:
    """Return the schemas of a placement: spares first, then by the organizations' ids.

    A fenced organization is none of them: it is being moved, or looked at, as it is.

    Args:
        connection: A connection of the owner.
        placement: The server.
        organization_ids: Only these, and no spares.
        with_spares: Whether spares belong to them.
        status: Only organizations with this status.
    """
    every = _every_schema(placement, status).subquery()
    statement = _targets_of(every)
    if organization_ids is not None:
        statement = statement.where(every.c.organization_id.in_(organization_ids))
    elif not with_spares:
        statement = statement.where(every.c.organization_id.is_not(None))
    order = every.c.organization_id.collate("C")
    rows = connection.execute(statement.order_by(order.nulls_first(), every.c.schema_name))
    return [Target(**row._asdict()) for row in rows]


def find_target(connection: Connection, role_name: str) -> Target | None:
    """Return a schema by its role, or None if it is gone, or fenced meanwhile."""
    every = _every_schema(None).subquery()
    statement = _targets_of(every).where(every.c.role_name == role_name)
    row = connection.execute(statement).one_or_none()
    return None if row is None else Target(**row._asdict())


def unknown_organizations(connection: Connection, organization_ids: Sequence[str]) -> list[str]:
    """Return those ids that the registry does not have, in the order given."""
    if not organization_ids:
        return []
    statement = select(organizations.c.id).where(organizations.c.id.in_(organization_ids))
    known = set(connection.scalars(statement))
    return [given for given in organization_ids if given not in known]


def _targets_of(every: Subquery) -> Select[Any]:
    columns = [column for column in every.c if column.name != "is_fenced"]
    return select(*columns).where(~every.c.is_fenced)


def _every_schema(placement: str | None, status: OrganizationStatus | None = None) -> Any:
    owned = select(
        organizations.c.role_name,
        organizations.c.schema_name,
        organizations.c.id.label("organization_id"),
        organizations.c.revisions,
        organizations.c.attributes,
        (organizations.c.status == OrganizationStatus.FENCED).label("is_fenced"),
    ).where(
        organizations.c.status.not_in(_WITHOUT_SCHEMA),
        # What is being dropped is half there, and nobody comes back to it.
        organizations.c.purge_started_at.is_(None),
    )
    spare = select(
        spares.c.role_name,
        spares.c.schema_name,
        cast(null(), Text).label("organization_id"),
        spares.c.revisions,
        literal({}, organizations.c.attributes.type).label("attributes"),
        false().label("is_fenced"),
    ).where(spares.c.ready_at.is_not(None))
    if status is not None:
        owned = owned.where(organizations.c.status == status)
    if placement is not None:
        owned = owned.where(organizations.c.placement == placement)
        spare = spare.where(spares.c.placement == placement)
    return union_all(owned, spare)
