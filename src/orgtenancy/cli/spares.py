"""`orgtenancy spares`: schemas that are made ahead of time."""

from __future__ import annotations

from typing import Annotated

import typer

from orgtenancy.cli.context import load_tenancy
from orgtenancy.cli.output import Json, Table
from orgtenancy.cli.targets import (
    PlacementName,
    Result,
    cells_of,
    is_about_several,
    show_each,
)
from orgtenancy.schemas.fleet.signals import stopped_by_signals

app = typer.Typer(
    help="Schemas made ahead of time, claimed by new organizations.", no_args_is_help=True
)


@app.command()
def fill(
    number: Annotated[int, typer.Argument(metavar="N", min=0, help="How many are to be ready.")],
    placement: PlacementName = None,
    json: Json = False,
) -> None:
    """Make spares until so many are ready, on each placement."""
    results = []
    with load_tenancy() as tenancy, stopped_by_signals("the spare that has begun") as stop:
        for cell in cells_of(tenancy, placement):
            made = cell.schemas.spares.fill_while(number, stop.go_on)
            ready = cell.schemas.spares.count().ready
            document = {"made": made, "ready": ready}
            results.append(Result(cell.name, document, [f"{made} spares made, {ready} ready"]))
        is_whole = is_about_several(tenancy, placement)
    show_each(json, results, is_whole=is_whole)
    if stop.exit_code is not None:
        raise typer.Exit(stop.exit_code)


@app.command()
def count(placement: PlacementName = None, json: Json = False) -> None:
    """Count the spares."""
    results = []
    with load_tenancy() as tenancy:
        for cell in cells_of(tenancy, placement):
            counts = cell.schemas.spares.count()
            row = (counts.ready, counts.stale, counts.unfinished)
            table = Table(("READY", "STALE", "UNFINISHED"), [row])
            results.append(Result(cell.name, counts, [table]))
        is_whole = is_about_several(tenancy, placement)
    show_each(json, results, is_whole=is_whole)


@app.command()
def discard(
    all_: Annotated[
        bool, typer.Option("--all", help="Drop also those that could be claimed.")
    ] = False,
    placement: PlacementName = None,
    json: Json = False,
) -> None:
    """Drop the spares that are made at other revisions or with other settings."""
    results = []
    with load_tenancy() as tenancy:
        for cell in cells_of(tenancy, placement):
            dropped = cell.schemas.spares.discard(only_stale=not all_)
            results.append(Result(cell.name, {"dropped": dropped}, [f"{dropped} spares dropped"]))
        is_whole = is_about_several(tenancy, placement)
    show_each(json, results, is_whole=is_whole)
