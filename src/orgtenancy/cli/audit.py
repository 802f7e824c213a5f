"""`orgtenancy audit`: who did what to which organization, and what came of it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from orgtenancy.cli.context import load_tenancy
from orgtenancy.cli.output import Json, Table, show
from orgtenancy.organizations import AuditEntry
from orgtenancy.pagination import MAX_PAGE_SIZE, PageRequest
from orgtenancy.schemas.fleet.jobs import job_label
from orgtenancy.tenancy import Tenancy

_COLUMNS = ("ID", "WHEN", "ACTION", "ORGANIZATION", "RESULT", "ACTOR", "ORIGIN", "DETAILS")


def audit(
    organization_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Only what was done to this one.")
    ] = None,
    action: Annotated[
        str | None, typer.Option(help="Only this action, such as suspended or purged.")
    ] = None,
    actor: Annotated[str | None, typer.Option(help="Only what this actor did.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"],
            metavar="TIME",
            help="Only from then on: 2026-11-30, 2026-11-30T14:00:00, or with +01:00.",
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at the most.")] = 20,
    json: Json = False,
) -> None:
    """Show who did what, the newest first. A time without a zone is this machine's."""
    filters = {
        "organization_id": organization_id,
        "action": action,
        "actor_id": actor,
        "since": None if since is None else since.astimezone(),
    }
    with load_tenancy() as tenancy:
        found = _newest(tenancy, limit, filters)
    rows = [
        (
            job_label(one.placement, one.id),
            one.recorded_at,
            one.action,
            one.organization_id,
            one.result,
            one.actor_id,
            one.origin,
            ", ".join(f"{name}={value}" for name, value in sorted(one.details.items())),
        )
        for one in found
    ]
    show(json, {"entries": found}, Table(_COLUMNS, rows))


def _newest(tenancy: Tenancy, limit: int, filters: dict[str, Any]) -> list[AuditEntry]:
    found: list[AuditEntry] = []
    cursor: str | None = None
    while len(found) < limit:
        page = PageRequest(limit=min(limit - len(found), MAX_PAGE_SIZE), cursor=cursor)
        got = tenancy.organizations.audit(page, **filters)
        found.extend(got.items)
        if (cursor := got.next_cursor) is None:
            break
    return found
