"""`orgtenancy placements`: the servers that organizations live on."""

from __future__ import annotations

from typing import Annotated

import typer

from orgtenancy.cli.context import load_tenancy
from orgtenancy.cli.exits import ExitCode
from orgtenancy.cli.output import Json, Table, show, tell
from orgtenancy.operations.placements import PlacementStatus
from orgtenancy.schemas.fleet.signals import stopped_by_signals

app = typer.Typer(help="The servers that organizations live on.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="As the tenancy names it.")]

_COLUMNS = (
    *("NAME", "STATE", "REACHABLE", "ORGANIZATIONS", "LIMIT"),
    *("WEIGHT", "ATTRIBUTES", "SERVER"),
)


@app.command("list")
def list_(
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 3 if one is down, not added or nearly full.")
    ] = False,
    json: Json = False,
) -> None:
    """List the placements, and how they are."""
    with load_tenancy() as tenancy:
        found = tenancy.placements.list()
    show(json, {"placements": found}, Table(_COLUMNS, [_row(one) for one in found]))
    warnings = [warning for one in found for warning in _warnings(one)]
    for warning in warnings:
        tell(f"warning: {warning}")
    if check and warnings:
        raise typer.Exit(ExitCode.ATTENTION)


@app.command()
def add(name: Name, json: Json = False) -> None:
    """Prepare a placement, and let organizations be made on it; also one that was drained."""
    with load_tenancy() as tenancy:
        added = tenancy.placements.add(name)
    show(json, added, Table(_COLUMNS, [_row(added)]))


@app.command()
def drain(
    name: Name,
    to: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Where all go to; the policy chooses if not given."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Organizations moved at the same time.")] = 2,
    json: Json = False,
) -> None:
    """Move all organizations of a placement to others; it gets no new ones from then on.

    The same command again goes on with it. Exits with 4 if some could not be moved.
    """

    def told(organization_id: str, error: str | None) -> None:
        tell(f"{organization_id}: {'moved' if error is None else error}")

    with load_tenancy() as tenancy, stopped_by_signals("the moves that have begun") as stop:
        report = tenancy.placements.drain(
            name, to=to, workers=workers, on_organization=told, cancel=stop.event
        )
    rest = "it is empty" if report.is_empty else "it is not empty"
    summary = f"{len(report.moved)} moved, {len(report.failed)} failed: {rest}"
    failures = Table(("ORGANIZATION", "ERROR"), report.failed.items())
    show(json, report, failures if report.failed else "", summary)
    if stop.exit_code is not None:
        raise typer.Exit(stop.exit_code)
    if report.failed:
        raise typer.Exit(ExitCode.JOB_FAILED)


def _row(one: PlacementStatus) -> tuple[object, ...]:
    attributes = ", ".join(f"{name}={value}" for name, value in sorted(one.attributes.items()))
    return (
        one.name,
        one.state,
        one.is_reachable,
        one.organizations,
        one.max_organizations,
        one.weight,
        attributes,
        one.server_version,
    )


def _warnings(one: PlacementStatus) -> list[str]:
    found = []
    if not one.is_reachable:
        found.append(f"{one.name} cannot be reached: {one.error}")
    if one.state == "not added":
        found.append(f"{one.name} was not added: `orgtenancy placements add {one.name}`")
    if one.is_nearly_full:
        found.append(
            f"{one.name} holds {one.organizations} of at most {one.max_organizations} organizations"
        )
    return found
