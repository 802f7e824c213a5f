"""The schemas of all organizations, on whichever placement they are."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from orgtenancy.errors import OrganizationExists, OrganizationNotFound, ProvisioningFailed
from orgtenancy.naming import CONTROL_PLACEMENT, validate_organization_id
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.pagination import Page, PageRequest
from orgtenancy.registry import store
from orgtenancy.schemas.building import SchemaBuilder
from orgtenancy.schemas.drift import DriftReport, RepairPlan, RepairReport
from orgtenancy.schemas.manager import SchemaManager
from orgtenancy.schemas.placing.choosing import Chooser
from orgtenancy.schemas.placing.registering import register
from orgtenancy.schemas.spread import drift
from orgtenancy.schemas.spread.fleet import SpreadFleet
from orgtenancy.schemas.spread.spares import SpreadSpares

_FIRST_PAGE = PageRequest()

# Each time another call took the id to another placement, or its reservation back.
_MAX_ATTEMPTS = 20


class SpreadSchemas(SchemaManager):
    """Provisions, finds and drops organizations, on several placements.

    What is about one of them is done on its placement. What is about all is done on each
    placement after the other, the control server first; where one fails, those behind it are
    left as they are.

    Args:
        managers: The schemas of each placement, by its name; the control server's is first.
        chooser: Chooses the placement of a new organization.
    """

    def __init__(self, managers: Mapping[str, SchemaManager], chooser: Chooser) -> None:
        control = managers[CONTROL_PLACEMENT]
        super().__init__(control.builder.database, control.revisions, locations=control.locations)
        self._managers = managers
        self._chooser = chooser
        self.fleet = SpreadFleet(managers, control.locations)
        self.spares = SpreadSpares(self.builder, [one.spares for one in managers.values()])

    def install(self) -> None:
        """Prepare all databases, as `SchemaManager.install` does one."""
        for manager in self._managers.values():
            manager.install()
            register(manager.builder.database)
        self._chooser.counts.forget()

    def provision(
        self,
        organization_id: str,
        *,
        name: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        source: str | None = None,
        placement: str | None = None,
    ) -> Organization:
        """Make an organization, as `SchemaManager.provision` does, on a placement of its own."""
        validate_organization_id(organization_id)
        for _ in range(_MAX_ATTEMPTS):
            target = self._placement_of(organization_id)
            if target is None:
                target = self._choose(attributes or {}, placement)
            elif placement not in (None, target):
                raise OrganizationExists(
                    f"organization {organization_id!r} is on placement {target!r} already: move "
                    f"it, if it is to be on {placement!r}",
                    organization_id=organization_id,
                    placement=target,
                )
            try:
                return self._managers[target].provision(
                    organization_id, name=name, attributes=attributes, source=source
                )
            except OrganizationExists as error:
                if error.placement == target:
                    raise
                # Another call was faster, or has left a reservation that nobody fills.
                self.locations.release(organization_id)
        raise ProvisioningFailed(
            f"organization {organization_id!r} could not be provisioned: {_MAX_ATTEMPTS} times "
            "other calls made it elsewhere, and dropped it",
            organization_id=organization_id,
        )

    def get(self, organization_id: str) -> Organization:
        """Return an organization as the registry has it now, in whatever status."""
        validate_organization_id(organization_id)
        return self.locations.at(
            organization_id, lambda database: self._managers[database.name].get(organization_id)
        )

    def list(
        self, page: PageRequest = _FIRST_PAGE, *, status: OrganizationStatus | None = None
    ) -> Page[Organization]:
        """Return a page of the organizations of all placements, ordered as on one."""
        pages = [manager.list(page, status=status) for manager in self._managers.values()]
        merged = heapq.merge(*(one.items for one in pages), key=lambda one: one.id)
        # At the end of a move an organization is in two registries for a moment.
        found = [
            min(same, key=lambda one: one.moving_to is not None)
            for _, same in groupby(merged, key=lambda one: one.id)
        ]
        items = tuple(found[: page.limit])
        is_more = len(found) > page.limit or any(one.next_cursor for one in pages)
        return Page(items=items, next_cursor=store.cursor_after(items[-1]) if is_more else None)

    def drift(self, organizations: Sequence[str] | None = None) -> DriftReport:
        """Compare every schema with one that is freshly made, on each placement."""
        if organizations is None:
            return drift.joined([manager.drift() for manager in self._managers.values()])
        found = self.locations.databases_of(organizations)
        return drift.joined([self._managers[one.name].drift(ids) for one, ids in found.items()])

    def repair_plan(self, report: DriftReport, *, lock_timeout: float = 1.0) -> RepairPlan:
        """Return the statements that would mend what a report found; nothing is changed."""
        return drift.joined_plan(
            [
                self._managers[part.placement].repair_plan(part, lock_timeout=lock_timeout)
                for part in drift.parts_of(report)
            ]
        )

    def repair(self, plan: RepairPlan, *, destructive: bool = False) -> RepairReport:
        """Run a plan, each schema in one transaction, and check the schemas again."""
        return drift.joined_repairs(
            [
                self._managers[part.placement].repair(part, destructive=destructive)
                for part in drift.parts_of(plan)
            ]
        )

    def drop(self, organization_id: str, *, confirm: str, force: bool = False) -> None:
        """Delete an organization with all its data, as `SchemaManager.drop` does."""
        validate_organization_id(organization_id)

        def drop(manager: SchemaManager) -> None:
            manager.drop(organization_id, confirm=confirm, force=force)

        self.locations.at(organization_id, lambda database: drop(self._managers[database.name]))

    @contextmanager
    def making(
        self, organization_id: str, attributes: Mapping[str, Any], placement: str | None
    ) -> Iterator[SchemaBuilder]:
        """Return a block in which other code makes an organization, on a placement of its own."""
        validate_organization_id(organization_id)
        if (found := self._placement_of(organization_id)) is not None:
            raise OrganizationExists(
                f"organization {organization_id!r} exists, on placement {found!r}",
                organization_id=organization_id,
                placement=found,
            )
        target = self._choose(attributes, placement)
        with self._managers[target].making(organization_id, attributes, None) as builder:
            yield builder
        self._chooser.placed(target)

    def provisioned(self, organization: Organization) -> None:
        """Take note of an organization that was made, on whichever placement."""
        self._chooser.placed(organization.placement)
        self.spares.claimed()

    def _placement_of(self, organization_id: str) -> str | None:
        """Return where an organization is, made or half-made; None if it is nowhere."""
        database = self.locations.database_of(organization_id)
        try:
            self._managers[database.name].get(organization_id)
        except OrganizationNotFound:
            self.locations.check_is_free(organization_id)
            return None
        return database.name

    def _choose(self, attributes: Mapping[str, Any], placement: str | None) -> str:
        if placement is None:
            return self._chooser.choose(attributes)
        self._chooser.check(placement)
        return placement
