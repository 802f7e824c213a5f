"""`orgtenancy logto`: organizations as they are in Logto."""

from __future__ import annotations

import typer

from orgtenancy.cli.logto_sync import sync

app = typer.Typer(help="Organizations as they are in Logto.", no_args_is_help=True)
app.command()(sync)
