"""Running a plan: schema by schema, each in one transaction."""

from __future__ import annotations

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from orgtenancy.schemas import grants
from orgtenancy.schemas.building import SchemaBuilder
from orgtenancy.schemas.drift.checking import check_schemas
from orgtenancy.schemas.drift.repairing.plans import RepairPlan, RepairReport, SchemaRepair


def apply_repair(builder: SchemaBuilder, plan: RepairPlan, *, destructive: bool) -> RepairReport:
    """Run a plan, and check its schemas again.

    Args:
        builder: Makes the schemas of the placement.
        plan: What to run.
        destructive: Whether to run also what would lose data.
    """
    failed, skipped = {}, {}
    for schema in plan.schemas:
        chosen = schema.chosen(destructive=destructive)
        if left_out := tuple(step for step in schema.steps if step not in chosen):
            skipped[schema.label] = left_out
        try:
            with builder.database.admin_engine.begin() as connection:
                _run(connection, schema, destructive=destructive)
        except DBAPIError as error:
            failed[schema.label] = f"{str(error.orig).strip()} ({error.statement})"
    after = check_schemas(builder, [schema.schema_name for schema in plan.schemas])
    unclean = {drift.schema_name for drift in after.schemas}
    unclean |= {finding.name for finding in after.findings if not finding.is_note}
    repaired = tuple(
        schema.label
        for schema in plan.schemas
        if schema.steps and schema.label not in failed and schema.schema_name not in unclean
    )
    return RepairReport(repaired, failed, after, skipped)


def _run(connection: Connection, schema: SchemaRepair, *, destructive: bool) -> None:
    steps = schema.chosen(destructive=destructive)
    if not steps:
        return
    # One by one, so that a failure names its statement.
    grants.send(connection, schema.preamble, one_by_one=True)
    for step in steps:
        grants.send(connection, step.statements, one_by_one=True)
