"""`orgtenancy adopt`: organizations of a shared schema move into schemas of their own."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from threading import Event
from typing import Annotated, Protocol, TypeVar

import typer

from orgtenancy.cli.context import load_tenancy
from orgtenancy.cli.exits import ExitCode
from orgtenancy.cli.options import Organizations
from orgtenancy.cli.output import Json, Table, show
from orgtenancy.cli.progress import OnProgress, show_progress
from orgtenancy.operations.adoption import (
    AdoptionOptions,
    AdoptionPlan,
    AdoptionReport,
    Finding,
    Severity,
    VerifyReport,
)
from orgtenancy.schemas.fleet.signals import stopped_by_signals

app = typer.Typer(
    help="Move the organizations of a shared schema into schemas of their own.",
    no_args_is_help=True,
)

Mapping = Annotated[
    str, typer.Argument(metavar="MAPPING", help="The TOML file that says what becomes of it.")
]
Workers = Annotated[int, typer.Option(min=1, help="Organizations worked on at the same time.")]
MaxFailures = Annotated[
    int, typer.Option(min=0, help="More failures than this, and no other is begun.")
]

R = TypeVar("R", covariant=True)


class _Start(Protocol[R]):
    def __call__(self, *, on_progress: OnProgress, cancel: Event) -> R:
        """Go through the organizations."""


@app.command()
def plan(
    mapping: Mapping,
    rows: Annotated[
        bool, typer.Option(help="Look at all rows, and try the copy of one organization.")
    ] = True,
    json: Json = False,
) -> None:
    """Show what would be done, how long it takes, and what is wrong; nothing is changed.

    Exits with 3 if there is a problem, or rows are nobody's.
    """
    with load_tenancy() as tenancy:
        found = tenancy.adoption(mapping).plan(rows=rows)
    tables = [(t.source, t.target, t.way, t.rows, t.size, t.changed_by) for t in found.tables]
    organizations = [(o.id, o.name, o.key, o.state, o.rows, o.size) for o in found.organizations]
    show(
        json,
        found,
        Table(("TABLE", "BECOMES", "ORGANIZATION BY", "ROWS", "BYTES", "CHANGED BY"), tables),
        Table(("ID", "NAME", "KEY", "STATE", "ROWS", "BYTES"), organizations),
        _findings(found.findings),
        _summary(found),
    )
    if found.problems or found.left_over:
        raise typer.Exit(ExitCode.ATTENTION)


@app.command()
def run(
    mapping: Mapping,
    org: Organizations = None,
    catch_up: Annotated[
        bool, typer.Option("--catch-up", help="Bring those along that were copied before.")
    ] = False,
    switch: Annotated[
        bool, typer.Option("--switch", help="Switch each right after its copy.")
    ] = False,
    workers: Workers = 2,
    max_failures: MaxFailures = 10,
    json: Json = False,
) -> None:
    """Copy organizations that are not here yet, and compare them; the source goes on.

    What was stopped or killed goes on with the same command. Exits with 4 if some failed.
    """
    options = AdoptionOptions(workers=workers, max_failures=max_failures)
    with load_tenancy() as tenancy:
        adoption = tenancy.adoption(mapping)
        start = partial(adoption.run, org, catch_up=catch_up, switch=switch, options=options)
        _show_report(start, as_json=json)


@app.command("switch")
def switch_(
    mapping: Mapping,
    org: Organizations = None,
    keep_fenced: Annotated[
        bool, typer.Option("--keep-fenced", help="Leave them fenced, until `org unfence`.")
    ] = False,
    workers: Workers = 2,
    max_failures: MaxFailures = 10,
    json: Json = False,
) -> None:
    """Let copied organizations live here from now on; the source refuses late writes of them.

    Exits with 4 if some failed: the source has them still.
    """
    options = AdoptionOptions(workers=workers, max_failures=max_failures)
    with load_tenancy() as tenancy:
        adoption = tenancy.adoption(mapping)
        start = partial(adoption.switch, org, keep_fenced=keep_fenced, options=options)
        _show_report(start, as_json=json)


@app.command()
def verify(
    mapping: Mapping, org: Organizations = None, workers: Workers = 2, json: Json = False
) -> None:
    """Compare every row of the organizations that are here with the source.

    Exits with 3 if one differs.
    """
    with load_tenancy() as tenancy:
        adoption = tenancy.adoption(mapping)
        options = AdoptionOptions(workers=workers)
        found = _go(partial(adoption.verify, org, options=options))
    rows = [
        (one.id, one.state, one.rows, str(difference))
        for one in found.organizations
        for difference in one.differences
    ]
    rows += [
        (one.id, one.state, one.rows, f"{name}: written in the source, past the fence")
        for one in found.organizations
        for name in one.written
    ]
    show(
        json,
        found,
        Table(("ID", "STATE", "ROWS", "WHAT"), rows) if rows else "",
        _findings(found.left_over),
        _told(found),
    )
    if not found.is_equal:
        raise typer.Exit(ExitCode.ATTENTION)


@app.command()
def revert(
    mapping: Mapping,
    organization_id: Annotated[str, typer.Argument(metavar="ID", help="Its id here.")],
    json: Json = False,
) -> None:
    """Give a switched organization back to the source, if nothing was written here since."""
    with load_tenancy() as tenancy:
        reverted = tenancy.adoption(mapping).revert(organization_id)
    show(json, {"organization": reverted}, f"{organization_id} is the source's again")


@app.command()
def finish(
    mapping: Mapping,
    accept_left_over: Annotated[
        bool,
        typer.Option("--accept-left-over", help="Archive rows that are nobody's with the rest."),
    ] = False,
    json: Json = False,
) -> None:
    """Move the source's tables into an archive, when all organizations are switched."""
    with load_tenancy() as tenancy:
        found = tenancy.adoption(mapping).finish(accept_left_over=accept_left_over)
    told = f"{len(found.tables)} tables of the source are in the schema {found.archive}"
    show(json, found, _findings(found.left_over), told)


