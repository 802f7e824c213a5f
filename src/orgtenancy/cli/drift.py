"""`orgtenancy drift`: schemas that are not what their revisions would make of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from orgtenancy.cli.context import load_tenancy
from orgtenancy.cli.exits import ExitCode
from orgtenancy.cli.options import Organizations
from orgtenancy.cli.output import Json, Table, tell
from orgtenancy.cli.targets import (
    PlacementName,
    Result,
    is_about_several,
    show_each,
    targets_of,
)
from orgtenancy.naming import CONTROL_PLACEMENT
from orgtenancy.schemas.drift import DriftReport, RepairPlan, RepairReport

app = typer.Typer(
    help="Find and mend schemas that are not what their revisions make.", no_args_is_help=True
)


@app.command()
def check(org: Organizations = None, placement: PlacementName = None, json: Json = False) -> None:
    """Compare the schemas with a reference, object by object.

    Exits with 3 if one differs, or does not fit the registry.
    """
    with load_tenancy() as tenancy:
        reports = [cell.schemas.drift(ids) for cell, ids in targets_of(tenancy, placement, org)]
        is_whole = is_about_several(tenancy, placement)
    show_each(json, [_report_result(report) for report in reports], is_whole=is_whole)
    if not all(report.is_clean for report in reports):
        raise typer.Exit(ExitCode.ATTENTION)


@app.command()
def repair(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the plan to this file.")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do it, and not only plan it.")] = False,
    destructive: Annotated[
        bool, typer.Option("--destructive", help="With --apply: also what deletes data.")
    ] = False,
    org: Organizations = None,
    placement: PlacementName = None,
    json: Json = False,
) -> None:
    """Write what would mend the schemas, and with --apply do it.

    Exits with 3 if something is left to mend, and with 4 if a schema could not be mended.
    """
    with load_tenancy() as tenancy:
        is_whole = is_about_several(tenancy, placement)
        plans = [
            (cell.schemas, cell.schemas.repair_plan(cell.schemas.drift(ids)))
            for cell, ids in targets_of(tenancy, placement, org)
        ]
        if output is not None:
            output.write_text(_script(plan for _, plan in plans), encoding="utf-8")
            tell(f"the plan is in {output}")
        if not apply:
            shown = [_plan_result(plan, with_sql=output is None) for _, plan in plans]
            show_each(json, shown, is_whole=is_whole)
            if any(plan.schemas or not _is_left_alone(plan) for _, plan in plans):
                raise typer.Exit(ExitCode.ATTENTION)
            return
        if output is None and not all(plan.is_empty for _, plan in plans):
            tell(_script(plan for _, plan in plans))
        done = [(plan, schemas.repair(plan, destructive=destructive)) for schemas, plan in plans]
    show_each(json, [_repair_result(plan, result) for plan, result in done], is_whole=is_whole)
    if any(result.failed for _, result in done):
        raise typer.Exit(ExitCode.JOB_FAILED)
    if not all(result.is_clean and _is_left_alone(plan) for plan, result in done):
        raise typer.Exit(ExitCode.ATTENTION)


def _script(plans: Iterable[RepairPlan]) -> str:
    """Return plans as one script; what belongs to another placement says so."""
    return "\n".join(
        plan.sql()
        if plan.placement == CONTROL_PLACEMENT
        else f"-- on placement {plan.placement}\n{plan.sql()}"
        for plan in plans
    )


def _report_result(report: DriftReport) -> Result:
    rows = [
        *((one.label, str(difference)) for one in report.schemas for difference in one.differences),
        *((one.organization_id, str(one)) for one in report.findings),
    ]
    table = Table(("SCHEMA", "WHAT"), rows) if rows else ""
    return Result(report.placement, _report_document(report), [table, _summary(report)])


def _plan_result(plan: RepairPlan, *, with_sql: bool) -> Result:
    document = {"plan": _plan_document(plan), "repair": None}
    return Result(plan.placement, document, [_plan_text(plan, plan.sql() if with_sql else "")])


def _repair_result(plan: RepairPlan, result: RepairReport) -> Result:
    document = {"plan": _plan_document(plan), "repair": _repair_document(result)}
    return Result(plan.placement, document, _repair_texts(result))


def _summary(report: DriftReport) -> str:
    if report.is_clean:
        return f"{report.checked} schemas checked: no drift"
    problems = sum(not finding.is_note for finding in report.findings)
    return (
        f"{report.checked} schemas checked: {len(report.schemas)} differ, {problems} other "
        "findings; `orgtenancy drift repair` plans what mends them"
    )


def _is_left_alone(plan: RepairPlan) -> bool:
    """Return whether there is nothing wrong that no statement mends."""
    return all(finding.is_note for finding in plan.left)


def _plan_text(plan: RepairPlan, sql: str) -> str:
    return sql.rstrip() if plan.schemas or plan.left else "nothing is to be repaired"


def _repair_texts(result: RepairReport) -> list[str]:
    return [
        *(f"repaired: {label}" for label in result.repaired),
        *(f"failed: {label}: {reason}" for label, reason in result.failed.items()),
        *(
            f"left out, as data would be lost: {label}: {step.difference}"
            for label, steps in result.skipped.items()
            for step in steps
        ),
        _summary(result.drift),
    ]


def _report_document(report: DriftReport) -> dict[str, Any]:
    return {
        "placement": report.placement,
        "checked": report.checked,
        "is_clean": report.is_clean,
        "schemas": [
            {
                "schema_name": one.schema_name,
                "role_name": one.role_name,
                "organization_id": one.organization_id,
                "stamps": sorted(one.stamps),
                "differences": [_difference_document(each) for each in one.differences],
            }
            for one in report.schemas
        ],
        "findings": [_finding_document(one) for one in report.findings],
    }


def _difference_document(difference: Any) -> dict[str, Any]:
    names = ("object_kind", "object_name", "change", "expected", "actual")
    return {name: getattr(difference, name) for name in names}


def _finding_document(finding: Any) -> dict[str, Any]:
    return {
        name: getattr(finding, name)
        for name in ("kind", "name", "organization_id", "detail", "is_note")
    }


def _plan_document(plan: RepairPlan) -> dict[str, Any]:
    return {
        "is_empty": plan.is_empty,
        "is_destructive": plan.is_destructive,
        "sql": plan.sql(),
        "schemas": [
            {
                "schema_name": one.schema_name,
                "organization_id": one.organization_id,
                "steps": [
                    {
                        "difference": _difference_document(step.difference),
                        "statements": list(step.statements),
                        "destructive": step.destructive,
                    }
                    for step in one.steps
                ],
                "unrepaired": [
                    {"difference": _difference_document(each.difference), "reason": each.reason}
                    for each in one.unrepaired
                ],
            }
            for one in plan.schemas
        ],
        "left": [_finding_document(one) for one in plan.left],
    }


def _repair_document(result: RepairReport) -> dict[str, Any]:
    return {
        "is_clean": result.is_clean,
        "repaired": list(result.repaired),
        "failed": dict(result.failed),
        "skipped": {
            label: [_difference_document(step.difference) for step in steps]
            for label, steps in result.skipped.items()
        },
        "drift": _report_document(result.drift),
    }
