"""The commands together."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from orgtenancy.cli import (
    adopt,
    backup,
    drift,
    jobs,
    logto,
    migrate,
    module,
    org,
    placements,
    spares,
)
from orgtenancy.cli.audit import audit
from orgtenancy.cli.context import Source, origin, source_var
from orgtenancy.cli.doctor import doctor
from orgtenancy.cli.erase import erase
from orgtenancy.cli.exits import TRACEBACK, Commands
from orgtenancy.cli.export import export
from orgtenancy.cli.init import init
from orgtenancy.cli.openapi import openapi
from orgtenancy.cli.progress import logging_to_stderr
from orgtenancy.cli.prove import prove
from orgtenancy.cli.query import query
from orgtenancy.cli.restore import restore
from orgtenancy.cli.revision import revision
from orgtenancy.context import acting

app = typer.Typer(
    name="orgtenancy",
    help="One PostgreSQL schema per organization.",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(init)
app.add_typer(org.app, name="org")
app.add_typer(placements.app, name="placements")
app.add_typer(migrate.app, name="migrate")
app.add_typer(spares.app, name="spares")
app.add_typer(jobs.app, name="jobs")
app.add_typer(drift.app, name="drift")
app.add_typer(backup.app, name="backup")
app.command()(restore)
app.command()(export)
app.command()(erase)
app.add_typer(adopt.app, name="adopt")
app.add_typer(logto.app, name="logto")
app.command()(audit)
app.command()(doctor)
app.command()(openapi)
app.command()(prove)
app.command()(query)
app.command()(revision)
app.add_typer(module.app, name="module")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orgtenancy {version('orgtenancy')}")
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    tenancy: Annotated[
        str | None,
        typer.Option(
            "--app",
            metavar="PACKAGE.MODULE:NAME",
            help="Your Tenancy, or a function that returns it; or ORGTENANCY_APP, or `app` "
            "under tool.orgtenancy in pyproject.toml.",
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Without --app, the app's login; or ORGTENANCY_URL."),
    ] = None,
    admin_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Without --app, the schemas' owner; or ORGTENANCY_ADMIN_URL."
        ),
    ] = None,
    module: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PACKAGE.MODULE:NAME",
            help="Without --app, a module; repeat it for more. Or ORGTENANCY_MODULES, "
            "separated by commas, or `modules` under tool.orgtenancy.",
        ),
    ] = None,
    traceback: Annotated[
        bool,
        typer.Option(
            "--traceback", envvar="ORGTENANCY_TRACEBACK", help="Show where an error comes from."
        ),
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    ctx.meta[TRACEBACK] = traceback
    ctx.with_resource(logging_to_stderr(with_traceback=traceback))
    ctx.with_resource(acting(None, origin()))
    token = source_var.set(Source(tenancy, url, admin_url, tuple(module or ())))
    ctx.call_on_close(lambda: source_var.reset(token))
