"""`orgtenancy logto`: organizations as they are in Logto."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from orgtenancy.cli.context import find_object, load_tenancy
from orgtenancy.cli.logto_sync import logto_settings, sync
from orgtenancy.cli.output import Json, Table, show, tell
from orgtenancy.identity.logto_sync import (
    LogtoInbox,
    LogtoWorker,
    ManagementApi,
    Reconciliation,
)
from orgtenancy.schemas.fleet.signals import stopped_by_signals

app = typer.Typer(
    help="Organizations as they are in Logto; settings from ORGTENANCY_LOGTO_*.",
    no_args_is_help=True,
)

app.command()(sync)

_COLUMNS = ("ID", "RECEIVED", "EVENT", "SUBJECT", "STATUS", "ATTEMPTS", "ERROR")


@app.command()
def worker(
    attributes: Annotated[
        str | None,
        typer.Option(
            metavar="PACKAGE.MODULE:FUNCTION",
            help="Returns an organization's labels from what Logto says of it.",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Do what is due, and end.")] = False,
    json: Json = False,
) -> None:
    """Do what Logto's webhooks say, until a signal comes.

    With an app of the Management API in the settings, it reconciles now and then as well.
    """
    settings = logto_settings({})
    labels = None if attributes is None else find_object(attributes)
    with (
        ExitStack() as opened,
        load_tenancy() as tenancy,
        stopped_by_signals("the event that is worked on") as stop,
    ):
        reconciliation = None
        if settings.client_id is not None:
            api = opened.enter_context(ManagementApi(settings))
            reconciliation = Reconciliation(tenancy, api, settings, attributes=labels)
        worker = LogtoWorker(tenancy, settings, attributes=labels, sync=reconciliation)
        # Here rather than in the thread, so that what is wrong from the start is told at once.
        worked_on = worker.run_while(stop.go_on)
        if not once and stop.go_on():
            tell(f"{worked_on} events were due; waiting for others")
            with worker:
                stop.event.wait()
            worked_on = worker.worked_on
    show(json, {"worked_on": worked_on}, f"{worked_on} events worked on")


@app.command()
def inbox(
    failed: Annotated[bool, typer.Option("--failed", help="Only those that failed.")] = False,
    retry: Annotated[
        int | None, typer.Option(metavar="ID", help="Let a failed one be tried again.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at the most.")] = 20,
    json: Json = False,
) -> None:
    """Show what became of Logto's webhooks, the last ones first."""
    with load_tenancy() as tenancy:
        events = LogtoInbox(tenancy)
        if retry is not None:
            events.retry(retry)
            show(json, {"retried": retry}, f"event {retry} is tried again")
            return
        found = events.newest(limit=limit, only_failed=failed)
    rows = [
        (one.id, one.received_at, one.event, one.subject, one.status, one.attempts, one.error)
        for one in found
    ]
    show(json, {"events": found}, Table(_COLUMNS, rows))