def _show_report(start: _Start[AdoptionReport], *, as_json: bool) -> None:
    found = _go(start)
    rows = [(o.id, o.key, o.state, o.rows, o.changed, o.seconds) for o in found.organizations]
    columns = ("ID", "KEY", "STATE", "ROWS", "CHANGED", "SECONDS")
    show(
        as_json,
        found,
        Table(columns, rows) if rows else "no organization is waiting",
        _findings(found.left_over),
    )


def _go(start: _Start[R]) -> R:
    """Go through the organizations with progress and signals.

    Raises:
        typer.Exit: If somebody stopped it.
    """
    with stopped_by_signals("what has begun") as stop, show_progress() as on_progress:
        found = start(on_progress=on_progress, cancel=stop.event)
    if stop.exit_code is not None:
        raise typer.Exit(stop.exit_code)
    return found


def _findings(findings: Iterable[Finding]) -> Table | str:
    rows = [
        (one.severity.replace("_", " "), one.kind.replace("_", " "), str(one))
        for one in sorted(findings, key=lambda one: list(Severity).index(one.severity))
    ]
    return Table(("SEVERITY", "KIND", "WHAT"), rows) if rows else ""


def _summary(plan: AdoptionPlan) -> str:
    number, problems = len(plan.organizations), len(plan.problems)
    told = f"{number} organizations, {problems} problems"
    if plan.seconds is None:
        return told
    return f"{told}; about {plan.seconds:.0f} s with one worker, at {plan.rate:.0f} rows a second"


def _told(report: VerifyReport) -> str:
    different = sum(not one.is_equal for one in report.organizations)
    told = f"{len(report.organizations)} organizations compared: "
    told += f"{different} differ" if different else "all rows are the same"
    return told + (f"; {len(report.pending)} are not copied yet" if report.pending else "")
