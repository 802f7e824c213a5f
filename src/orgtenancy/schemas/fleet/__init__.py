"""All organizations as the target of one job."""

from orgtenancy.schemas.fleet.jobs import (
    ItemStatus,
    Job,
    JobItem,
    JobOptions,
    JobProgress,
    JobStatus,
    Wave,
)
from orgtenancy.schemas.fleet.manager import Fleet, FleetStatus

__all__ = [
    "Fleet",
    "FleetStatus",
    "ItemStatus",
    "Job",
    "JobItem",
    "JobOptions",
    "JobProgress",
    "JobStatus",
    "Wave",
]
