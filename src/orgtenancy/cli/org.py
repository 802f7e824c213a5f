"""`orgtenancy org`: organizations, one at a time."""

from __future__ import annotations

from typing import Annotated

import typer

from orgtenancy.cli.context import load_tenancy
from orgtenancy.cli.options import parse_labels
from orgtenancy.cli.output import Json, Table, revisions_text, show
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.pagination import MAX_PAGE_SIZE, PageRequest
from orgtenancy.schemas import SchemaManager

app = typer.Typer(help="Make, find, rename and drop organizations.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The identity provider's id.")]


@app.command()
def create(
    organization_id: Id,
    name: Annotated[str | None, typer.Option(help="The display name; the id if not given.")] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A label; KEY:=JSON for what is no text."),
    ] = None,
    json: Json = False,
) -> None:
    """Make an organization; it may be there already."""
    attributes = parse_labels(attribute or ())
    with load_tenancy() as tenancy:
        made = tenancy.schemas.provision(organization_id, name=name, attributes=attributes)
    _show(made, as_json=json)


@app.command("list")
def list_(
    status: Annotated[
        OrganizationStatus | None, typer.Option(help="Only those with this status.")
    ] = None,
    json: Json = False,
) -> None:
    """List the organizations, by their ids."""
    with load_tenancy() as tenancy:
        found = _all(tenancy.schemas, status)
    columns = ("ID", "NAME", "STATUS", "SCHEMA", "REVISIONS", "CREATED")
    rows = [
        (o.id, o.name, o.status, o.schema_name, revisions_text(o.revisions), o.created_at)
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


@app.command()
def drop(
    organization_id: Id,
    confirm: Annotated[str, typer.Option(metavar="ID", help="The same id again.")],
    force: Annotated[
        bool, typer.Option("--force", help="Drop it although it is open for work.")
    ] = False,
    json: Json = False,
) -> None:
    """Delete an organization with all its data, for good."""
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
