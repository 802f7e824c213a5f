"""Adoption: rows of a shared schema move into schemas of their organizations, with proof.

An organization is copied at one moment of the source, brought along while the source goes on,
and switched: from one commit on its rows live here, and PostgreSQL refuses late writes to the
source. What is counted and compared is every row, on both sides.
"""

from orgtenancy.operations.adoption.findings import Finding, FindingKind, Severity
from orgtenancy.operations.adoption.keys import uuid_of
from orgtenancy.operations.adoption.manager import Adoption
from orgtenancy.operations.adoption.mapping import (
    AdoptionMapping,
    ColumnMapping,
    KeyRule,
    OrganizationsMapping,
    TableMapping,
    Via,
)
from orgtenancy.operations.adoption.reports import (
    AdoptedOrganization,
    AdoptionPlan,
    AdoptionProgress,
    AdoptionReport,
    AdoptionState,
    FinishReport,
    OrganizationPlan,
    TableDifference,
    TablePlan,
    VerifiedOrganization,
    VerifyReport,
)
from orgtenancy.operations.adoption.running import AdoptionOptions

__all__ = [
    "AdoptedOrganization",
    "Adoption",
    "AdoptionMapping",
    "AdoptionOptions",
    "AdoptionPlan",
    "AdoptionProgress",
    "AdoptionReport",
    "AdoptionState",
    "ColumnMapping",
    "Finding",
    "FindingKind",
    "FinishReport",
    "KeyRule",
    "OrganizationPlan",
    "OrganizationsMapping",
    "Severity",
    "TableDifference",
    "TableMapping",
    "TablePlan",
    "VerifiedOrganization",
    "VerifyReport",
    "Via",
    "uuid_of",
]
