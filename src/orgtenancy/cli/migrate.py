"""`orgtenancy migrate`: bring the fleet to a revision."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import typer

from orgtenancy.cli.context import load_tenancy
from orgtenancy.cli.exits import ExitCode
from orgtenancy.cli.options import Organizations, takes_job_options
from orgtenancy.cli.output import Json, Table, revisions_text, show, tell
from orgtenancy.cli.running import Run, run_jobs
from orgtenancy.cli.targets import (
    PlacementName,
    Result,
    cells_of,
    is_about_several,
    show_each,
    targets_of,
)
from orgtenancy.schemas.fleet import FleetStatus, JobOptions
from orgtenancy.schemas.fleet.migrating import Step
from orgtenancy.schemas.revisions import HEADS

app = typer.Typer(
    help="Bring the schemas to a revision, all of them or some.", no_args_is_help=True
)

_UP = "heads, a revision's id, module@head or +1."
_DOWN = "A revision's id, module@base or module@-1."


@app.command()
def plan(
    target: Annotated[str, typer.Argument(metavar="TARGET", help=_UP)] = HEADS,
    down: Annotated[bool, typer.Option("--down", help="Plan the way down to the target.")] = False,
    sql: Annotated[bool, typer.Option("--sql", help="Show the statements too.")] = False,
    org: Organizations = None,
    placement: PlacementName = None,
    json: Json = False,
) -> None:
    """Show what a migration would do, without doing it.

    Exits with 3 if a schema is at a revision that no file has.
    """
    with load_tenancy() as tenancy:
        plans = [
            (cell.name, cell.schemas.fleet.plan(target, down=down, organizations=ids))
            for cell, ids in targets_of(tenancy, placement, org)
        ]
        is_whole = is_about_several(tenancy, placement)
    columns = ("PATH", "FROM", "ORGANIZATIONS", "SPARES", "WAY", "REVISION", "HOW", "MESSAGE")
    results = []
    for name, steps in plans:
        document = {"steps": [_step_document(step, with_sql=sql) for step in steps]}
        rows = [row for number, step in enumerate(steps, 1) for row in _step_rows(number, step)]
        texts = [_step_sql(number, step) for number, step in enumerate(steps, 1)] if sql else []
        table = Table(columns, rows) if steps else "every schema is there already"
        results.append(Result(name, document, [table, *texts]))
    show_each(json, results, is_whole=is_whole)
    if any(step.path is None for _, steps in plans for step in steps):
        raise typer.Exit(ExitCode.ATTENTION)


@app.command()
@takes_job_options
def up(
    target: Annotated[str, typer.Argument(metavar="TARGET", help=_UP)] = HEADS,
    org: Organizations = None,
    placement: PlacementName = None,
    json: Json = False,
    *,
    options: JobOptions | None,
) -> None:
    """Bring the schemas up to a target, by default to the newest revisions."""
    _migrate(target, org, placement, options, down=False, as_json=json)


@app.command()
@takes_job_options
def down(
    target: Annotated[str, typer.Argument(metavar="TARGET", help=_DOWN)],
    org: Organizations = None,
    placement: PlacementName = None,
    json: Json = False,
    *,
    options: JobOptions | None,
) -> None:
    """Bring the schemas down to a target."""
    _migrate(target, org, placement, options, down=True, as_json=json)


@app.command()
def status(
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 3 if an organization is not at the heads.")
    ] = False,
    placement: PlacementName = None,
    json: Json = False,
) -> None:
    """Show which revisions the schemas are at."""
    with load_tenancy() as tenancy:
        found = [(cell.name, cell.schemas.status()) for cell in cells_of(tenancy, placement)]
        is_whole = is_about_several(tenancy, placement)
    show_each(json, [_status_result(name, status) for name, status in found], is_whole=is_whole)
    if check and any(status.behind for _, status in found):
        raise typer.Exit(ExitCode.ATTENTION)


@app.command()
def history(
    module: Annotated[
        str | None, typer.Argument(metavar="MODULE", help="Only this module's.")
    ] = None,
    json: Json = False,
) -> None:
    """List the revisions of the modules, the newest first."""
    with load_tenancy() as tenancy:
        revisions = tenancy.schemas.revisions
        names = [one.name for one in revisions.modules] if module is None else [module]
        found = [
            {
                "module": name,
                "revision": script.revision,
                "down_revision": script.down_revision,
                "is_head": revisions.heads[name] == script.revision,
                "message": script.doc,
            }
            for name in names
            for script in revisions.history(name)
        ]
    rows = [tuple(one.values()) for one in found]
    columns = ("MODULE", "REVISION", "AFTER", "HEAD", "MESSAGE")
    show(json, {"revisions": found}, Table(columns, rows))


def _migrate(
    target: str,
    organizations: Sequence[str] | None,
    placement: str | None,
    options: JobOptions | None,
    *,
    down: bool,
    as_json: bool,
) -> None:
    with load_tenancy() as tenancy:
        runs = []
        for cell, ids in targets_of(tenancy, placement, organizations):
            fleet = cell.schemas.fleet
            steps = fleet.plan(target, down=down, organizations=ids)
            if fenced := sum(step.fenced for step in steps):
                tell(f"left alone, as they are fenced: {fenced} organizations")
            start = partial(
                fleet.migrate,
                target,
                down=down,
                organizations=ids,
                options=options or JobOptions(),
            )
            runs.append(Run(cell.name, fleet, start))
        run_jobs(
            runs,
            as_json=as_json,
            is_whole=is_about_several(tenancy, placement),
            nothing_to_do="every schema is there already",
        )


def _status_result(name: str, found: FleetStatus) -> Result:
    rows = [
        (revisions_text(g.revisions), g.organizations, g.spares, _is_at_heads(found, g.revisions))
        for g in found.groups
    ]
    behind = f"{found.behind} of {found.organizations} organizations are not at the heads"
    if found.fenced:
        behind += f", and {found.fenced} of those are fenced"
    parts: list[Table | str] = [
        Table(("REVISIONS", "ORGANIZATIONS", "SPARES", "AT HEADS"), rows),
        f"heads: {revisions_text(found.heads)}",
        f"{behind}: `orgtenancy migrate up`" if found.behind else "",
    ]
    return Result(name, _status_document(found), parts)


def _is_at_heads(status: FleetStatus, revisions: Any) -> bool:
    return dict(revisions) == dict(status.heads)


def _status_document(status: FleetStatus) -> dict[str, Any]:
    groups = [
        {
            "revisions": dict(group.revisions),
            "organizations": group.organizations,
            "spares": group.spares,
            "fenced": group.fenced,
            "at_heads": _is_at_heads(status, group.revisions),
        }
        for group in status.groups
    ]
    return {
        "heads": dict(status.heads),
        "organizations": status.organizations,
        "spares": status.spares,
        "behind": status.behind,
        "fenced": status.fenced,
        "groups": groups,
    }


def _step_rows(number: int, step: Step) -> list[Sequence[Any]]:
    who = (number, revisions_text(step.revisions), step.organizations, step.spares)
    if step.path is None:
        return [(*who, None, None, None, "no file has a revision that they are at")]
    return [
        (*who, one.direction, one.revision, one.kind.value, one.message)
        for one in step.path.revisions
    ]


def _step_document(step: Step, *, with_sql: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "at": dict(step.revisions),
        "organizations": step.organizations,
        "spares": step.spares,
        "fenced": step.fenced,
        "from": None if step.path is None else sorted(step.path.before),
        "to": None if step.path is None else sorted(step.path.after),
        "revisions": None if step.path is None else step.path.revisions,
    }
    if with_sql:
        document["stages"] = [
            {"autocommit": stage.autocommit, "sql": stage.script}
            for stage in (step.path.stages if step.path else ())
        ]
    return document


def _step_sql(number: int, step: Step) -> str:
    lines = [f"-- path {number}"]
    for stage in step.path.stages if step.path else ():
        if stage.script is None:
            lines.append("-- a revision runs on a connection: its statements are not known before")
        else:
            lines.extend(f"{statement};" for statement in stage.script)
    return "\n".join(lines)
