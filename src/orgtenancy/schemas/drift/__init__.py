"""Drift: where a schema is not what its revisions would make of it.

What a user sees of it, through `tenancy.schemas`:

- `drift(organizations=None) -> DriftReport`: with ids, only these organizations are looked
  at; without, every organization and spare, and what the registry does not know.
- `repair_plan(report) -> RepairPlan`: what would mend it, to be reviewed: `plan.sql()`.
- `repair(plan, *, destructive=False) -> RepairReport`: does it, schema by schema.

`DriftReport`: `placement`, `checked` (how many schemas), `schemas` (`SchemaDrift`: those that
differ), `findings` (`Finding`), `is_clean`.
`SchemaDrift`: `schema_name`, `role_name`, `organization_id` (None for a spare), `label`,
`stamps`, `differences`.
`Difference`: `object_kind`, `object_name`, `expected`, `actual` (texts; None where it is not
there), `change` (`missing`, `unexpected`, `different`); `str(difference)` is one line.
`Finding`: `kind` (`FindingKind`), `name`, `organization_id`, `detail`, `is_note`; `str(finding)`
is one line. A note does not make a report unclean.
`RepairPlan`: `schemas` (`SchemaRepair`), `left` (findings that no statement mends), `is_empty`,
`is_destructive`, `sql()`.
`SchemaRepair`: `schema_name`, `role_name`, `organization_id`, `label`, `steps` (`RepairStep`:
`difference`, `statements`, `destructive`), `unrepaired` (`Unrepaired`: `difference`, `reason`).
`RepairReport`: `repaired` (labels of the schemas that are clean now), `failed` (label → why),
`skipped` (steps that were left out because they are destructive), `drift` (the `DriftReport`
after it), `is_clean`.
"""

from orgtenancy.schemas.drift.checking import check
from orgtenancy.schemas.drift.repairing.applying import apply_repair
from orgtenancy.schemas.drift.repairing.planning import plan_repair
from orgtenancy.schemas.drift.repairing.plans import (
    RepairPlan,
    RepairReport,
    RepairStep,
    SchemaRepair,
    Unrepaired,
)
from orgtenancy.schemas.drift.reports import (
    Change,
    Difference,
    DriftReport,
    Finding,
    FindingKind,
    SchemaDrift,
)

__all__ = [
    "Change",
    "Difference",
    "DriftReport",
    "Finding",
    "FindingKind",
    "RepairPlan",
    "RepairReport",
    "RepairStep",
    "SchemaDrift",
    "SchemaRepair",
    "Unrepaired",
    "apply_repair",
    "check",
    "plan_repair",
]
