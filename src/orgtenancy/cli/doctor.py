"""`orgtenancy doctor`: look whether a placement is as it should be."""

from __future__ import annotations

import typer

from orgtenancy.cli.context import load_tenancy
from orgtenancy.cli.exits import ExitCode
from orgtenancy.cli.output import Json, Table, show
from orgtenancy.operations.doctor import Level, examine


def doctor(json: Json = False) -> None:
    """Look at versions, rights, sizes and poolers, and try to cross between organizations.

    Exits with 3 if there is a problem. Two schemas are made for the attempts to cross, and
    dropped again.
    """
    with load_tenancy() as tenancy:
        report = examine(tenancy)
    rows = [(one.check, one.level, one.message, one.remedy) for one in report.findings]
    counts = {level.value: len(report.of(level)) for level in Level}
    show(
        json,
        {"is_healthy": report.is_healthy, "counts": counts, "findings": report.findings},
        Table(("CHECK", "LEVEL", "FOUND", "REMEDY"), rows),
        ", ".join(f"{number} {level}" for level, number in counts.items()),
    )
    if not report.is_healthy:
        raise typer.Exit(ExitCode.ATTENTION)
