"""Adoption: the organizations of one shared schema move into schemas of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event
from typing import TypeVar

from sqlalchemy.exc import OperationalError

from orgtenancy.database.engines import Database
from orgtenancy.errors import AdoptionFailed, AdoptionRefused, OrganizationBusy
from orgtenancy.operations.adoption import fencing, finishing, planning, switching
from orgtenancy.operations.adoption.mapping import AdoptionMapping
from orgtenancy.operations.adoption.organizations import SourceOrganization
from orgtenancy.operations.adoption.preparing import (
    check_open,
    left_over,
    prepare,
    refuse_pending,
)
from orgtenancy.operations.adoption.reports import (
    AdoptedOrganization,
    AdoptionPlan,
    AdoptionProgress,
    AdoptionReport,
    AdoptionState,
    FinishReport,
    VerifiedOrganization,
    VerifyReport,
)
from orgtenancy.operations.adoption.resolving import Resolved
from orgtenancy.operations.adoption.running import AdoptionOptions, OnProgress, Run, Work, alone
from orgtenancy.operations.adoption.working import OrganizationWork
from orgtenancy.operations.lifecycle.changing import change
from orgtenancy.operations.lifecycle.draining import drain
from orgtenancy.organizations import Organization
from orgtenancy.schemas import SchemaManager
from orgtenancy.schemas.fleet.workers import Worker

T = TypeVar("T", AdoptedOrganization, VerifiedOrganization)

_S = AdoptionState


_OPTIONS = AdoptionOptions()


def _silent(progress: AdoptionProgress) -> None:
    pass


class Adoption:
    """Moves the organizations of a shared schema into schemas of their own, one by one.

    It works as the owner, by `admin_url`. Every method can be called again, also after a crash
    at any point: what is done is known, and the rest is gone on with.

    All methods but `plan` and `verify` raise `JobLocked` if another process adopts from the
    same source, and all of them `AdoptionRefused` if the plan has a problem that is not one of
    rows, or the adoption is finished. Where ids are given, they are those here, and one that no
    organization of the source has is `OrganizationNotFound`.

    Args:
        database: Where the source and the organizations are.
        schemas: Makes schemas.
        mapping: What becomes of the source.
        on_change: Called in this process with the id of an organization that changed.
        on_adopted: Called with an organization that was switched.

    Attributes:
        mapping: What becomes of the source.
    """

    def __init__(
        self,
        database: Database,
        schemas: SchemaManager,
        mapping: AdoptionMapping,
        *,
        on_change: Callable[[str], None] = lambda organization_id: None,
        on_adopted: Callable[[Organization], None] = lambda organization: None,
    ) -> None:
        self.mapping = mapping
        self._database = database
        self._builder = schemas.builder
        self._on_change, self._on_adopted = on_change, on_adopted

    def plan(self, *, rows: bool = True) -> AdoptionPlan:
        """Return what would be done, how long it takes, and what is wrong; nothing is changed.

        Args:
            rows: Whether to look at all rows, which reads each table a few times, and to try
                the copy of one organization.
        """
        with self._database.admin_engine.connect() as connection:
            check_open(connection, self._database, self.mapping)
            return planning.plan(connection, self._builder, self.mapping, rows=rows)

    def run(
        self,
        organizations: Sequence[str] | None = None,
        *,
        catch_up: bool = False,
        switch: bool = False,
        options: AdoptionOptions = _OPTIONS,
        on_progress: OnProgress = _silent,
        cancel: Event | None = None,
    ) -> AdoptionReport:
        """Copy organizations that are not here yet. The source goes on meanwhile.

        Each is one transaction, with all its rows or none. It is fenced until it is switched.
        A copy that another mapping made, or that is at other revisions, is made anew.

        Args:
            organizations: Only these.
            catch_up: Whether to bring those along that were copied before.
            switch: Whether to switch each right after its copy.
            options: Workers and limits.
            on_progress: Called after each organization, by one thread at a time.
            cancel: Set it to stop: what is begun is finished.

        Raises:
            AdoptionFailed: If some organizations were not done; the others were.
        """
        with alone(self._database, self.mapping.source):
            work, found = self._prepare(organizations)
            if switch:
                fencing.install(self._database, self.mapping.source, work.resolved.guarded)

            def adopt(worker: Worker, one: SourceOrganization) -> AdoptedOrganization:
                done = work.copy(worker, one, catch_up=catch_up or switch)
                if not switch or done.state is _S.SWITCHED:
                    return done
                return work.switch(worker, one, keep_fenced=False)

            results = self._go("adopting", found, adopt, options, on_progress, cancel)
            return self._report(results, work.resolved, organizations)

    def switch(
        self,
        organizations: Sequence[str] | None = None,
        *,
        keep_fenced: bool = False,
        options: AdoptionOptions = _OPTIONS,
        on_progress: OnProgress = _silent,
        cancel: Event | None = None,
    ) -> AdoptionReport:
        """Let copied organizations live here from now on.

        For each, in one transaction: its writers in the source wait, the last changes are
        brought along, both sides are compared, and it is opened. After the commit PostgreSQL
        refuses whoever writes its rows in the source, with `OT005`.

        Args:
            organizations: Only these; None for all that are copied.
            keep_fenced: Whether they stay fenced, until `unfence`.
            options: Workers and limits.
            on_progress: Called after each organization, by one thread at a time.
            cancel: Set it to stop: what is begun is finished.

        Raises:
            AdoptionRefused: If one of `organizations` is not copied.
            AdoptionFailed: If some organizations were not switched; the source has them still.
        """
        with alone(self._database, self.mapping.source):
            work, found = self._prepare(organizations)
            if organizations is not None:
                refuse_pending(found)
            found = [one for one in found if one.state is not _S.PENDING]
            fencing.install(self._database, self.mapping.source, work.resolved.guarded)

            def switch(worker: Worker, one: SourceOrganization) -> AdoptedOrganization:
                return work.switch(worker, one, keep_fenced=keep_fenced)

            results = self._go("switching", found, switch, options, on_progress, cancel)
            return self._report(results, work.resolved, organizations)

    def verify(
        self,
        organizations: Sequence[str] | None = None,
        *,
        options: AdoptionOptions = _OPTIONS,
        on_progress: OnProgress = _silent,
        cancel: Event | None = None,
    ) -> VerifyReport:
        """Compare every table of every organization that is here with the source, row by row.

        What the source wrote since the last pass differs until the next one; what people wrote
        here since the switch differs from then on.

        Args:
            organizations: Only these.
            options: Workers and limits.
            on_progress: Called after each organization, by one thread at a time.
            cancel: Set it to stop: what is begun is finished.

        Raises:
            AdoptionFailed: If some organizations could not be compared.
        """
        work, found = self._prepare(organizations)
        here = [one for one in found if one.state is not _S.PENDING]
        results = self._go("verifying", here, work.verify, options, on_progress, cancel)
        return VerifyReport(
            organizations=tuple(sorted(results, key=lambda one: one.id)),
            pending=tuple(one.id for one in found if one.state is _S.PENDING),
            left_over=left_over(self._database, self.mapping, work.resolved),
        )

    def revert(self, organization_id: str) -> Organization:
        """Give a switched organization back to the source, if nothing was written here since.

        It is fenced first, and stays so as a copy, to be brought along and switched again.

        Args:
            organization_id: Which organization.

        Raises:
            AdoptionRefused: If it is not switched, or was written to; it is as it was then.
            OrganizationBusy: If somebody still writes in it, here or in the source; it stays
                fenced then.
        """
        with alone(self._database, self.mapping.source):
            _, (one,) = self._prepare([organization_id])
            if one.state is not _S.SWITCHED:
                raise AdoptionRefused(
                    f"organization {organization_id!r} is not switched: it is {one.state}",
                    organization_id=organization_id,
                )
            database, timeout = self._database, self._database.settings.fence_timeout
            fence = change(database, "fence", organization_id, reason="its adoption is reverted")
            self._on_change(organization_id)
            drain(database, fence.after, timeout, operation="fence")
            try:
                with database.admin_engine.connect() as connection:
                    return switching.revert(connection, database, self.mapping, one.key)
            except AdoptionRefused:
                if fence.is_news:
                    change(database, "unfence", organization_id)
                    self._on_change(organization_id)
                raise
            except OperationalError as error:
                if not fencing.is_held(error):
                    raise
                raise OrganizationBusy(
                    f"others hold organization {organization_id!r}: revert it later",
                    operation="revert",
                    organization_id=organization_id,
                ) from error

    def finish(self, *, accept_left_over: bool = False) -> FinishReport:
        """Move the source's tables into an archive; nothing is dropped.

        Args:
            accept_left_over: Whether rows that are nobody's may go with them.

        Raises:
            AdoptionRefused: If an organization is not switched, rows are left over, the source
                was written past the fence, or others hold its tables.
        """
        with alone(self._database, self.mapping.source):
            work, _ = self._prepare(None)
            try:
                with self._database.admin_engine.connect() as connection:
                    return finishing.finish(
                        connection,
                        self._database,
                        self.mapping,
                        work.resolved,
                        accept_left_over=accept_left_over,
                    )
            except OperationalError as error:
                if not fencing.is_held(error):
                    raise
                raise AdoptionRefused(
                    "others hold tables of the source: finish it later"
                ) from error

    def _prepare(
        self, organizations: Sequence[str] | None
    ) -> tuple[OrganizationWork, list[SourceOrganization]]:
        resolved, found = prepare(self._builder, self.mapping, organizations)
        work = OrganizationWork(
            self._builder, self.mapping, resolved, self._on_change, self._on_adopted
        )
        return work, found

    def _go(
        self,
        title: str,
        found: Sequence[SourceOrganization],
        work: Work[T],
        options: AdoptionOptions,
        on_progress: OnProgress,
        cancel: Event | None,
    ) -> list[T]:
        run = Run[T](self._database, title, options, on_progress, cancel)
        run.go(found, work)
        if run.failed:
            (first, reason), *_ = run.failed.items()
            raise AdoptionFailed(
                f"{len(run.failed)} organizations failed, {len(run.results)} are done; "
                f"{first}: {reason}",
                failed=run.failed,
            )
        return run.results

    def _report(
        self,
        results: Sequence[AdoptedOrganization],
        resolved: Resolved,
        organizations: Sequence[str] | None,
    ) -> AdoptionReport:
        return AdoptionReport(
            organizations=tuple(sorted(results, key=lambda one: one.id)),
            # All rows are read for it: not for each organization again.
            left_over=(
                left_over(self._database, self.mapping, resolved) if organizations is None else ()
            ),
        )
