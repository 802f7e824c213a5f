"""What a repair would do, and what it did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from orgtenancy.schemas.drift.reports import Difference, DriftReport, Finding


@dataclass(frozen=True, slots=True)
class RepairStep:
    """Statements that mend one difference, or a part of it.

    Attributes:
        difference: What they mend.
        statements: In order.
        destructive: Whether data would be lost.
    """

    difference: Difference
    statements: tuple[str, ...]
    destructive: bool = False


@dataclass(frozen=True, slots=True)
class Unrepaired:
    """A difference that no statement here mends.

    Attributes:
        difference: What differs.
        reason: Why.
    """

    difference: Difference
    reason: str


@dataclass(frozen=True, slots=True)
class SchemaRepair:
    """How one schema is mended, in one transaction.

    Attributes:
        schema_name: Its name.
        role_name: Its role, which is its key in the registry.
        organization_id: Whose it is, or None for a spare.
        preamble: What its transaction begins with: the limits, and guards that fail if the
            status or the stamps are others than they were when the plan was made.
        steps: In order.
        unrepaired: What is left.
    """

    schema_name: str
    role_name: str
    organization_id: str | None
    preamble: tuple[str, ...]
    steps: tuple[RepairStep, ...]
    unrepaired: tuple[Unrepaired, ...] = ()

    @property
    def label(self) -> str:
        """What people call it."""
        return self.schema_name if self.organization_id is None else self.organization_id

    def chosen(self, *, destructive: bool) -> list[RepairStep]:
        """Return the steps that are run; of a difference all or none."""
        lossy = {step.difference for step in self.steps if step.destructive}
        return [step for step in self.steps if destructive or step.difference not in lossy]


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What would mend the schemas of a report.

    Attributes:
        placement: The server.
        schemas: Schema by schema.
        left: Findings that no statement mends; a schema or role is never dropped here.
    """

    placement: str
    schemas: tuple[SchemaRepair, ...] = ()
    left: tuple[Finding, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to run."""
        return not any(schema.steps for schema in self.schemas)

    @property
    def is_destructive(self) -> bool:
        """Whether a step of it would lose data."""
        return any(step.destructive for schema in self.schemas for step in schema.steps)

    def sql(self) -> str:
        """Return it as a script to review; what would lose data stands in comments."""
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        for schema in self.schemas:
            yield f"-- {schema.label} ({schema.schema_name})"
            if schema.steps:
                yield from ("BEGIN;", *(f"{statement};" for statement in schema.preamble))
                safe = schema.chosen(destructive=False)
                for step in schema.steps:
                    yield from _as_comment(str(step.difference))
                    if step in safe:
                        yield from (f"{statement};" for statement in step.statements)
                    else:
                        yield "-- it would lose data:"
                        for statement in step.statements:
                            yield from _as_comment(f"{statement};")
                yield "COMMIT;"
            for left in schema.unrepaired:
                yield from _as_comment(f"not mended: {left.difference} ({left.reason})")
            yield ""
        for finding in self.left:
            yield from _as_comment(f"not mended: {finding}")


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair did.

    Attributes:
        repaired: The labels of the schemas that are clean now.
        failed: By label, why a schema is as it was.
        skipped: Steps that were left out because they would lose data, by label.
        drift: What a check of the plan's schemas found afterwards.
    """

    repaired: tuple[str, ...]
    failed: Mapping[str, str]
    drift: DriftReport
    skipped: Mapping[str, tuple[RepairStep, ...]] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether the schemas of the plan are as they should be."""
        return not self.failed and self.drift.is_clean


def _as_comment(text: str) -> list[str]:
    return [f"-- {line}" for line in text.splitlines()]
