"""`orgtenancy module init`: the files of a new module."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orgtenancy.cli.context import source_var
from orgtenancy.cli.output import Json, show
from orgtenancy.schemas.revisions.scaffolding import write_module

app = typer.Typer(help="Modules of your own.", no_args_is_help=True)


@app.command("init")
def init(
    name: Annotated[str, typer.Argument(help="The module's name, and its package's.")],
    directory: Annotated[
        Path, typer.Option(help="The folder that the package goes into, below this one.")
    ] = Path(),
    as_json: Json = False,
) -> None:
    """Write a package for a new module, and an alembic.ini where there is none.

    With `orgtenancy --app package.module:tenancy module init`, env.py imports the tenancy from
    there; else it finds it as the commands do.

    Exits with 1, and writes nothing, if a file is there already.
    """
    new = write_module(name, directory, app=source_var.get().app)
    lines = [f"wrote {file}" for file in new.files]
    if new.section is not None:
        lines += [
            "alembic.ini is there already. Add this to it, and call Alembic with "
            f"`alembic -n {name}`:",
            "",
            new.section,
        ]
    lines.append(
        f"Next: give `{name}` to Tenancy(modules=[...]), write models, and "
        f'`orgtenancy revision -m "..." --module {name}`'
    )
    show(as_json, new, "\n".join(lines))


@app.callback()
def _commands() -> None:
    # With a callback, a lone command keeps its name.
    pass
