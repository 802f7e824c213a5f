"""`orgtenancy restore`: an organization made of a backup."""

from __future__ import annotations

from typing import Annotated

import typer

from orgtenancy.cli.backup import Source, source_of
from orgtenancy.cli.context import load_tenancy
from orgtenancy.cli.keys import KeyFile, read_keys
from orgtenancy.cli.output import Json, show


def restore(
    source: Source,
    as_id: Annotated[
        str | None,
        typer.Option("--as", metavar="ID", help="Make a new organization with this id."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Its display name, if another one.")] = None,
    placement: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Where it goes to; the policy chooses if not given."),
    ] = None,
    migrate: Annotated[
        bool, typer.Option(help="Bring it to the newest revisions.", show_default="yes")
    ] = True,
    key_file: KeyFile = None,
    json: Json = False,
) -> None:
    """Make an organization of a backup, under the id that it had or another one.

    All of the backup is proven before anything is touched. What is there is never replaced.
    """
    with load_tenancy() as tenancy:
        made = tenancy.backups.restore(
            source_of(source),
            organization_id=as_id,
            name=name,
            key=read_keys(key_file),
            placement=placement,
            migrate=migrate,
        )
    show(json, made, f"{made.id} is restored, and {made.status}")
