"""One transition: the status, the rights in the schema, and the audit, in one transaction.

The organization's row is locked first, and what follows rests on it: changes at the same time
take turns, the audit's numbers are drawn in the order of the changes, and PostgreSQL never
meets two changes of one schema's rights at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy.exc import DBAPIError

from orgtenancy.database.engines import Database
from orgtenancy.errors import OrganizationBusy, OrganizationNotFound, TransitionRefused
from orgtenancy.naming import validate_organization_id
from orgtenancy.organizations import LIFECYCLE, Organization, OrganizationStatus
from orgtenancy.registry import audit, store
from orgtenancy.registry.tables import organization_from, organizations
from orgtenancy.schemas.dropping import check_is_staying
from orgtenancy.schemas.rights import set_rights
from orgtenancy.schemas.waiting import limit_lock_wait

#: What the audit and the events call an operation that was done.
ACTIONS: Mapping[str, str] = {
    "suspend": "suspended",
    "resume": "resumed",
    "fence": "fenced",
    "unfence": "unfenced",
    "archive": "archived",
    "restore": "restored",
    "purge": "purged",
    "rename": "renamed",
    "set_attributes": "attributes_set",
    "link": "linked",
    "change_id": "id_changed",
}

# deadlock_detected, lock_not_available, and what PostgreSQL says where a revision changes the
# rights of the schema at the same time: "tuple concurrently updated" has no code of its own.
_BUSY = frozenset({"40P01", "55P03", "XX000"})

_HOLD = (
    select(organizations, func.clock_timestamp().label("clock"))
    .where(organizations.c.id == bindparam("key"))
    .with_for_update()
)


@dataclass(frozen=True, slots=True)
class Changed:
    """What an operation did.

    Attributes:
        before: The organization as it was.
        after: As it is now; the same object if there was nothing to do.
    """

    before: Organization
    after: Organization

    @property
    def is_news(self) -> bool:
        """Whether anything was changed."""
        return self.after is not self.before


@dataclass(frozen=True, slots=True)
class Held:
    """An organization whose row the transaction has locked.

    Attributes:
        organization: As it is.
        archived_from: The status that `restore` gives back.
        is_being_purged: Whether its data is being dropped.
        clock: The server's time.
    """

    organization: Organization
    archived_from: OrganizationStatus
    is_being_purged: bool
    clock: datetime

    def check(self, operation: str) -> None:
        """Make sure that its status allows an operation.

        Raises:
            TransitionRefused: If it does not.
        """
        organization = self.organization
        # Attributes are a kind of name.
        allowed = LIFECYCLE["rename" if operation == "set_attributes" else operation].sources
        if organization.status in allowed and (operation == "purge" or not self.is_being_purged):
            return
        state = "being purged" if self.is_being_purged else str(organization.status)
        raise TransitionRefused(
            f"{operation} is refused: organization {organization.id!r} is {state}, and would have "
            f"to be {' or '.join(sorted(allowed))}",
            operation=operation,
            status=organization.status,
            organization_id=organization.id,
            schema=organization.schema_name,
            placement=organization.placement,
        )


@contextmanager
def transaction_for(
    database: Database, operation: str, organization_id: str
) -> Iterator[Connection]:
    """Open the transaction of an operation; what it does not do is audited.

    Raises:
        InvalidOrganizationId: If the id breaks a naming rule.
        OrganizationBusy: If others hold the organization for too long.
    """
    validate_organization_id(organization_id)
    with audit.told_if_not_done(database, ACTIONS[operation], organization_id):
        try:
            with database.admin_engine.begin() as connection:
                limit_lock_wait(connection, database.settings.lifecycle_lock_timeout)
                yield connection
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _BUSY:
                raise
            raise OrganizationBusy(
                f"others hold organization {organization_id!r}: {operation} it later",
                operation=operation,
                organization_id=organization_id,
            ) from error


def hold(connection: Connection, organization_id: str) -> Held:
    """Lock an organization's row until the transaction ends.

    Raises:
        OrganizationNotFound: If the registry does not have it.
        OrganizationBusy: If it is about to be on another placement.
    """
    row = connection.execute(_HOLD, {"key": organization_id}).one_or_none()
    if row is None:
        raise OrganizationNotFound(
            f"no organization {organization_id!r}", organization_id=organization_id
        )
    organization = organization_from(row)
    check_is_staying(organization, "change")
    # One that was archived before this was noted stays shut when it comes back.
    archived_from = OrganizationStatus(row.archived_from or OrganizationStatus.SUSPENDED)
    return Held(organization, archived_from, row.purge_started_at is not None, row.clock)


def change(
    database: Database,
    operation: str,
    organization_id: str,
    *,
    reason: str | None = None,
    source: str | None = None,
    grace: timedelta | None = None,
) -> Changed:
    """Do an operation that leads to another status; nothing, if it is there already.

    Args:
        database: The placement.
        operation: Its name in `LIFECYCLE`.
        organization_id: Which organization.
        reason: Why, for people.
        source: Who asks for it, such as `logto`; None for people.
        grace: How long it can be restored, if it is archived.

    Raises:
        InvalidOrganizationId: If the id breaks a naming rule.
        OrganizationNotFound: If the registry does not have it.
        TransitionRefused: If its status does not allow the operation.
        OrganizationBusy: If others hold it for too long.
    """
    with transaction_for(database, operation, organization_id) as connection:
        held = hold(connection, organization_id)
        before = held.organization
        targets = LIFECYCLE[operation].targets
        if before.status in targets:
            return Changed(before, before)
        held.check(operation)
        target = held.archived_from if operation == "restore" else next(iter(targets))
        set_rights(connection, database, before, is_open=target is OrganizationStatus.ACTIVE)
        after = store.change_status(
            connection,
            organization_id,
            target,
            status_reason=reason,
            status_source=source,
            **_archive_values(held, target, grace),
        )
        if after is None:  # the registry's own guard; the row is locked and was checked
            raise RuntimeError(f"{operation} of {organization_id!r} did not change its row")
        details = {"from": before.status, "to": target, "reason": reason, "source": source}
        audit.record(connection, ACTIONS[operation], organization_id, details=details)
    return Changed(before, after)


def _archive_values(
    held: Held, target: OrganizationStatus, grace: timedelta | None
) -> dict[str, Any]:
    if target is not OrganizationStatus.ARCHIVED or grace is None:
        return {"archived_from": None, "purge_after": None}
    return {"archived_from": held.organization.status, "purge_after": held.clock + grace}
