"""`orgtenancy logto sync`: the registry is made as Logto is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from orgtenancy.cli.context import find_object, load_tenancy
from orgtenancy.cli.exits import ExitCode
from orgtenancy.cli.output import Json, Table, show
from orgtenancy.errors import ConfigurationError
from orgtenancy.identity.logto_sync import LogtoSettings, ManagementApi, Reconciliation, SyncReport

_COLUMNS = ("ACTION", "ORGANIZATION", "MEMBER", "DETAILS")


def sync(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")
    ] = False,
    members: Annotated[
        bool | None,
        typer.Option(
            "--members/--no-members",
            help="Read also who is a member of which organization.",
            show_default="sync_members",
        ),
    ] = None,
    max_archived: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Refuse to archive more organizations than this.",
            show_default="max_archived",
        ),
    ] = None,
    attributes: Annotated[
        str | None,
        typer.Option(
            metavar="PACKAGE.MODULE:FUNCTION",
            help="Returns an organization's labels from what Logto says of it.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make the registry as Logto is; ORGTENANCY_LOGTO_* says where that is, and as whom to ask.

    Exits with 3 if a dry run finds something to do, or if more organizations would be archived
    than is allowed, which changes nothing; with 1 if something could not be done.
    """
    given = {"sync_members": members, "max_archived": max_archived}
    changes = {name: value for name, value in given.items() if value is not None}
    settings = logto_settings(changes)
    labels = None if attributes is None else find_object(attributes)
    with load_tenancy() as tenancy, ManagementApi(settings) as api:
        reconciliation = Reconciliation(tenancy, api, settings, attributes=labels)
        report = reconciliation.run(dry_run=dry_run)
    _show(report, as_json=json)
    if report.failures:
        raise typer.Exit(ExitCode.ERROR)
    if dry_run and report.plan.items:
        raise typer.Exit(ExitCode.ATTENTION)


def logto_settings(changes: Mapping[str, Any]) -> LogtoSettings:
    """Return the settings of the environment, with what was given on the command line.

    Raises:
        ConfigurationError: If they cannot work; it names the variables.
    """
    try:
        return LogtoSettings.model_validate(changes)
    except ValidationError as error:
        wrong = [
            f"ORGTENANCY_LOGTO_{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}"
            for one in error.errors(include_url=False, include_input=False)
        ]
        raise ConfigurationError("; ".join(wrong)) from None


def _show(report: SyncReport, *, as_json: bool) -> None:
    plan = report.plan
    rows = [
        (item.action, item.organization_id, item.actor_id, _details(item.name, item.attributes))
        for item in plan.items
    ]
    counts = plan.counts() if not report.is_applied else report.done
    summary = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()) if count)
    verb = "done" if report.is_applied else "to do"
    show(
        as_json,
        report,
        Table(_COLUMNS, rows) if rows else "",
        *(f"left alone: {one.organization_id}: {one.reason}" for one in report.left_alone),
        *(
            f"failed: {one.action} of {one.organization_id or 'an actor'}: {one.message}"
            for one in report.failures
        ),
        "" if plan.is_whole else "Logto's organizations changed while they were read: run it again",
        f"{plan.seen} organizations in Logto; {verb}: {summary or 'nothing'}",
    )


def _details(name: str | None, attributes: Any) -> str:
    labels = ", ".join(f"{key}={value}" for key, value in sorted((attributes or {}).items()))
    return ", ".join(filter(None, [name, labels]))
