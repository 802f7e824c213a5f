"""The commands together."""

from __future__ import annotations

import typer

from orgtenancy.cli.openapi import openapi

app = typer.Typer(
    name="orgtenancy",
    help="One PostgreSQL schema per organization.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(openapi)


@app.callback()
def _commands() -> None:
    # With a callback, a lone command keeps its name.
    pass
