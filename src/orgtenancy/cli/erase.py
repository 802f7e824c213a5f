"""`orgtenancy erase`: forget a person in an organization."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from orgtenancy.cli.backup import Id
from orgtenancy.cli.context import load_tenancy
from orgtenancy.cli.output import Json, Table, show
from orgtenancy.operations.erasure import Occurrence


def erase(
    organization_id: Id,
    person: Annotated[
        str,
        typer.Argument(
            metavar="PERSON",
            help="The person's id; - reads it from stdin, and keeps it out of the shell's history.",
        ),
    ],
    find: Annotated[
        bool, typer.Option("--find", help="Only show where the id is; nothing is changed.")
    ] = False,
    replace_in: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TABLE.COLUMN",
            help="Replace the id in longer texts of this column too; repeat it for more.",
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TABLE.COLUMN",
            help="What looks like the id in this column is something else; repeat it for more.",
        ),
    ] = None,
    confirm: Annotated[
        str | None, typer.Option(metavar="ID", help="The organization's id again, to erase.")
    ] = None,
    json: Json = False,
) -> None:
    """Replace a person's id by a pseudonym in all of an organization, for good.

    If the id would be left in any text, nothing is changed.
    """
    if not find and confirm != organization_id:
        raise typer.BadParameter("to erase, repeat the organization's id as --confirm")
    person_id = sys.stdin.readline().rstrip("\r\n") if person == "-" else person
    with load_tenancy() as tenancy:
        if find:
            found = tenancy.erasure.find(organization_id, person_id)
            show(json, {"found": found}, _table(found) if found else "the id is nowhere")
            return
        erasure = tenancy.erasure.erase(
            organization_id, person_id, replace_in=replace_in or (), ignoring=ignore or ()
        )
    line = f"the person is {erasure.pseudonym} in {organization_id} from now on"
    show(json, erasure, line, _table(erasure.replaced))


def _table(found: Sequence[Occurrence]) -> Table:
    rows = [(one.label, one.rows, one.is_declared) for one in found]
    return Table(("COLUMN", "ROWS", "DECLARED"), rows)
