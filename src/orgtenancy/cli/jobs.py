"""`orgtenancy jobs`: the journal of jobs over the fleet."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from orgtenancy.cli.context import find_object, load_tenancy
from orgtenancy.cli.options import Organizations, takes_job_options
from orgtenancy.cli.output import Json, Table, show
from orgtenancy.cli.running import (
    Run,
    item_document,
    item_table,
    job_document,
    job_line,
    run_jobs,
)
from orgtenancy.cli.targets import PlacementName, is_about_several, targets_of
from orgtenancy.errors import JobNotFound
from orgtenancy.schemas.fleet import ItemStatus, JobOptions
from orgtenancy.schemas.fleet.jobs import parse_job_id

app = typer.Typer(help="Jobs over all organizations, and how they ended.", no_args_is_help=True)


def _job_id(given: str) -> str:
    try:
        parse_job_id(given)
    except JobNotFound as error:
        raise typer.BadParameter(str(error)) from error
    return given


Number = Annotated[
    str,
    typer.Argument(
        metavar="ID", parser=_job_id, help="The job's number, or placement and number: eu/12."
    ),
]


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="How many at the most.")] = 20,
    placement: PlacementName = None,
    json: Json = False,
) -> None:
    """List the newest jobs."""
    with load_tenancy() as tenancy:
        schemas = tenancy.schemas if placement is None else tenancy.placements[placement].schemas
        jobs = schemas.fleet.jobs(limit=limit)
    columns = ("ID", "KIND", "STATUS", "TOTAL", "DONE", "FAILED", "CREATED", "FINISHED")
    rows = [
        (j.label, j.kind, j.status, j.total, j.done, j.failed, j.created_at, j.finished_at)
        for j in jobs
    ]
    show(json, {"jobs": [job_document(job) for job in jobs]}, Table(columns, rows))


@app.command("show")
def show_(
    job_id: Number,
    failed: Annotated[bool, typer.Option("--failed", help="Only the schemas that failed.")] = False,
    json: Json = False,
) -> None:
    """Show a job, and what became of each schema."""
    with load_tenancy() as tenancy:
        fleet = tenancy.schemas.fleet
        job = fleet.job(job_id)
        items = fleet.items(job_id, *([ItemStatus.FAILED] if failed else []))
    document = {"job": job_document(job), "items": [item_document(item) for item in items]}
    show(json, document, job_line(job), f"runner: {job.runner}", item_table(items))


@app.command()
@takes_job_options
def resume(job_id: Number, json: Json = False, *, options: JobOptions | None) -> None:
    """Go on with a job: what is pending, and what failed."""
    if options is not None and options.waves:
        raise typer.BadParameter("the waves of a job stay as they are")
    with load_tenancy() as tenancy:
        fleet = tenancy.schemas.fleet
        if options is not None:
            begun_with = fleet.job(job_id).parameters.get("options", {})
            given = options.model_dump(exclude_unset=True)
            options = JobOptions.model_validate({**begun_with, **given})
        start = partial(fleet.resume, job_id, options=options)
        name, _ = parse_job_id(job_id)
        own = tenancy.placements[name].schemas.fleet
        run_jobs([Run(name, own, start)], as_json=json, nothing_to_do="nothing is left to do")


@app.command()
def cancel(job_id: Number, json: Json = False) -> None:
    """Stop a job: its runner finishes what it has begun."""
    with load_tenancy() as tenancy:
        job = tenancy.schemas.fleet.cancel(job_id)
    show(json, {"job": job_document(job)}, job_line(job))


@app.command()
@takes_job_options
def run(
    function: Annotated[
        str,
        typer.Argument(
            metavar="PACKAGE.MODULE:FUNCTION", help="It is called with a session of each."
        ),
    ],
    org: Organizations = None,
    placement: PlacementName = None,
    json: Json = False,
    *,
    options: JobOptions | None,
) -> None:
    """Call a function in a transaction of each active organization."""
    with load_tenancy() as tenancy:
        found = find_object(function)
        runs = []
        for cell, ids in targets_of(tenancy, placement, org):
            fleet = cell.schemas.fleet
            start = partial(fleet.each, found, organizations=ids, options=options or JobOptions())
            runs.append(Run(cell.name, fleet, start))
        run_jobs(
            runs,
            as_json=json,
            is_whole=is_about_several(tenancy, placement),
            nothing_to_do="no organization is active",
        )
