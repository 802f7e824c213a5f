"""`orgtenancy export`: the rows of an organization for those whose they are."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from orgtenancy.cli.backup import STREAM, Id
from orgtenancy.cli.context import load_tenancy
from orgtenancy.cli.output import Json, Table, show, tell


def export(
    organization_id: Id,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="A new folder, a file that ends with .zip, or - for stdout."
        ),
    ],
    form: Annotated[
        Literal["jsonl", "csv"], typer.Option("--format", help="How the rows are written.")
    ] = "jsonl",
    json: Json = False,
) -> None:
    """Write all rows of an organization as JSON Lines or CSV, as of one moment."""
    if target == STREAM and json:
        raise typer.BadParameter("to stdout there is one file, and nothing else")
    with load_tenancy() as tenancy:
        where = sys.stdout.buffer if target == STREAM else target
        exported = tenancy.backups.export(organization_id, where, format=form)
    if target == STREAM:
        tell(f"{organization_id} is exported")
        return
    rows = [(table.name, table.rows, table.file) for table in exported.tables]
    show(json, exported, Table(("TABLE", "ROWS", "FILE"), rows))
