"""`orgtenancy org`: organizations, one at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from orgtenancy.cli.context import load_tenancy
from orgtenancy.cli.options import parse_labels
from orgtenancy.cli.output import Json, Table, revisions_text, show
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.pagination import MAX_PAGE_SIZE, PageRequest
from orgtenancy.schemas import SchemaManager
from orgtenancy.schemas.fleet.signals import stopped_by_signals

app = typer.Typer(
    help="Make and find organizations, and lead them through their life.", no_args_is_help=True
)

Id = Annotated[str, typer.Argument(metavar="ID", help="The identity provider's id.")]
Reason = Annotated[str | None, typer.Option(metavar="TEXT", help="Why, for people.")]
Confirm = Annotated[str, typer.Option(metavar="ID", help="The same id again.")]


@app.command()
def create(
    organization_id: Id,
    name: Annotated[str | None, typer.Option(help="The display name; the id if not given.")] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A label; KEY:=JSON for what is no text."),
    ] = None,
    placement: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Where it goes to; the policy chooses if not given."),
    ] = None,
    json: Json = False,
) -> None:
    """Make an organization; it may be there already."""
    attributes = parse_labels(attribute or ())
    with load_tenancy() as tenancy:
        made = tenancy.schemas.provision(
            organization_id, name=name, attributes=attributes, placement=placement
        )
    _show(made, as_json=json)


@app.command("list")
def list_(
    status: Annotated[
        OrganizationStatus | None, typer.Option(help="Only those with this status.")
    ] = None,
    due: Annotated[
        bool, typer.Option("--due", help="Only archived ones that may be purged by now.")
    ] = False,
    json: Json = False,
) -> None:
    """List the organizations, by their ids."""
    if due:
        if status not in (None, OrganizationStatus.ARCHIVED):
            raise typer.BadParameter("only archived organizations are ever due")
        status = OrganizationStatus.ARCHIVED
    with load_tenancy() as tenancy:
        found = _all(tenancy.schemas, status)
    if due:
        now = datetime.now(UTC)
        found = [o for o in found if o.purge_after is not None and o.purge_after <= now]
    columns = ("ID", "NAME", "STATUS", "SCHEMA", "REVISIONS", "CREATED", "PLACEMENT")
    rows = [
        (
            *(o.id, o.name, o.status, o.schema_name),
            *(revisions_text(o.revisions), o.created_at, o.placement),
        )
        for o in found
    ]
    show(json, {"organizations": found}, Table(columns, rows))


@app.command("show")
def show_(organization_id: Id, json: Json = False) -> None:
    """Show all that the registry has of an organization."""
    with load_tenancy() as tenancy:
        found = tenancy.schemas.get(organization_id)
    _show(found, as_json=json)


@app.command()
def rename(
    organization_id: Id,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new display name.")],
    json: Json = False,
) -> None:
    """Give an organization another display name; its id and schema stay."""
    with load_tenancy() as tenancy:
        renamed = tenancy.organizations.rename(organization_id, name)
    _show(renamed, as_json=json)


@app.command("change-id")
def change_id(
    organization_id: Id,
    new_id: Annotated[str, typer.Argument(metavar="NEW_ID", help="Its id from now on.")],
    json: Json = False,
) -> None:
    """Give an organization another id, and its schema the name that belongs to it."""
    with load_tenancy() as tenancy:
        changed = tenancy.organizations.change_id(organization_id, new_id)
    _show(changed, as_json=json)


@app.command()
def suspend(
    organization_id: Id,
    reason: Reason = None,
    wait: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", help="Wait so long for the writes that are under way."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Shut an organization out, until it is resumed; nothing of it is lost."""
    with load_tenancy() as tenancy:
        changed = tenancy.organizations.suspend(organization_id, reason=reason, wait=wait)
    _show(changed, as_json=json)


@app.command()
def resume(organization_id: Id, json: Json = False) -> None:
    """Let a suspended organization work again."""
    with load_tenancy() as tenancy:
        changed = tenancy.organizations.resume(organization_id)
    _show(changed, as_json=json)


