"""What every step needs to know first: what becomes of the source, and of whom it is."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from orgtenancy.database.engines import Database
from orgtenancy.errors import AdoptionRefused, OrganizationNotFound
from orgtenancy.operations.adoption import journal, planning
from orgtenancy.operations.adoption.checking import find_left_over
from orgtenancy.operations.adoption.findings import Finding
from orgtenancy.operations.adoption.mapping import AdoptionMapping
from orgtenancy.operations.adoption.organizations import SourceOrganization, read_organizations
from orgtenancy.operations.adoption.reports import AdoptionState
from orgtenancy.operations.adoption.resolving import Resolved
from orgtenancy.operations.data.tables import enter
from orgtenancy.schemas.building import SchemaBuilder


def prepare(
    builder: SchemaBuilder, mapping: AdoptionMapping, organizations: Sequence[str] | None
) -> tuple[Resolved, list[SourceOrganization]]:
    """Find out what becomes of the source, and which organizations are meant.

    Args:
        builder: Makes schemas, where the source is.
        mapping: What is declared.
        organizations: Only these, by their ids here.

    Raises:
        AdoptionRefused: If the mapping has a problem, an organization that is meant cannot have
            its id, the adoption is finished, or the server is a Citus coordinator.
        OrganizationNotFound: If the source has no organization of an id.
    """
    with builder.database.admin_engine.connect() as connection:
        check_open(connection, builder.database, mapping)
        with planning.fresh(connection, builder, mapping) as made:
            resolved = made.resolved
            _refuse("problems", resolved.problems)
            found, wrong_ids = read_organizations(connection, mapping, resolved)
    if organizations is not None:
        by_id = {one.id: one for one in found}
        for organization_id in organizations:
            if organization_id not in by_id:
                raise OrganizationNotFound(
                    f"no organization of the source has the id {organization_id!r}",
                    organization_id=organization_id,
                )
        found = [by_id[organization_id] for organization_id in dict.fromkeys(organizations)]
    keys = {one.key for one in found}
    wrong = [finding for finding in wrong_ids if keys & {*finding.organizations}]
    _refuse("organizations cannot have their ids", wrong)
    return resolved, found


def check_open(connection: Connection, database: Database, mapping: AdoptionMapping) -> None:
    """Make sure that an adoption can be here, and has not come to its end.

    Raises:
        AdoptionRefused: If it cannot, or has.
    """
    if database.has_citus:
        # Organizations are on its workers, and what compares them with the source is one query.
        raise AdoptionRefused(
            "nothing is adopted on Citus: adopt on a plain server, and move the organizations"
        )
    with connection.begin():
        archive = journal.archive_of(connection, mapping.source)
    if archive is not None:
        raise AdoptionRefused(
            f"the adoption of {mapping.source!r} is finished: its tables are in {archive!r}"
        )


def left_over(
    database: Database, mapping: AdoptionMapping, resolved: Resolved
) -> tuple[Finding, ...]:
    """Return the rows of the source that are nobody's."""
    with database.admin_engine.begin() as connection:
        enter(connection, mapping.source)
        found, _ = read_organizations(connection, mapping, resolved)
        known = [*(one.key for one in found), *mapping.organizations.ignore]
        return tuple(find_left_over(connection, resolved.tables, known))


def refuse_pending(found: Sequence[SourceOrganization]) -> None:
    """Make sure that organizations are copied.

    Raises:
        AdoptionRefused: If one is not.
    """
    if pending := [one.id for one in found if one.state is AdoptionState.PENDING]:
        raise AdoptionRefused(
            f"not copied yet: {', '.join(pending[:5])}: run the adoption first", findings=pending
        )


def _refuse(what: str, findings: Sequence[Finding]) -> None:
    if findings:
        told = "; ".join(map(str, findings[:3]))
        raise AdoptionRefused(f"{len(findings)} {what}: {told}", findings=map(str, findings))
