"""Making the registry as Logto is: what no webhook told, or told in vain.

It can be killed anywhere, and run again: each step is one transaction, and done once.
"""

from __future__ import annotations

import asyncio

from orgtenancy.context import acting
from orgtenancy.errors import SyncRefused
from orgtenancy.identity.logto_sync.api.management import ManagementApi
from orgtenancy.identity.logto_sync.host import Host
from orgtenancy.identity.logto_sync.names import SYNC_ACTION, SYNC_ORIGIN
from orgtenancy.identity.logto_sync.reconciliation.members import MemberReading, plan_members
from orgtenancy.identity.logto_sync.reconciliation.planning import (
    Comparison,
    Labels,
    clock_of,
    read,
    too_many,
)
from orgtenancy.identity.logto_sync.reconciliation.plans import SyncPlan, SyncReport
from orgtenancy.identity.logto_sync.reconciliation.work import OnMember, Work
from orgtenancy.identity.logto_sync.settings import LogtoSettings
from orgtenancy.registry import audit


class Reconciliation:
    """Compares all organizations with Logto's, and makes them alike.

    Organizations that are missing here are provisioned, names are taken over, and what is gone
    there is archived, and restored should it come back. What was made by hand and is not in
    Logto is left alone, as is what people archived.

    Args:
        host: The tenancy, with an `admin_url`.
        api: Asks Logto.
        settings: How many may be archived, and whether members are read.
        attributes: Returns an organization's labels from what Logto says of it, such as from
            its `customData`; labels that it does not return stay as they are. None takes over
            no labels.
        on_member: Called for each member of an organization that is open, in a transaction of
            the organization, whenever members are read; to keep profiles.
    """

    def __init__(
        self,
        host: Host,
        api: ManagementApi,
        settings: LogtoSettings,
        *,
        attributes: Labels | None = None,
        on_member: OnMember | None = None,
    ) -> None:
        self._host = host
        self._database = host.schemas.builder.database
        self._api = api
        self._settings = settings
        self._attributes = attributes
        self._on_member = on_member

    def plan(self) -> SyncPlan:
        """Return what would make the registry as Logto is; it only reads, with the app's rights.

        Members that cannot be read are in the plan's `failures`, and stay as they are.

        Raises:
            SyncRefused: If more would be archived than is allowed, or Logto has no
                organization at all.
            IdentityProviderUnavailable: If Logto's organizations cannot be read to the end.
            IdentityProviderRefused: If it does not let us read them.
        """
        started_at = clock_of(self._host)
        reading = read(self._api.organizations, self._api.organization)
        comparison = Comparison(self._api, started_at, self._attributes)
        comparison.run(self._host, reading, self._settings.max_archived)
        members = MemberReading(self._host, self._api)
        if self._settings.sync_members:
            members.run(comparison.present)
        return SyncPlan(
            started_at=started_at,
            seen=len(reading.items),
            is_whole=reading.is_whole,
            items=(*comparison.items, *members.items),
            left_alone=(*comparison.left_alone, *members.left_alone),
            failures=tuple(members.failures),
            users=members.users if self._on_member is not None else {},
        )

    def apply(self, plan: SyncPlan) -> SyncReport:
        """Do what a plan says, and write `logto.sync` into the audit.

        What fails for one organization is in the report, and the others are done. What changed
        since the plan was begun is left as it is.

        Raises:
            SyncRefused: If the plan archives more than is allowed; nothing was changed.
            Exception: If the database is gone; what was done before stays done.
        """
        with acting(None, SYNC_ORIGIN):
            if len(plan.archived) > self._settings.max_archived:
                error = too_many(plan.archived, self._settings.max_archived)
                self._record_refusal(error)
                raise error
            work = Work(self._host, plan.started_at)
            for organization_id, items in plan.by_subject():
                work.do(organization_id, items)
            if self._on_member is not None:
                for organization_id, users in plan.users.items():
                    work.tell(organization_id, users, self._on_member)
            details = {
                **work.done,
                "seen": plan.seen,
                "failed": len(plan.failures) + len(work.failures),
                "left_alone": len(plan.left_alone) + len(work.left_alone),
            }
            with self._database.admin_engine.begin() as connection:
                audit.record(connection, SYNC_ACTION, None, details=details)
        return SyncReport(
            plan=plan,
            is_applied=True,
            done=dict(work.done),
            failures=(*plan.failures, *work.failures),
            left_alone=(*plan.left_alone, *work.left_alone),
        )

    def run(self, *, dry_run: bool = False) -> SyncReport:
        """Plan, and do what the plan says.

        Args:
            dry_run: Whether to plan only: nothing is written then, not even into the audit.

        Raises:
            SyncRefused: If more would be archived than is allowed; nothing was changed.
            IdentityProviderUnavailable: If Logto's organizations cannot be read; nothing was
                changed.
            IdentityProviderRefused: If it does not let us read them; nothing was changed.
        """
        try:
            plan = self.plan()
        except SyncRefused as error:
            if not dry_run:
                with acting(None, SYNC_ORIGIN):
                    self._record_refusal(error)
            raise
        if dry_run:
            return SyncReport(
                plan=plan,
                is_applied=False,
                failures=plan.failures,
                left_alone=plan.left_alone,
            )
        return self.apply(plan)

    async def run_async(self, *, dry_run: bool = False) -> SyncReport:
        """Do what `run` does, in a thread, and keep the event loop free."""
        return await asyncio.to_thread(self.run, dry_run=dry_run)

    def refresh_members(self, organization_id: str) -> None:
        """Read anew who is a member of one organization, and write it down.

        Raises:
            IdentityProviderUnavailable: If Logto cannot be read.
            IdentityProviderRefused: If it does not let us read.
        """
        work = Work(self._host, clock_of(self._host))
        items, users = plan_members(self._host, self._api, organization_id)
        with acting(None, SYNC_ORIGIN):
            work.write_members(items)
            if self._on_member is not None:
                work.tell(organization_id, tuple(users.values()), self._on_member)

    def _record_refusal(self, error: SyncRefused) -> None:
        details = {"code": error.code, "would_archive": len(error.would_archive)}
        with self._database.admin_engine.begin() as connection:
            audit.record(connection, SYNC_ACTION, None, result="refused", details=details)
