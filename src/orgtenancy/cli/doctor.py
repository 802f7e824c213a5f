"""`orgtenancy doctor`: look whether the placements are as they should be."""

from __future__ import annotations

import typer

from orgtenancy.cli.context import load_tenancy
from orgtenancy.cli.exits import ExitCode
from orgtenancy.cli.output import Json, Table, show
from orgtenancy.cli.targets import PlacementName, is_about_several
from orgtenancy.operations.doctor import Level, examine


def doctor(placement: PlacementName = None, json: Json = False) -> None:
    """Look at versions, rights, sizes and poolers, and try to cross between organizations.

    Exits with 3 if there is a problem. Two schemas are made for the attempts to cross, and
    dropped again.
    """
    with load_tenancy() as tenancy:
        report = examine(tenancy, placements=None if placement is None else [placement])
        is_whole = is_about_several(tenancy, placement)
    columns = ("PLACEMENT", "CHECK", "LEVEL", "FOUND", "REMEDY")
    rows = [
        (one.placement, one.check, one.level, one.message, one.remedy) for one in report.findings
    ]
    first = 0 if is_whole else 1
    counts = {level.value: len(report.of(level)) for level in Level}
    show(
        json,
        {"is_healthy": report.is_healthy, "counts": counts, "findings": report.findings},
        Table(columns[first:], [row[first:] for row in rows]),
        ", ".join(f"{number} {level}" for level, number in counts.items()),
    )
    if not report.is_healthy:
        raise typer.Exit(ExitCode.ATTENTION)
