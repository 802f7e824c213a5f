"""`orgtenancy jobs`: the journal of jobs over the fleet."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from orgtenancy.cli.context import find_object, load_tenancy
from orgtenancy.cli.options import Organizations, takes_job_options
from orgtenancy.cli.output import Json, Table, show
from orgtenancy.cli.running import item_document, item_table, job_document, job_line, run_job
from orgtenancy.schemas.fleet import ItemStatus, JobOptions

app = typer.Typer(help="Jobs over all organizations, and how they ended.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(metavar="ID", help="The job's number.")]


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, help="How many at the most.")] = 20,
    json: Json = False,
) -> None:
    """List the newest jobs."""
    with load_tenancy() as tenancy:
        jobs = tenancy.schemas.fleet.jobs(limit=limit)
    columns = ("ID", "KIND", "STATUS", "TOTAL", "DONE", "FAILED", "CREATED", "FINISHED")
    rows = [
        (j.id, j.kind, j.status, j.total, j.done, j.failed, j.created_at, j.finished_at)
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
        run_job(fleet, start, as_json=json, nothing_to_do="nothing is left to do")


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
    json: Json = False,
    *,
    options: JobOptions | None,
) -> None:
    """Call a function in a transaction of each active organization."""
    with load_tenancy() as tenancy:
        fleet = tenancy.schemas.fleet
        start = partial(
            fleet.each, find_object(function), organizations=org, options=options or JobOptions()
        )
        run_job(fleet, start, as_json=json, nothing_to_do="no organization is active")
