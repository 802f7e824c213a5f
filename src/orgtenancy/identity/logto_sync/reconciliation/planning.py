"""Comparing Logto with the registry: reading both, and changing nothing.

What Logto lists may shift from page to page while it is read. So nothing follows from what was
not seen: an organization is given up only when Logto, asked for it by its id, says that it has
none. And nothing follows from what changed here since the reading began: it is newer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeAlias, TypeVar

from sqlalchemy import Row, func, select

from orgtenancy.errors import InvalidOrganizationId, SyncRefused
from orgtenancy.identity.logto_sync.api.management import (
    Listing,
    LogtoEntry,
    LogtoOrganization,
    ManagementApi,
)
from orgtenancy.identity.logto_sync.host import Host
from orgtenancy.identity.logto_sync.names import SOURCE
from orgtenancy.identity.logto_sync.reconciliation.plans import LeftAlone, SyncItem
from orgtenancy.naming import validate_organization_id
from orgtenancy.organizations import OrganizationStatus
from orgtenancy.registry.tables import organizations

T = TypeVar("T", bound=LogtoEntry)

#: Returns labels of an organization from all that Logto says of it, such as its `customData`.
Labels: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]

_MAX_PASSES = 3

_S = OrganizationStatus
_IN_WORK = (_S.ACTIVE, _S.SUSPENDED, _S.FENCED)


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """What a list had in it, after as many passes as it took.

    Attributes:
        items: All of them, by id.
        is_whole: Whether the last pass missed nothing, as far as numbers tell.
    """

    items: Mapping[str, T]
    is_whole: bool


def read(listing: Callable[[], Listing[T]], find: Callable[[str], T | None]) -> Reading[T]:
    """Read a list until a pass missed nothing, or three times.

    Args:
        listing: Reads it once.
        find: Asks for one entry. What only an earlier pass saw was missed by a later one, or
            is gone.
    """
    seen: dict[str, T] = {}
    for _ in range(_MAX_PASSES):
        last = listing()
        seen |= last.items
        if last.is_whole:
            break
    for key in seen.keys() - last.items.keys():
        found = find(key)
        if found is None:
            del seen[key]
        else:
            seen[key] = found
    return Reading(seen, last.is_whole)


def clock_of(host: Host) -> datetime:
    """Return the time of the registry's server."""
    with host.control_session() as session:
        now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now


class Comparison:
    """Logto's organizations beside the registry's.

    Args:
        api: Asks Logto.
        started_at: When the reading began.
        attributes: Makes labels, if any are taken over.

    Attributes:
        items: What is to be done, so far.
        left_alone: For what nothing is done.
        present: The organizations that are in Logto, and may have members here.
    """

    def __init__(self, api: ManagementApi, started_at: datetime, attributes: Labels | None) -> None:
        self._api = api
        self._started_at = started_at
        self._attributes = attributes
        self.items: list[SyncItem] = []
        self.left_alone: list[LeftAlone] = []
        self.present: list[str] = []

    def run(self, host: Host, reading: Reading[LogtoOrganization], max_archived: int) -> None:
        """Compare all.

        Raises:
            SyncRefused: If Logto has no organization where the registry has some of Logto's, or
                more than `max_archived` are gone there.
        """
        rows = _all_rows(host)
        missing = [
            row
            for row in rows.values()
            if row.source == SOURCE and row.status in _IN_WORK and row.id not in reading.items
        ]
        if missing and not reading.items:
            raise SyncRefused(
                "Logto has no organization at all, which is more likely a mistake; nothing was "
                "changed",
                would_archive=[row.id for row in missing],
            )
        for key in sorted(reading.items):
            self._compare(reading.items[key], rows.get(key))
        self._look_for(missing, max_archived)

    def _look_for(self, missing: Sequence[Row[Any]], max_archived: int) -> None:
        gone: list[str] = []
        for row in missing:
            if row.updated_at > self._started_at:
                self._leave(row.id, "it changed meanwhile")
            elif (found := self._api.organization(row.id)) is not None:
                self._compare(found, row)
            elif row.status == _S.FENCED:
                self._leave(row.id, "it is gone in Logto, and fenced here")
            else:
                gone.append(row.id)
                if len(gone) > max_archived:
                    raise too_many(gone, max_archived)
        self.items.extend(SyncItem(action="archive", organization_id=one) for one in gone)

    def _compare(self, there: LogtoOrganization, row: Row[Any] | None) -> None:
        key = there.id
        try:
            validate_organization_id(key)
        except InvalidOrganizationId as error:
            self._leave(key, str(error))
            return
        try:
            labels = {} if self._attributes is None else dict(self._attributes(there.data))
        except Exception as error:  # noqa: BLE001 - the host's own function may raise anything
            self._leave(key, f"its labels cannot be told: {type(error).__name__} {error}")
            return
        if row is None:
            self.present.append(key)
            made = SyncItem(
                action="provision", organization_id=key, name=there.name, attributes=labels
            )
            self.items.append(made)
        elif reason := self._reason_to_leave(row):
            self._leave(key, reason)
        else:
            self.present.append(key)
            self.items.extend(_differences(there, row, labels))

    def _reason_to_leave(self, row: Row[Any]) -> str | None:
        if row.updated_at > self._started_at:
            return "it changed meanwhile"
        if row.status == _S.PURGED:
            return "it was purged here"
        if row.purge_started_at is not None:
            return "it is being purged here"
        if row.source not in (None, SOURCE):
            return f"it comes from {row.source}"
        return None

    def _leave(self, organization_id: str, reason: str) -> None:
        self.left_alone.append(LeftAlone(organization_id=organization_id, reason=reason))


def too_many(gone: Sequence[str], max_archived: int) -> SyncRefused:
    """Return the error for a plan that archives more than is allowed."""
    return SyncRefused(
        f"more than {max_archived} organizations would be archived, and nothing was changed",
        would_archive=gone,
    )


def _all_rows(host: Host) -> dict[str, Row[Any]]:
    """Return the rows of all organizations, by their ids and in the order of these."""
    rows: dict[str, Row[Any]] = {}
    for database in host.schemas.locations.placements:
        with database.control_session() as session:
            for row in session.execute(select(organizations)):
                # At the end of a move it is in two registries for a moment.
                if row.id not in rows or row.moving_to is None:
                    rows[row.id] = row
            session.commit()
    return dict(sorted(rows.items()))


def _differences(
    there: LogtoOrganization, row: Row[Any], labels: Mapping[str, Any]
) -> list[SyncItem]:
    key = there.id
    if row.status == _S.PROVISIONING:  # somebody began, and did not come to an end
        return [
            SyncItem(action="provision", organization_id=key, name=there.name, attributes=labels)
        ]
    items = []
    # What people archived stays archived.
    if row.status == _S.ARCHIVED and row.status_source == SOURCE:
        items.append(SyncItem(action="restore", organization_id=key))
    if row.source is None:
        items.append(SyncItem(action="link", organization_id=key))
    if row.name != there.name:
        items.append(SyncItem(action="rename", organization_id=key, name=there.name))
    wanted = {**row.attributes, **labels}
    if wanted != row.attributes:
        items.append(SyncItem(action="set_attributes", organization_id=key, attributes=wanted))
    return items