@app.command()
def fence(
    organization_id: Id,
    reason: Reason = None,
    wait: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Wait so long for the writes that are under way.",
            show_default="fence_timeout",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Shut an organization out for a short while, and return when nobody writes in it.

    Its clients are told to come back, and jobs leave it alone. Exits with 5 if somebody still
    writes: it is fenced then, and the same command again waits on.
    """
    with load_tenancy() as tenancy:
        changed = tenancy.organizations.fence(organization_id, reason=reason, wait=wait)
    _show(changed, as_json=json)


@app.command()
def unfence(organization_id: Id, json: Json = False) -> None:
    """Let a fenced organization work again."""
    with load_tenancy() as tenancy:
        changed = tenancy.organizations.unfence(organization_id)
    _show(changed, as_json=json)


@app.command()
def move(
    organization_id: Id,
    to: Annotated[
        str | None, typer.Option(metavar="NAME", help="The placement that it goes to.")
    ] = None,
    resume_: Annotated[
        bool, typer.Option("--resume", help="Go on with a move that was broken off.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Leave it where it is, if its move was broken off.")
    ] = False,
    json: Json = False,
) -> None:
    """Move an organization to another placement, while it is at work.

    It is fenced for the last part of it, which takes about as long as to read its data once.
    Exits with 5 if somebody else moves it, or writes in it for too long.
    """
    if [to is not None, resume_, undo].count(True) != 1:
        raise typer.BadParameter("give one of --to, --resume and --undo")
    with load_tenancy() as tenancy, stopped_by_signals("the move") as stop:
        if to is not None:
            moved = tenancy.organizations.move(organization_id, to=to)
        elif resume_:
            moved = tenancy.organizations.resume_move(organization_id)
        else:
            moved = tenancy.organizations.undo_move(organization_id)
    _show(moved, as_json=json)
    if stop.exit_code is not None:
        raise typer.Exit(stop.exit_code)


@app.command()
def archive(
    organization_id: Id,
    reason: Reason = None,
    grace: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="DAYS",
            help="How long it can be restored before it may be purged.",
            show_default="archive_grace",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Shut an organization out, to be purged after a grace period."""
    period = None if grace is None else timedelta(days=grace)
    with load_tenancy() as tenancy:
        changed = tenancy.organizations.archive(organization_id, reason=reason, grace=period)
    _show(changed, as_json=json)


@app.command()
def restore(organization_id: Id, json: Json = False) -> None:
    """Give an archived organization the status back that it was archived from."""
    with load_tenancy() as tenancy:
        changed = tenancy.organizations.restore(organization_id)
    _show(changed, as_json=json)


@app.command()
def purge(
    organization_id: Id,
    confirm: Confirm,
    now: Annotated[
        bool, typer.Option("--now", help="Do not wait for the end of the grace period.")
    ] = False,
    json: Json = False,
) -> None:
    """Delete all data of an archived organization, for good; that it was there stays known."""
    with load_tenancy() as tenancy:
        tenancy.organizations.purge(organization_id, confirm=confirm, now=now)
    show(json, {"purged": [organization_id]}, f"{organization_id} is purged")


@app.command("purge-due")
def purge_due(
    limit: Annotated[int, typer.Option(min=1, help="How many at the most.")] = 100,
    json: Json = False,
) -> None:
    """Purge the archived organizations whose grace period is over."""
    with load_tenancy() as tenancy:
        purged = tenancy.organizations.purge_due(limit=limit)
    lines = [f"{organization_id} is purged" for organization_id in purged]
    show(json, {"purged": purged}, *lines, "" if purged else "no purge is due")


@app.command()
def drop(
    organization_id: Id,
    confirm: Confirm,
    force: Annotated[
        bool, typer.Option("--force", help="Drop it although it is open for work.")
    ] = False,
    json: Json = False,
) -> None:
    """Delete an organization with all its data, for good, and forget that it was there."""
    with load_tenancy() as tenancy:
        tenancy.schemas.drop(organization_id, confirm=confirm, force=force)
    show(json, {"dropped": organization_id}, f"{organization_id} is dropped")


def _all(schemas: SchemaManager, status: OrganizationStatus | None) -> list[Organization]:
    page = PageRequest(limit=MAX_PAGE_SIZE)
    found: list[Organization] = []
    while True:
        got = schemas.list(page, status=status)
        found.extend(got.items)
        if got.next_cursor is None:
            return found
        page = PageRequest(limit=MAX_PAGE_SIZE, cursor=got.next_cursor)


def _show(organization: Organization, *, as_json: bool) -> None:
    cells = organization.model_dump() | {"revisions": revisions_text(organization.revisions)}
    rows = [(name.replace("_", " "), value) for name, value in cells.items()]
    show(as_json, organization, Table(("FIELD", "VALUE"), rows))
