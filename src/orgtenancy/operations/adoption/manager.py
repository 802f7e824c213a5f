"""Adoption: the organizations of one shared schema move into schemas of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from orgtenancy.database.engines import Database
from orgtenancy.errors import AdoptionFailed, AdoptionRefused, OrganizationNotFound
from orgtenancy.operations.adoption import fencing, finishing, journal, planning, switching
from orgtenancy.operations.adoption.checking import find_broken, find_left_over
from orgtenancy.operations.adoption.copying import copy
from orgtenancy.operations.adoption.mapping import AdoptionMapping
from orgtenancy.operations.adoption.organizations import SourceOrganization, read_organizations
from orgtenancy.operations.adoption.reports import (
    AdoptedOrganization,
    AdoptionPlan,
    AdoptionReport,
    AdoptionState,
    Finding,
    FinishReport,
    VerifiedOrganization,
    VerifyReport,
)
from orgtenancy.operations.adoption.resolving import Resolved
from orgtenancy.operations.adoption.running import OnProgress, Run, alone
from orgtenancy.operations.adoption.verifying import verify
from orgtenancy.operations.lifecycle.changing import change
from orgtenancy.operations.lifecycle.draining import drain
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.schemas import SchemaManager
from orgtenancy.schemas.dropping import drop
from orgtenancy.schemas.fleet.workers import Worker

_S = AdoptionState


class Adoption:
    """Moves the organizations of a shared schema into schemas of their own, one by one.

    It works as the owner, by `admin_url`. Every method can be called again, also after a crash
    at any point: what is done is known, and the rest is gone on with.

    Args:
        database: Where the source and the organizations are.
        schemas: Makes schemas.
        mapping: What becomes of the source.
        on_change: Called in this process with the id of an organization that changed.
        on_adopted: Called with an organization that was switched.
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
            self._check_open(connection)
            return planning.plan(connection, self._builder, self.mapping, rows=rows)

    def run(
        self,
        organizations: Sequence[str] | None = None,
        *,
        catch_up: bool = False,
        switch: bool = False,
        workers: int = 2,
        max_failures: int = 10,
        on_progress: OnProgress = lambda progress: None,
        cancel: Event | None = None,
    ) -> AdoptionReport:
        """Copy organizations that are not here yet. The source goes on meanwhile.

        Each is one transaction, with all its rows or none. It is fenced until it is switched.
        A copy that another mapping made, or that is at other revisions, is made anew.

        Args:
            organizations: Only these, by their ids here.
            catch_up: Whether to bring those along that were copied before.
            switch: Whether to switch each right after its copy.
            workers: Organizations worked on at the same time.
            max_failures: More failed ones than this, and no other is begun.
            on_progress: Called after each organization.
            cancel: Set it to stop: what is begun is finished.

        Raises:
            AdoptionRefused: If the plan has a problem that is not one of rows.
            AdoptionFailed: If some organizations were not done; the others were.
            OrganizationNotFound: If the source has no organization of an id.
            JobLocked: If another process adopts from the same source.
        """
        with alone(self._database, self.mapping.source):
            resolved, found = self._prepare(organizations)
            if switch:
                fencing.install(self._database, self.mapping.source, resolved.tables)
            else:
                with self._database.admin_engine.begin() as connection:
                    journal.begin(connection, self.mapping.source)

            def work(worker: Worker, one: SourceOrganization) -> AdoptedOrganization:
                done = self._copy(worker, resolved, one, catch_up=catch_up or switch)
                if switch and done.state is not _S.SWITCHED:
                    done = self._switch(worker, resolved, one, keep_fenced=False)
                return done

            run = Run[AdoptedOrganization](
                self._database,
                "adopting",
                workers=workers,
                max_failures=max_failures,
                on_progress=on_progress,
                cancel=cancel,
            )
            run.go(found, work)
            return self._report(run, resolved)

    def switch(
        self,
        organizations: Sequence[str] | None = None,
        *,
        keep_fenced: bool = False,
        workers: int = 1,
        max_failures: int = 0,
        on_progress: OnProgress = lambda progress: None,
        cancel: Event | None = None,
    ) -> AdoptionReport:
        """Let copied organizations live here from now on.

        For each, in one transaction: its writers in the source wait, the last changes are
        brought along, both sides are compared, and it is opened. After the commit PostgreSQL
        refuses whoever writes its rows in the source, with `OT005`.

        Args:
            organizations: Only these, by their ids here; None for all that are copied.
            keep_fenced: Whether they stay fenced, until `unfence`.
            workers: Organizations worked on at the same time.
            max_failures: More failed ones than this, and no other is begun.
            on_progress: Called after each organization.
            cancel: Set it to stop: what is begun is finished.

        Raises:
            AdoptionRefused: If one of `organizations` is not copied.
            AdoptionFailed: If some organizations were not switched; the source has them still.
            OrganizationNotFound: If the source has no organization of an id.
            JobLocked: If another process adopts from the same source.
        """
        with alone(self._database, self.mapping.source):
            resolved, found = self._prepare(organizations)
            if organizations is not None:
                _refuse_pending(found)
            found = [one for one in found if one.state is not _S.PENDING]
            fencing.install(self._database, self.mapping.source, resolved.tables)
            run = Run[AdoptedOrganization](
                self._database,
                "switching",
                workers=workers,
                max_failures=max_failures,
                on_progress=on_progress,
                cancel=cancel,
            )
            run.go(found, lambda w, one: self._switch(w, resolved, one, keep_fenced=keep_fenced))
            return self._report(run, resolved)

    def verify(
        self,
        organizations: Sequence[str] | None = None,
        *,
        workers: int = 2,
        on_progress: OnProgress = lambda progress: None,
        cancel: Event | None = None,
    ) -> VerifyReport:
        """Compare every table of every organization that is here with the source, row by row.

        What the source wrote since the last pass differs until the next one; what people wrote
        here since the switch differs from then on.

        Args:
            organizations: Only these, by their ids here.
            workers: Organizations worked on at the same time.
            on_progress: Called after each organization.
            cancel: Set it to stop: what is begun is finished.

        Raises:
            AdoptionRefused: If the plan has a problem that is not one of rows.
            AdoptionFailed: If some organizations could not be compared.
            OrganizationNotFound: If the source has no organization of an id.
        """
        resolved, found = self._prepare(organizations)

        def work(worker: Worker, one: SourceOrganization) -> VerifiedOrganization:
            entry, organization = _here(one)
            tables = resolved.here(organization.schema_name)
            with worker.connection() as connection:
                return verify(connection, self._database, tables, one, entry, organization)

        run = Run[VerifiedOrganization](
            self._database,
            "verifying",
            workers=workers,
            max_failures=len(found),
            on_progress=on_progress,
            cancel=cancel,
        )
        run.go([one for one in found if one.state is not _S.PENDING], work)
        _raise_failed(run.failed, len(run.results))
        return VerifyReport(
            organizations=tuple(sorted(run.results, key=lambda one: one.id)),
            pending=tuple(one.id for one in found if one.state is _S.PENDING),
            left_over=tuple(self._left_over(resolved)),
        )

    def revert(self, organization_id: str) -> Organization:
        """Give a switched organization back to the source, if nothing was written here since.

        It is fenced first, and stays so as a copy, to be brought along and switched again.

        Args:
            organization_id: Its id here.

        Raises:
            AdoptionRefused: If it is not switched, or was written to; it is as it was then.
            OrganizationBusy: If somebody still writes in it; it stays fenced then.
            OrganizationNotFound: If the source has no organization of this id.
        """
        with alone(self._database, self.mapping.source):
            resolved, (one,) = self._prepare([organization_id])
            if one.state is not _S.SWITCHED:
                raise AdoptionRefused(
                    f"organization {organization_id!r} is not switched: it is {one.state}",
                    organization_id=organization_id,
                )
            reason = "its adoption is reverted"
            changed = change(self._database, "fence", organization_id, reason=reason)
            self._on_change(organization_id)
            drain(
                self._database,
                changed.after,
                self._database.settings.fence_timeout,
                operation="fence",
            )
            tables = resolved.here(changed.after.schema_name)
            try:
                with self._database.admin_engine.connect() as connection:
                    return switching.revert(
                        connection, self._database, self.mapping, tables, one.key
                    )
            except AdoptionRefused:
                if changed.is_news:
                    change(self._database, "unfence", organization_id)
                    self._on_change(organization_id)
                raise

    def finish(self, *, accept_left_over: bool = False) -> FinishReport:
        """Move the source's tables into an archive; nothing is dropped.

        Args:
            accept_left_over: Whether rows that are nobody's may go with them.

        Raises:
            AdoptionRefused: If an organization is not switched, rows are left over, or the
                source was written past the fence.
            JobLocked: If another process adopts from the same source.
        """
        with alone(self._database, self.mapping.source):
            resolved, _ = self._prepare(None)
            with self._database.admin_engine.connect() as connection:
                return finishing.finish(
                    connection,
                    self._database,
                    self.mapping,
                    resolved,
                    accept_left_over=accept_left_over,
                )

    def _prepare(
        self, organizations: Sequence[str] | None
    ) -> tuple[Resolved, list[SourceOrganization]]:
        """Find out what becomes of the source, and which organizations are meant."""
        with self._database.admin_engine.connect() as connection:
            self._check_open(connection)
            with planning.fresh(connection, self._builder, self.mapping) as made:
                resolved = made.resolved
                if resolved.problems:
                    raise AdoptionRefused(
                        f"{len(resolved.problems)} problems: "
                        + "; ".join(map(str, resolved.problems[:3])),
                        findings=map(str, resolved.problems),
                    )
                found, wrong_ids = read_organizations(connection, self.mapping, resolved)
        if organizations is not None:
            by_id = {one.id: one for one in found}
            for organization_id in organizations:
                if organization_id not in by_id:
                    raise OrganizationNotFound(
                        f"no organization of the source has the id {organization_id!r}",
                        organization_id=organization_id,
                    )
            found = [by_id[organization_id] for organization_id in organizations]
        keys = {one.key for one in found}
        wrong = [finding for finding in wrong_ids if keys & {*finding.organizations}]
        if wrong:
            raise AdoptionRefused(
                f"{len(wrong)} organizations cannot have their ids: {wrong[0]}",
                findings=map(str, wrong),
            )
        return resolved, found

    def _check_open(self, connection: Connection) -> None:
        with connection.begin():
            archive = journal.archive_of(connection, self.mapping.source)
        if archive is not None:
            raise AdoptionRefused(
                f"the adoption of {self.mapping.source!r} is finished: its tables are in "
                f"{archive!r}"
            )

    def _copy(
        self, worker: Worker, resolved: Resolved, one: SourceOrganization, *, catch_up: bool
    ) -> AdoptedOrganization:
        began = time.monotonic()
        with worker.connection() as connection:
            with connection.begin():
                entry = journal.find(connection, self.mapping.source, one.key)
            if entry is not None and entry.switched_at is not None:
                return _done(one, _S.SWITCHED, sum(d.rows for d in entry.digests.values()))
            if entry is not None and not self._is_stale(entry):
                rows, changed = sum(d.rows for d in entry.digests.values()), 0
                if catch_up:
                    with self._named(connection, resolved, one):
                        brought = switching.refresh(
                            connection, self._database, self.mapping, resolved, one.key
                        )
                    rows, changed = brought.rows, brought.changed
                return _done(one, _S.COPIED, rows, changed, began)
            if entry is not None:
                self._discard(connection, entry)
            with self._named(connection, resolved, one):
                rows = copy(connection, self._builder, self.mapping, resolved, one)
        self._on_change(one.id)
        return _done(one, _S.COPIED, rows, rows, began)

    def _switch(
        self, worker: Worker, resolved: Resolved, one: SourceOrganization, *, keep_fenced: bool
    ) -> AdoptedOrganization:
        with worker.connection() as connection:
            with connection.begin():
                entry = journal.find(connection, self.mapping.source, one.key)
            if entry is not None and entry.switched_at is not None:
                return _done(one, _S.SWITCHED, sum(d.rows for d in entry.digests.values()))
            if entry is not None and self._is_stale(entry):
                raise AdoptionRefused(
                    f"the copy of organization {one.id!r} is of another mapping, or at other "
                    "revisions: run the adoption again",
                    organization_id=one.id,
                )
            with self._named(connection, resolved, one):
                brought = switching.switch(
                    connection,
                    self._database,
                    self.mapping,
                    resolved,
                    one.key,
                    keep_fenced=keep_fenced,
                )
        self._on_change(brought.organization.id)
        self._on_adopted(brought.organization)
        done = _done(one, _S.SWITCHED, brought.rows, brought.changed)
        return done.model_copy(update={"seconds": brought.seconds})

    def _is_stale(self, entry: journal.Entry) -> bool:
        """Return whether a copy has to be made anew.

        Raises:
            AdoptionRefused: If it is open: somebody may have written in it.
        """
        organization = entry.organization
        if organization is None:
            return True
        dropped = (OrganizationStatus.ARCHIVED, OrganizationStatus.PURGED)
        if organization.status in dropped:
            return True
        if organization.status is not OrganizationStatus.FENCED:
            raise AdoptionRefused(
                f"organization {organization.id!r} is {organization.status}, and was not "
                "switched: fence it, and look who opened it",
                organization_id=organization.id,
                schema=organization.schema_name,
            )
        heads = dict(self._builder.revisions.heads)
        return entry.mapping != self.mapping.digest or dict(organization.revisions) != heads

    def _discard(self, connection: Connection, entry: journal.Entry) -> None:
        """Drop a copy; killed in between, the next run finds it archived, and drops the rest."""
        if (organization := entry.organization) is not None:
            drop(self._database, organization.id, confirm=organization.id, force=True)
            self._on_change(organization.id)
        with connection.begin():
            journal.forget(connection, self.mapping.source, entry.key)

    @contextmanager
    def _named(
        self, connection: Connection, resolved: Resolved, one: SourceOrganization
    ) -> Iterator[None]:
        """Name the rows that keep an organization, where PostgreSQL names one at the most."""
        try:
            yield
        except IntegrityError as error:
            findings = self._broken(resolved, one)
            if not findings:
                raise
            raise AdoptionRefused(
                f"rows of organization {one.id!r} cannot be here: "
                + "; ".join(map(str, findings[:3])),
                findings=map(str, findings),
                organization_id=one.id,
            ) from error

    def _broken(self, resolved: Resolved, one: SourceOrganization) -> list[Finding]:
        try:
            with (
                self._database.admin_engine.connect() as connection,
                planning.fresh(connection, self._builder, self.mapping) as made,
            ):
                tables = resolved.here(made.schema)
                return list(find_broken(connection, tables, lambda t: t.named_rows_of(one.key)))
        except DBAPIError:
            return []  # what PostgreSQL said of the rows themselves is told instead

    def _left_over(self, resolved: Resolved) -> Iterator[Finding]:
        with self._database.admin_engine.begin() as connection:
            found, _ = read_organizations(connection, self.mapping, resolved)
            known = [*(one.key for one in found), *self.mapping.organizations.ignore]
            yield from find_left_over(connection, resolved.tables, known)

    def _report(self, run: Run[AdoptedOrganization], resolved: Resolved) -> AdoptionReport:
        _raise_failed(run.failed, len(run.results))
        return AdoptionReport(
            organizations=tuple(sorted(run.results, key=lambda one: one.id)),
            failed=run.failed,
            left_over=tuple(self._left_over(resolved)),
        )


def _done(
    one: SourceOrganization,
    state: AdoptionState,
    rows: int,
    changed: int = 0,
    began: float | None = None,
) -> AdoptedOrganization:
    seconds = 0.0 if began is None else time.monotonic() - began
    return AdoptedOrganization(
        key=one.key, id=one.id, state=state, rows=rows, changed=changed, seconds=seconds
    )


def _here(one: SourceOrganization) -> tuple[journal.Entry, Organization]:
    if one.entry is None or one.entry.organization is None:
        raise AdoptionRefused(
            f"organization {one.id!r} was adopted, and is not here any more",
            organization_id=one.id,
        )
    return one.entry, one.entry.organization


def _refuse_pending(found: Sequence[SourceOrganization]) -> None:
    if pending := [one.id for one in found if one.state is _S.PENDING]:
        raise AdoptionRefused(
            f"not copied yet: {', '.join(pending[:5])}: run the adoption first",
            findings=pending,
        )


def _raise_failed(failed: dict[str, str], done: int) -> None:
    if failed:
        (first, reason), *_ = failed.items()
        raise AdoptionFailed(
            f"{len(failed)} organizations failed, {done} are done; {first}: {reason}",
            failed=failed,
        )
