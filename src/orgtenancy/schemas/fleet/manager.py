"""The fleet as its owner sees it: what it is at, and the jobs that change it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any, Protocol

from sqlalchemy import Connection

from orgtenancy.database.engines import Database
from orgtenancy.errors import (
    ConfigurationError,
    JobFailed,
    JobLocked,
    JobNotFound,
    OrganizationNotFound,
)
from orgtenancy.naming import validate_organization_id
from orgtenancy.schemas.fleet import journal
from orgtenancy.schemas.fleet.each import EachOrganization, TransactionFunction, find_object
from orgtenancy.schemas.fleet.jobs import (
    ItemStatus,
    Job,
    JobItem,
    JobOptions,
    JobProgress,
    JobStatus,
    parse_job_id,
)
from orgtenancy.schemas.fleet.lock import PlacementLock, is_held_by_anybody
from orgtenancy.schemas.fleet.migrating import Migration, Step
from orgtenancy.schemas.fleet.runner import JobRunner, Operation
from orgtenancy.schemas.fleet.targets import (
    RevisionGroup,
    Target,
    find_targets,
    group_by_revisions,
    unknown_organizations,
)
from orgtenancy.schemas.fleet.waves import assign_waves
from orgtenancy.schemas.revisions import HEADS, Revisions

OnProgress = Callable[[JobProgress], None]

DEFAULT_OPTIONS = JobOptions()


class TargetedOperation(Operation, Protocol):
    """An operation that knows which schemas it is for."""

    def is_needed(self, connection: Connection) -> bool:
        """Return whether there is anything to do, without a look at each schema."""

    def targets(self, connection: Connection) -> list[Target]:
        """Return the schemas that the job is about."""


#: Makes an operation on a placement, of what its job was asked for.
MakeOperation = Callable[[Database, Mapping[str, Any]], TargetedOperation]


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """Which revisions the fleet is at.

    Attributes:
        heads: The newest revision of each module.
        groups: The schemas, by the revisions they are at.
    """

    heads: Mapping[str, str]
    groups: tuple[RevisionGroup, ...]

    @property
    def behind(self) -> int:
        """How many organizations are not at the heads."""
        return sum(g.organizations for g in self.groups if dict(g.revisions) != dict(self.heads))

    @property
    def fenced(self) -> int:
        """How many of those that are behind are fenced: no migration brings them along."""
        return sum(g.fenced for g in self.groups if dict(g.revisions) != dict(self.heads))

    @property
    def organizations(self) -> int:
        """How many organizations there are."""
        return sum(group.organizations for group in self.groups)

    @property
    def spares(self) -> int:
        """How many spares there are."""
        return sum(group.spares for group in self.groups)


class Fleet:
    """Runs jobs over all organizations of a placement. It works as the owner, by `admin_url`.

    Args:
        database: The placement.
        revisions: The revisions of the modules.
    """

    def __init__(self, database: Database, revisions: Revisions) -> None:
        self._database = database
        self._revisions = revisions
        self._kinds: dict[str, MakeOperation] = {}

    def status(self) -> FleetStatus:
        """Return which revisions the fleet is at: one query over the registry."""
        with self._database.admin_engine.begin() as connection:
            groups = group_by_revisions(connection, self._database.name)
        return FleetStatus(self._revisions.heads, tuple(groups))

    def plan(
        self,
        target: str = HEADS,
        *,
        down: bool = False,
        organizations: Sequence[str] | None = None,
    ) -> list[Step]:
        """Return what a migration would do, without doing it.

        Raises:
            ConfigurationError: If a revision cannot be run.
            RevisionNotFound: If no file has the target, or a revision that a schema is at.
        """
        migration = self._migration(target, down, organizations, DEFAULT_OPTIONS)
        with self._database.admin_engine.begin() as connection:
            return migration.plan(connection)

    def migrate(
        self,
        target: str = HEADS,
        *,
        down: bool = False,
        organizations: Sequence[str] | None = None,
        options: JobOptions = DEFAULT_OPTIONS,
        on_progress: OnProgress = lambda progress: None,
        cancel: Event | None = None,
    ) -> Job | None:
        """Bring all schemas to a target, and return the job, or None if they all are there.

        Each schema is at exactly one revision at any time, and so is the journal. A run that
        is killed is resumed, or run again. Suspended and archived organizations are migrated
        as well; one that is fenced, or being purged, is left alone, or skipped if that
        happens meanwhile.

        Args:
            target: `heads`, a revision's id, `module@head`, `+1`; downwards a revision's id,
                `module@base` or `module@-1`.
            down: Whether to go down.
            organizations: Only these; spares stay as they are then.
            options: Workers, waves, limits.
            on_progress: Called after each schema.
            cancel: Set it to stop: what is begun is finished.

        Raises:
            JobFailed: If some schemas were not migrated; the others were.
            JobLocked: If another runner works on the placement.
            OrganizationNotFound: If one of `organizations` does not exist.
        """
        migration = self._migration(target, down, organizations, options)
        parameters = {"target": target, "down": down, "organizations": organizations}
        return self._start(migration, parameters, options, on_progress, cancel)

    def each(
        self,
        function: TransactionFunction,
        *,
        organizations: Sequence[str] | None = None,
        options: JobOptions = DEFAULT_OPTIONS,
        on_progress: OnProgress = lambda progress: None,
        cancel: Event | None = None,
    ) -> Job | None:
        """Call `function(session)` in a transaction of each active organization.

        One that is suspended, fenced or archived meanwhile is skipped.

        Args:
            function: A function of a module. After a crash it may run again for an
                organization whose transaction was committed just before.
            organizations: Only these.
            options: Workers, waves, limits.
            on_progress: Called after each organization.
            cancel: Set it to stop: what is begun is finished.

        Raises:
            JobFailed: If it failed for some organizations; the others were done.
            JobLocked: If another runner works on the placement.
        """
        operation = EachOrganization(self._database, function, organization_ids=organizations)
        parameters = {"organizations": organizations}
        return self._start(operation, parameters, options, on_progress, cancel)

    def register(self, kind: str, make: MakeOperation) -> None:
        """Let there be jobs of a kind, which `run` begins and `resume` goes on with."""
        self._kinds[kind] = make

    def run(
        self,
        kind: str,
        parameters: Mapping[str, Any],
        *,
        options: JobOptions = DEFAULT_OPTIONS,
        on_progress: OnProgress = lambda progress: None,
        cancel: Event | None = None,
    ) -> Job | None:
        """Run an operation of a registered kind, and return the job, or None if none is needed.

        Args:
            kind: Which kind.
            parameters: What makes the operation, also at a resume, as JSON; `organizations`
                among them, which are the only ones, or None.
            options: Workers, waves, limits.
            on_progress: Called after each schema.
            cancel: Set it to stop: what is begun is finished.

        Raises:
            JobFailed: If some schemas were not done; the others were.
            JobLocked: If another runner works on the placement.
            OrganizationNotFound: If one of `organizations` does not exist.
        """
        operation = self._kinds[kind](self._database, parameters)
        return self._start(operation, parameters, options, on_progress, cancel)

    def resume(
        self,
        job_id: int | str,
        *,
        options: JobOptions | None = None,
        on_progress: OnProgress = lambda progress: None,
        cancel: Event | None = None,
    ) -> Job:
        """Go on with a job: what is pending, and what failed.

        Args:
            job_id: The job's number, or its label, as `eu/12`.
            options: Other workers and limits than it was begun with; its waves stay.
            on_progress: Called after each schema.
            cancel: Set it to stop: what is begun is finished.

        Raises:
            JobNotFound: If the journal has none of this number.
            JobFailed: If some schemas are still not done.
            ConfigurationError: If the function that it calls is not there any more.
            JobLocked: If another runner works on the placement.
        """
        number = self._number(job_id)
        lock = self._acquire()
        try:
            with self._database.admin_engine.begin() as connection:
                job = journal.find(connection, number)
                if job.status is JobStatus.FINISHED:
                    return job
                begun_with = JobOptions.model_validate(job.parameters.get("options", {}))
                options = begun_with if options is None else options
                operation = self._operation_of(job, options)
                journal.take_over(connection, number)
                targets = find_targets(connection, self._database.name)
            return self._run(operation, number, lock, options, on_progress, cancel, targets)
        finally:
            lock.release()

    def cancel(self, job_id: int | str) -> Job:
        """Stop a job: its runner finishes what it has begun; without one, it just ends.

        Raises:
            JobNotFound: If the journal has none of this number.
        """
        number = self._number(job_id)
        with self._database.admin_engine.begin() as connection:
            job = self._true_status(connection, journal.find(connection, number))
            if job.status is JobStatus.RUNNING:
                journal.request_cancel(connection, number)
            elif job.can_be_resumed:
                journal.finish(connection, number, JobStatus.CANCELLED)
            return self._true_status(connection, journal.find(connection, number))

    def jobs(self, *, limit: int = 20) -> list[Job]:
        """Return the newest jobs."""
        with self._database.admin_engine.begin() as connection:
            return [self._true_status(connection, j) for j in journal.newest(connection, limit)]

    def job(self, job_id: int | str) -> Job:
        """Return a job.

        Raises:
            JobNotFound: If the journal has none of this number.
        """
        number = self._number(job_id)
        with self._database.admin_engine.begin() as connection:
            return self._true_status(connection, journal.find(connection, number))

    def items(self, job_id: int | str, *statuses: ItemStatus) -> list[JobItem]:
        """Return the schemas of a job, those that failed first.

        Args:
            job_id: The job.
            *statuses: Only those with one of these; all if none is given.
        """
        number = self._number(job_id)
        with self._database.admin_engine.begin() as connection:
            return journal.items(connection, number, statuses)

    def _number(self, job_id: int | str) -> int:
        """Return the number of a job of this placement.

        Raises:
            JobNotFound: If it is none, or another placement's.
        """
        if isinstance(job_id, int):
            return job_id
        placement, number = parse_job_id(job_id)
        if placement != self._database.name:
            raise JobNotFound(f"no job {job_id} on placement {self._database.name!r}")
        return number

    def _migration(
        self,
        target: str,
        down: bool,
        organizations: Sequence[str] | None,
        options: JobOptions,
    ) -> Migration:
        return Migration(
            self._database,
            self._revisions,
            target,
            down=down,
            organization_ids=organizations,
            options=options,
        )

    def _operation_of(self, job: Job, options: JobOptions) -> Operation:
        organizations = job.parameters.get("organizations")
        if job.kind in ("migrate", "downgrade"):
            target = str(job.parameters["target"])
            return self._migration(target, job.kind == "downgrade", organizations, options)
        if (make := self._kinds.get(job.kind)) is not None:
            return make(self._database, job.parameters)
        function = find_object(job.kind)
        return EachOrganization(self._database, function, organization_ids=organizations)

    def _start(
        self,
        operation: TargetedOperation,
        parameters: Mapping[str, Any],
        options: JobOptions,
        on_progress: OnProgress,
        cancel: Event | None,
    ) -> Job | None:
        wanted = parameters["organizations"]
        with self._database.admin_engine.begin() as connection:
            self._check_known(connection, wanted)
            if not operation.is_needed(connection):
                return None
        lock = self._acquire()
        try:
            with self._database.admin_engine.begin() as connection:
                targets = operation.targets(connection)  # another runner may have been faster
                waves = assign_waves(targets, options.waves)
                job_id = journal.create(
                    connection,
                    kind=operation.kind,
                    placement=self._database.name,
                    parameters={**parameters, "options": options.model_dump(mode="json")},
                    targets=zip(targets, waves, strict=True),
                )
            return self._run(operation, job_id, lock, options, on_progress, cancel, targets)
        finally:
            lock.release()

    def _run(
        self,
        operation: Operation,
        job_id: int,
        lock: PlacementLock,
        options: JobOptions,
        on_progress: OnProgress,
        cancel: Event | None,
        targets: Sequence[Target],
    ) -> Job:
        runner = JobRunner(
            self._database, operation, options, on_progress=on_progress, cancel=cancel
        )
        job = runner.run(job_id, lock, targets)
        if job.status is JobStatus.FAILED:
            raise JobFailed(
                f"job {job.label} ({job.kind}): {job.failed} of {job.total} schemas failed, "
                f"{job.done} are done; see its items, mend the cause and resume it",
                job_id=job.id,
                placement=job.placement,
            )
        return job

    def _acquire(self) -> PlacementLock:
        admin_url = self._database.admin_url
        if admin_url is None:
            raise ConfigurationError("this needs the owner of the schemas: give an admin_url")
        lock = PlacementLock(
            admin_url,
            self._database.name,
            connect_timeout=self._database.settings.connect_timeout,
        )
        if lock.acquire():
            return lock
        with self._database.admin_engine.begin() as connection:
            running = journal.current(connection, self._database.name)
        holder = (
            "a job that is just beginning"
            if running is None
            else f"job {running.label} ({running.kind}) of {running.runner}"
        )
        raise JobLocked(
            f"another runner works on placement {self._database.name!r}: {holder}",
            placement=self._database.name,
        )

    def _true_status(self, connection: Connection, job: Job) -> Job:
        """Return the job with the status that follows from whether its runner is there."""
        if job.status is not JobStatus.RUNNING:
            return job
        current = journal.current(connection, job.placement)
        is_current = current is not None and current.id == job.id
        if is_current and is_held_by_anybody(connection, job.placement):
            return job
        return job.model_copy(update={"status": JobStatus.INTERRUPTED})

    def _check_known(self, connection: Connection, wanted: Sequence[str] | None) -> None:
        for organization_id in wanted or ():
            validate_organization_id(organization_id)
        missing = unknown_organizations(connection, wanted or ())
        if missing:
            raise OrganizationNotFound(
                f"no organization {missing[0]!r}", organization_id=missing[0]
            )
