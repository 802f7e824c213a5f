"""`orgtenancy spares`: schemas that are made ahead of time."""

from __future__ import annotations

from typing import Annotated

import typer

from orgtenancy.cli.context import load_tenancy
from orgtenancy.cli.output import Json, Table, show
from orgtenancy.schemas.fleet.signals import stopped_by_signals

app = typer.Typer(
    help="Schemas made ahead of time, claimed by new organizations.", no_args_is_help=True
)


@app.command()
def fill(
    number: Annotated[int, typer.Argument(metavar="N", min=0, help="How many are to be ready.")],
    json: Json = False,
) -> None:
    """Make spares until so many are ready."""
    with load_tenancy() as tenancy, stopped_by_signals("the spare that has begun") as stop:
        made = tenancy.schemas.spares.fill_while(number, stop.go_on)
        ready = tenancy.schemas.spares.count().ready
    show(json, {"made": made, "ready": ready}, f"{made} spares made, {ready} ready")
    if stop.exit_code is not None:
        raise typer.Exit(stop.exit_code)


@app.command()
def count(json: Json = False) -> None:
    """Count the spares."""
    with load_tenancy() as tenancy:
        counts = tenancy.schemas.spares.count()
    row = (counts.ready, counts.stale, counts.unfinished)
    show(json, counts, Table(("READY", "STALE", "UNFINISHED"), [row]))


@app.command()
def discard(
    all_: Annotated[
        bool, typer.Option("--all", help="Drop also those that could be claimed.")
    ] = False,
    json: Json = False,
) -> None:
    """Drop the spares that are made at other revisions or with other settings."""
    with load_tenancy() as tenancy:
        dropped = tenancy.schemas.spares.discard(only_stale=not all_)
    show(json, {"dropped": dropped}, f"{dropped} spares dropped")
