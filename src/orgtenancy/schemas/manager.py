"""SchemaManager: the schemas of all organizations, as their owner sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Event
from typing import Any

from orgtenancy.database.engines import Database
from orgtenancy.database.placements import Placements
from orgtenancy.errors import OrganizationNotFound, PlacementNotFound
from orgtenancy.modules import OrganizationModule
from orgtenancy.naming import validate_organization_id
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.pagination import Page, PageRequest
from orgtenancy.registry import store
from orgtenancy.registry.audit import told_if_not_done
from orgtenancy.registry.locations import Locations
from orgtenancy.schemas.building import SchemaBuilder
from orgtenancy.schemas.claiming import Claims
from orgtenancy.schemas.drift import (
    DriftReport,
    RepairPlan,
    RepairReport,
    apply_repair,
    check,
    plan_repair,
)
from orgtenancy.schemas.dropping import drop
from orgtenancy.schemas.fleet import Fleet, FleetStatus, Job, JobOptions
from orgtenancy.schemas.fleet.manager import DEFAULT_OPTIONS, OnProgress
from orgtenancy.schemas.installation import install
from orgtenancy.schemas.provisioning import provision
from orgtenancy.schemas.revisions import HEADS, Revisions
from orgtenancy.schemas.revisions.places import Limits
from orgtenancy.schemas.spares import Spares

_FIRST_PAGE = PageRequest()


class SchemaManager:
    """Provisions, finds and drops organizations. It works as the owner, by `admin_url`.

    The methods that end in `_async` do the same in a thread, and keep the event loop free.

    Args:
        database: The placement.
        modules: What every organization's schema contains, or its revisions.
        locations: Which placement an organization is on, where there are several.
        on_change: Called in this process with the id of an organization that changed.
        on_provisioned: Called with an organization that this process made.

    Attributes:
        revisions: The revisions of the modules.
        locations: Which placement an organization is on.
        builder: Makes schemas as any organization's is made, in a given transaction.
        fleet: Migrations and other jobs over all organizations.
        spares: Schemas that are made ahead of time.
    """

    def __init__(
        self,
        database: Database,
        modules: Sequence[OrganizationModule] | Revisions,
        *,
        locations: Locations | None = None,
        on_change: Callable[[str], None] = lambda organization_id: None,
        on_provisioned: Callable[[Organization], None] = lambda organization: None,
    ) -> None:
        self._database = database
        self._on_change = on_change
        self._on_provisioned = on_provisioned
        self.revisions = modules if isinstance(modules, Revisions) else Revisions(modules)
        self.locations = Locations(Placements(database, {})) if locations is None else locations
        self.builder = SchemaBuilder(database, self.revisions)
        self._claims = Claims(self.builder)
        self.spares = Spares(self.builder)
        self.fleet = Fleet(database, self.revisions)

    def install(self) -> None:
        """Prepare the database: the registry, and the rights of the app's login.

        May run at every start: what is in place is left alone.

        Raises:
            ConfigurationError: If a module, a right or a setting cannot work.
        """
        _ = self.revisions.heads  # a broken module is found before the database is touched
        install(self._database)

    def provision(
        self,
        organization_id: str,
        *,
        name: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        source: str | None = None,
        placement: str | None = None,
    ) -> Organization:
        """Make an organization with all tables of the modules, ready for work.

        Where a spare is ready, it is claimed, in a few milliseconds. Calling it again, also
        from several processes at once, gives the same organization.

        Args:
            organization_id: The identity provider's id.
            name: The display name; the id if not given.
            attributes: The host's own labels.
            source: Where it was learned of, such as `logto`; None if it is made by hand.
            placement: Which one it goes to; the tenancy's policy chooses if not given.

        Raises:
            InvalidOrganizationId: If the id breaks a naming rule.
            OrganizationExists: If it is there, and on another placement than the one given.
            OrganizationUnavailable: If it exists and is suspended, fenced, archived or purged.
            PlacementNotFound: If the tenancy does not name the placement.
            PlacementUnavailable: If the placement, or each of them, is full, drained or down.
            ProvisioningFailed: If its schema could not be made; nothing of it remains.
        """
        self._check_placement(organization_id, placement)
        with (
            self._making(organization_id),
            told_if_not_done(self._database, "provisioned", organization_id),
        ):
            organization, made = provision(
                self.builder,
                self._claims,
                organization_id,
                name=name,
                attributes=attributes or {},
                source=source,
            )
        self._on_change(organization_id)
        if made:
            self.spares.claimed()
            self._on_provisioned(organization)
        return organization

    @contextmanager
    def making(
        self, organization_id: str, attributes: Mapping[str, Any], placement: str | None
    ) -> Iterator[SchemaBuilder]:
        """Return a block in which other code makes an organization, and what makes its schema.

        Args:
            organization_id: Its id, which no other organization has.
            attributes: Its labels, by which a policy may choose.
            placement: Which one it goes to; the tenancy's policy chooses if None.

        Raises:
            OrganizationExists: If it is on another placement.
            PlacementNotFound: If the tenancy does not name the placement.
            PlacementUnavailable: If the placement, or each of them, is full, drained or down.
        """
        self._check_placement(organization_id, placement)
        with self._making(organization_id):
            yield self.builder
        self._on_change(organization_id)

    async def provision_async(
        self,
        organization_id: str,
        *,
        name: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        source: str | None = None,
        placement: str | None = None,
    ) -> Organization:
        """Make an organization, as `provision` does."""
        return await asyncio.to_thread(
            self.provision,
            organization_id,
            name=name,
            attributes=attributes,
            source=source,
            placement=placement,
        )

    def get(self, organization_id: str) -> Organization:
        """Return an organization as the registry has it now, in whatever status.

        Raises:
            InvalidOrganizationId: If the id breaks a naming rule.
            OrganizationNotFound: If the registry does not have it.
        """
        validate_organization_id(organization_id)
        with self._database.admin_engine.begin() as connection:
            organization = store.find(connection, organization_id)
        if organization is None:
            raise OrganizationNotFound(
                f"no organization {organization_id!r}", organization_id=organization_id
            )
        return organization

    async def get_async(self, organization_id: str) -> Organization:
        """Return an organization, as `get` does."""
        return await asyncio.to_thread(self.get, organization_id)

    def list(
        self, page: PageRequest = _FIRST_PAGE, *, status: OrganizationStatus | None = None
    ) -> Page[Organization]:
        """Return a page of the organizations, ordered by the bytes of their ids.

        Args:
            page: Which page.
            status: Only those with this status.

        Raises:
            InvalidCursor: If the cursor was not made by this list.
        """
        with self._database.admin_engine.begin() as connection:
            return store.list_page(connection, page, status)

    async def list_async(
        self, page: PageRequest = _FIRST_PAGE, *, status: OrganizationStatus | None = None
    ) -> Page[Organization]:
        """Return a page of the organizations, as `list` does."""
        return await asyncio.to_thread(self.list, page, status=status)

    def status(self) -> FleetStatus:
        """Return which revisions the organizations are at: one query over the registry."""
        return self.fleet.status()

    def migrate(
        self,
        target: str = HEADS,
        *,
        options: JobOptions = DEFAULT_OPTIONS,
        on_progress: OnProgress = lambda progress: None,
        cancel: Event | None = None,
    ) -> Job | None:
        """Bring all organizations, and the spares, to the newest revisions.

        What `Fleet.migrate` does, which also goes down, and knows of single organizations.

        Args:
            target: `heads`, a revision's id, `module@head` or `+1`.
            options: Workers, waves, limits.
            on_progress: Called after each schema.
            cancel: Set it to stop: what is begun is finished.

        Returns:
            The job, or None if all are there already.

        Raises:
            JobFailed: If some schemas were not migrated; the others were.
            JobLocked: If another runner works on the placement.
        """
        return self.fleet.migrate(target, options=options, on_progress=on_progress, cancel=cancel)

    async def migrate_async(
        self,
        target: str = HEADS,
        *,
        options: JobOptions = DEFAULT_OPTIONS,
        on_progress: OnProgress = lambda progress: None,
    ) -> Job | None:
        """Bring all organizations to the newest revisions, as `migrate` does, in a thread.

        A task that is cancelled stops the job: what is begun is finished first.
        """
        cancel = Event()
        work = asyncio.create_task(
            asyncio.to_thread(
                self.migrate, target, options=options, on_progress=on_progress, cancel=cancel
            )
        )
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            cancel.set()
            await asyncio.wait([work])
            raise

    def drift(self, organizations: Sequence[str] | None = None) -> DriftReport:
        """Compare every schema with one that is freshly made, in one query over the catalogs.

        The fresh one is made in a transaction that is rolled back: nothing of it is left.

        Args:
            organizations: Only these; None for all, with the spares, and with what the
                registry does not know.

        Raises:
            OrganizationNotFound: If the registry does not have one of them.
        """
        return check(self.builder, organizations)

    async def drift_async(self, organizations: Sequence[str] | None = None) -> DriftReport:
        """Compare every schema with one that is freshly made, as `drift` does."""
        return await asyncio.to_thread(self.drift, organizations)

    def repair_plan(self, report: DriftReport, *, lock_timeout: float = 1.0) -> RepairPlan:
        """Return the statements that would mend what a report found; nothing is changed.

        Args:
            report: What `drift` returned. Its schemas are looked at again.
            lock_timeout: Seconds that the repair of a schema may wait for a lock.
        """
        return plan_repair(self.builder, report, Limits(lock_timeout))

    def repair(self, plan: RepairPlan, *, destructive: bool = False) -> RepairReport:
        """Run a plan, each schema in one transaction, and check the schemas again.

        A schema that is no longer at the stamps it was planned at is left alone.

        Args:
            plan: What `repair_plan` returned.
            destructive: Whether to run also the steps that lose data.
        """
        return apply_repair(self.builder, plan, destructive=destructive)

    def drop(self, organization_id: str, *, confirm: str, force: bool = False) -> None:
        """Delete an organization with all its data, at once and for good.

        Nothing remains of it but the audit, and its id is free again; `Organizations.purge`
        is the way that leaves time to think. Killed on the way, it leaves the organization
        archived and shut; calling it again finishes.

        Args:
            organization_id: Which organization.
            confirm: The same id again, so that no slip of a variable drops another.
            force: Drop it although it is open for work.

        Raises:
            InvalidOrganizationId: If the id breaks a naming rule.
            DropRefused: If a safeguard forbids it.
            OrganizationNotFound: If the registry does not have it.
            OrganizationBusy: If others hold it for too long.
        """
        try:
            with told_if_not_done(self._database, "dropped", organization_id):
                drop(self._database, organization_id, confirm=confirm, force=force)
        finally:
            self._on_change(organization_id)  # it may be closed, and not gone

    async def drop_async(self, organization_id: str, *, confirm: str, force: bool = False) -> None:
        """Delete an organization, as `drop` does."""
        await asyncio.to_thread(self.drop, organization_id, confirm=confirm, force=force)

    def _check_placement(self, organization_id: str, placement: str | None) -> None:
        if placement not in (None, self._database.name):
            raise PlacementNotFound(
                f"organizations are made on placement {self._database.name!r} here, not on "
                f"{placement!r}",
                organization_id=organization_id,
                placement=placement,
            )

    def _making(self, organization_id: str) -> AbstractContextManager[None]:
        """Return the block in which an organization is made."""
        return nullcontext()
