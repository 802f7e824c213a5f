"""What was found, and is to be mended, on several placements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from orgtenancy.schemas.drift import DriftReport, RepairPlan, RepairReport

T = TypeVar("T", DriftReport, RepairPlan)


@dataclass(frozen=True, slots=True)
class SpreadReport(DriftReport):
    """What a check found on several placements.

    Attributes:
        parts: The same, placement by placement.
    """

    parts: tuple[DriftReport, ...] = ()


@dataclass(frozen=True, slots=True)
class SpreadPlan(RepairPlan):
    """What would mend the schemas of several placements.

    Attributes:
        parts: The same, placement by placement.
    """

    parts: tuple[RepairPlan, ...] = ()


def joined(reports: Sequence[DriftReport]) -> DriftReport:
    """Return what was found on several placements as one report."""
    return SpreadReport(
        placement=_names(reports),
        checked=sum(report.checked for report in reports),
        schemas=tuple(schema for report in reports for schema in report.schemas),
        findings=tuple(finding for report in reports for finding in report.findings),
        parts=tuple(reports),
    )


def joined_plan(plans: Sequence[RepairPlan]) -> RepairPlan:
    """Return what mends several placements as one plan."""
    return SpreadPlan(
        placement=_names(plans),
        schemas=tuple(schema for plan in plans for schema in plan.schemas),
        left=tuple(finding for plan in plans for finding in plan.left),
        parts=tuple(plans),
    )


def joined_repairs(repairs: Sequence[RepairReport]) -> RepairReport:
    """Return what was done on several placements as one report."""
    return RepairReport(
        repaired=tuple(label for repair in repairs for label in repair.repaired),
        failed={label: why for repair in repairs for label, why in repair.failed.items()},
        drift=joined([repair.drift for repair in repairs]),
        skipped={label: steps for repair in repairs for label, steps in repair.skipped.items()},
    )


def parts_of(whole: T) -> Sequence[T]:
    """Return what belongs to each placement; the whole, if it is of one."""
    parts: Sequence[T] = getattr(whole, "parts", ())
    return parts or [whole]


def _names(parts: Sequence[T]) -> str:
    return ", ".join(part.placement for part in parts)
