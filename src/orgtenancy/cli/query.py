"""`orgtenancy query`: the same read in many organizations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from orgtenancy.cli.context import load_tenancy
from orgtenancy.cli.exits import ExitCode
from orgtenancy.cli.output import Json, Table, show, tell
from orgtenancy.naming import validate_organization_id
from orgtenancy.operations.querying import Query, QueryRows, audit_query


def query(
    statement: Annotated[
        str, typer.Argument(metavar="SQL", help="One SELECT or VALUES, without a schema.")
    ],
    organization: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Only in this one; repeat it for more."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows of each organization.")] = 100,
    timeout: Annotated[
        float, typer.Option(min=0.001, help="Seconds that it may take in each organization.")
    ] = 30.0,
    workers: Annotated[int, typer.Option(min=1, help="Organizations at a time.")] = 4,
    json: Json = False,
) -> None:
    """Run a query in all active organizations, and show the rows with whose they are.

    Each organization is read in a read-only transaction of its own, as its own role. Who asked
    what is audited for each of them, before it is read. Exits with 1 if one could not be read.
    """
    asked = Query(statement, limit, timeout)
    for organization_id in organization or ():
        validate_organization_id(organization_id)
    with load_tenancy() as tenancy:
        ids = audit_query(tenancy.schemas.locations, asked, organization or None)
        found = tenancy.fan_out(asked, organizations=ids, workers=workers)
    for organization_id, error in found.errors.items():
        tell(f"error: {organization_id}: {' '.join(str(error).split())}")
    for organization_id, rows in found.values.items():
        if rows.is_cut:
            tell(f"{organization_id} has more than {limit} rows: --limit")
    document = {
        "organizations": {one: _documented(rows) for one, rows in found.values.items()},
        "errors": {one: str(error) for one, error in found.errors.items()},
    }
    show(json, document, _table(found.values))
    if found.errors:
        raise typer.Exit(ExitCode.ERROR)


def _documented(rows: QueryRows) -> Mapping[str, Any]:
    return {"columns": rows.columns, "rows": rows.rows, "is_cut": rows.is_cut}


def _table(values: Mapping[str, QueryRows]) -> Table:
    # Organizations may be at different revisions, and so have different columns.
    columns = list(dict.fromkeys(name for rows in values.values() for name in rows.columns))
    lines = (
        (organization_id, *map(dict(zip(rows.columns, row, strict=True)).get, columns))
        for organization_id, rows in values.items()
        for row in rows.rows
    )
    return Table(("ORGANIZATION", *columns), lines)
