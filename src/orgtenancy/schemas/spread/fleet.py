"""Jobs over the organizations of several placements: one job on each, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Event
from typing import Any, TypeAlias

from orgtenancy.errors import JobNotFound
from orgtenancy.naming import CONTROL_PLACEMENT
from orgtenancy.registry.locations import Locations
from orgtenancy.schemas.fleet import Fleet, FleetStatus, ItemStatus, Job, JobItem, JobOptions
from orgtenancy.schemas.fleet.each import TransactionFunction
from orgtenancy.schemas.fleet.jobs import JobStatus, parse_job_id
from orgtenancy.schemas.fleet.manager import DEFAULT_OPTIONS, MakeOperation, OnProgress
from orgtenancy.schemas.fleet.migrating import Step
from orgtenancy.schemas.fleet.targets import RevisionGroup
from orgtenancy.schemas.manager import SchemaManager
from orgtenancy.schemas.revisions import HEADS

#: Runs a job on one placement, for some organizations or all.
_Start: TypeAlias = Callable[[Fleet, Sequence[str] | None], Job | None]


class SpreadFleet(Fleet):
    """Runs jobs over the organizations of all placements.

    There is a job for each placement that has something to do, and the next begins when the one
    before came to its end. One that fails, pauses or is cancelled is the last: what breaks on
    one server is not done to the others as well. That job is the one that is returned.

    A job is called by its number if it is the control server's, else by placement and number,
    as `eu/12`.

    Args:
        managers: The schemas of each placement, by its name.
        locations: Which placement an organization is on.
    """

    def __init__(self, managers: Mapping[str, SchemaManager], locations: Locations) -> None:
        control = managers[CONTROL_PLACEMENT]
        super().__init__(control.builder.database, control.revisions)
        self._fleets = {name: manager.fleet for name, manager in managers.items()}
        self._locations = locations

    def status(self) -> FleetStatus:
        """Return which revisions the organizations of all placements are at."""
        found = [fleet.status() for fleet in self._fleets.values()]
        groups: dict[tuple[tuple[str, str], ...], RevisionGroup] = {}
        for group in (group for status in found for group in status.groups):
            key = tuple(sorted(group.revisions.items()))
            known = groups.get(key, RevisionGroup(group.revisions, 0, 0))
            groups[key] = RevisionGroup(
                group.revisions,
                known.organizations + group.organizations,
                known.spares + group.spares,
                known.fenced + group.fenced,
            )
        return FleetStatus(found[0].heads, tuple(groups[key] for key in sorted(groups)))

    def plan(
        self,
        target: str = HEADS,
        *,
        down: bool = False,
        organizations: Sequence[str] | None = None,
    ) -> list[Step]:
        """Return what a migration would do, placement by placement, without doing it."""
        return [
            step
            for fleet, ids in self._targets(organizations)
            for step in fleet.plan(target, down=down, organizations=ids)
        ]

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
        """Bring all schemas to a target, as `Fleet.migrate` does on one placement."""

        def start(fleet: Fleet, ids: Sequence[str] | None) -> Job | None:
            return fleet.migrate(
                target,
                down=down,
                organizations=ids,
                options=options,
                on_progress=on_progress,
                cancel=cancel,
            )

        return self._one_after_the_other(start, organizations, cancel)

    def each(
        self,
        function: TransactionFunction,
        *,
        organizations: Sequence[str] | None = None,
        options: JobOptions = DEFAULT_OPTIONS,
        on_progress: OnProgress = lambda progress: None,
        cancel: Event | None = None,
    ) -> Job | None:
        """Call a function for each active organization, as `Fleet.each` does on one placement."""

        def start(fleet: Fleet, ids: Sequence[str] | None) -> Job | None:
            return fleet.each(
                function,
                organizations=ids,
                options=options,
                on_progress=on_progress,
                cancel=cancel,
            )

        return self._one_after_the_other(start, organizations, cancel)

    def register(self, kind: str, make: MakeOperation) -> None:
        """Let there be jobs of a kind on all placements."""
        for fleet in self._fleets.values():
            fleet.register(kind, make)

    def run(
        self,
        kind: str,
        parameters: Mapping[str, Any],
        *,
        options: JobOptions = DEFAULT_OPTIONS,
        on_progress: OnProgress = lambda progress: None,
        cancel: Event | None = None,
    ) -> Job | None:
        """Run an operation of a registered kind, as `Fleet.run` does on one placement."""

        def start(fleet: Fleet, ids: Sequence[str] | None) -> Job | None:
            return fleet.run(
                kind,
                {**parameters, "organizations": ids},
                options=options,
                on_progress=on_progress,
                cancel=cancel,
            )

        return self._one_after_the_other(start, parameters["organizations"], cancel)

    def resume(
        self,
        job_id: int | str,
        *,
        options: JobOptions | None = None,
        on_progress: OnProgress = lambda progress: None,
        cancel: Event | None = None,
    ) -> Job:
        """Go on with a job; those of other placements that were to follow are not begun."""
        fleet, number = self._find(job_id)
        return fleet.resume(number, options=options, on_progress=on_progress, cancel=cancel)

    def cancel(self, job_id: int | str) -> Job:
        """Stop a job."""
        fleet, number = self._find(job_id)
        return fleet.cancel(number)

    def jobs(self, *, limit: int = 20) -> list[Job]:
        """Return the newest jobs of all placements."""
        found = [job for fleet in self._fleets.values() for job in fleet.jobs(limit=limit)]
        return sorted(found, key=lambda job: job.created_at, reverse=True)[:limit]

    def job(self, job_id: int | str) -> Job:
        """Return a job."""
        fleet, number = self._find(job_id)
        return fleet.job(number)

    def items(self, job_id: int | str, *statuses: ItemStatus) -> list[JobItem]:
        """Return the schemas of a job, those that failed first."""
        fleet, number = self._find(job_id)
        return fleet.items(number, *statuses)

    def _find(self, job_id: int | str) -> tuple[Fleet, int]:
        name, number = parse_job_id(job_id)
        if name not in self._fleets:
            raise JobNotFound(f"no job {job_id}: there is no placement {name!r}", placement=name)
        return self._fleets[name], number

    def _targets(
        self, organizations: Sequence[str] | None
    ) -> Sequence[tuple[Fleet, Sequence[str] | None]]:
        if organizations is None:
            return [(fleet, None) for fleet in self._fleets.values()]
        found = self._locations.databases_of(organizations)
        return [(self._fleets[database.name], ids) for database, ids in found.items()]

    def _one_after_the_other(
        self, start: _Start, organizations: Sequence[str] | None, cancel: Event | None
    ) -> Job | None:
        last = None
        for fleet, ids in self._targets(organizations):
            if cancel is not None and cancel.is_set():
                break
            job = start(fleet, ids)
            if job is not None:
                last = job
                if job.status is not JobStatus.FINISHED:
                    break
        return last
