"""Running a job of the fleet from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any, Protocol

import typer

from orgtenancy.cli.exits import ExitCode, tell_error
from orgtenancy.cli.output import Table, tell
from orgtenancy.cli.progress import OnProgress, show_progress
from orgtenancy.cli.targets import Result, show_each
from orgtenancy.errors import JobFailed
from orgtenancy.schemas.fleet import Fleet, ItemStatus, Job, JobItem, JobStatus
from orgtenancy.schemas.fleet.signals import stopped_by_signals

ITEM_COLUMNS = ("SCHEMA", "ORGANIZATION", "WAVE", "STATUS", "ATTEMPTS", "FINISHED", "ERROR")

_EXIT_CODES = {
    JobStatus.FINISHED: ExitCode.OK,
    JobStatus.PAUSED: ExitCode.PAUSED,
    JobStatus.CANCELLED: ExitCode.JOB_FAILED,
    JobStatus.FAILED: ExitCode.JOB_FAILED,
}


class Start(Protocol):
    """Starts a job, or goes on with one."""

    def __call__(self, *, on_progress: OnProgress, cancel: Event) -> Job | None:
        """Run it to its end."""


@dataclass(frozen=True, slots=True)
class Run:
    """A job that is to be run on a placement.

    Attributes:
        placement: The placement.
        fleet: The organizations there.
        start: Starts the job.
    """

    placement: str
    fleet: Fleet
    start: Start


def run_jobs(
    runs: Sequence[Run], *, as_json: bool, nothing_to_do: str, is_whole: bool = False
) -> None:
    """Run jobs, one after the other, with progress and signals, and exit as they ended.

    The first one that does not come to a good end is the last.

    Args:
        runs: The jobs.
        as_json: Whether a document is wanted.
        nothing_to_do: What to say when there is no job to run.
        is_whole: Whether they are about all of several placements.

    Raises:
        typer.Exit: If one did not come to a good end.
    """
    results = []
    failure: JobFailed | None = None
    job: Job | None = None
    with stopped_by_signals("what has begun") as stop, show_progress() as on_progress:
        for run in runs:
            try:
                job = run.start(on_progress=on_progress, cancel=stop.event)
            except JobFailed as error:
                if error.job_id is None:
                    raise
                failure, job = error, run.fleet.job(error.job_id)
            results.append(_result(run, job, nothing_to_do))
            if job is not None and job.status is not JobStatus.FINISHED:
                break
    show_each(as_json, results, is_whole=is_whole)
    if job is None:
        return
    if failure is not None:
        tell_error(failure, as_json=False)
    elif job.can_be_resumed:
        tell(f"`orgtenancy jobs resume {job.label}` goes on with it")
    if job.status is JobStatus.CANCELLED and stop.exit_code is not None:
        raise typer.Exit(stop.exit_code)
    if code := _EXIT_CODES[job.status]:
        raise typer.Exit(code)


def _result(run: Run, job: Job | None, nothing_to_do: str) -> Result:
    if job is None:
        return Result(run.placement, {"job": None, "failures": []}, [nothing_to_do])
    failures = run.fleet.items(job.id, ItemStatus.FAILED) if job.failed else []
    document = {"job": job_document(job), "failures": [item_document(item) for item in failures]}
    return Result(run.placement, document, [job_line(job)])


def job_line(job: Job) -> str:
    """Return a job as one line."""
    failed = f", {job.failed} failed" if job.failed else ""
    return f"job {job.label} ({job.kind}) {job.status}: {job.done} of {job.total} done{failed}"


def job_document(job: Job) -> Mapping[str, Any]:
    """Return a job for JSON, with its sums."""
    sums = {"total": job.total, "done": job.done, "failed": job.failed}
    return {**job.model_dump(mode="json"), **sums}


def item_document(item: JobItem) -> Mapping[str, Any]:
    """Return a schema of a job for JSON."""
    return item.model_dump(mode="json")


def item_table(items: list[JobItem]) -> Table:
    """Return the schemas of a job for people."""
    rows = [
        (
            item.schema_name,
            item.organization_id,
            item.wave + 1,
            item.status,
            item.attempts,
            item.finished_at,
            item.error,
        )
        for item in items
    ]
    return Table(ITEM_COLUMNS, rows)
