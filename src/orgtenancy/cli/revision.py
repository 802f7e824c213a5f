"""`orgtenancy revision`: the next revision of a module, without an `alembic.ini`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orgtenancy.cli.context import load_tenancy
from orgtenancy.cli.output import Json, show
from orgtenancy.errors import ConfigurationError
from orgtenancy.schemas.revisions.writing import merge_heads, squash, write_revision
from orgtenancy.tenancy import Tenancy


def revision(
    message: Annotated[str, typer.Option("--message", "-m", help="What the revision does.")],
    module: Annotated[
        str | None,
        typer.Option(help="The module's name; by default the one below the current directory."),
    ] = None,
    autogenerate: Annotated[
        bool,
        typer.Option(help="Compare the models with a fresh reference schema, or write it empty."),
    ] = True,
    merge: Annotated[bool, typer.Option("--merge", help="Join the module's branches.")] = False,
    squash_all: Annotated[
        bool,
        typer.Option(
            "--squash", help="Replace all revisions by one with the id of the last; deletes them."
        ),
    ] = False,
    revision_id: Annotated[str | None, typer.Option("--rev-id", help="The revision's id.")] = None,
    as_json: Json = False,
) -> None:
    """Write the next revision of a module; nothing is written if the models have no news.

    Exits with 1 if it cannot be written.
    """
    if merge and squash_all:
        raise typer.BadParameter("--merge and --squash are two different things")
    with load_tenancy() as tenancy:
        name = module or _own_module(tenancy)
        if merge:
            file: Path | None = merge_heads(tenancy, name, message)
        elif squash_all:
            file = squash(tenancy, name, message)
        else:
            file = write_revision(
                tenancy, name, message, autogenerate=autogenerate, revision_id=revision_id
            )
    text = f"wrote {file}" if file else f"{name} is as its models say: no revision is written"
    show(as_json, {"module": name, "file": file}, text)


def _own_module(tenancy: Tenancy) -> str:
    """Return the one module that is the host's own."""
    here = Path.cwd().resolve()
    names = [
        module.name
        for module in tenancy.modules.values()
        if module.migrations.resolve().is_relative_to(here)
    ]
    if len(names) != 1:
        known = ", ".join(names or tenancy.modules) or "none"
        raise ConfigurationError(f"say which module: --module with one of {known}")
    return names[0]
