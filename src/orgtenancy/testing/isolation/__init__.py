"""The proof kit: does what a leak would come from, and reports what held.

report = prove(tenancy)
assert report.is_held, report
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from orgtenancy import Tenancy
from orgtenancy.testing.isolation.catalogue import Group, Leak, World, run
from orgtenancy.testing.isolation.leaks import GROUPS, LEAKS
from orgtenancy.testing.isolation.marks import Leaked, Marks, NotApplicable
from orgtenancy.testing.isolation.report import Finding, Report, Verdict
from orgtenancy.testing.isolation.scripts import Steps, Work
from orgtenancy.testing.isolation.subject import (
    Access,
    AsyncAccess,
    Subject,
    connections_ended,
)
from orgtenancy.testing.isolation.tenancy_subject import TenancySubject

__all__ = [
    "GROUPS",
    "LEAKS",
    "Access",
    "AsyncAccess",
    "Finding",
    "Group",
    "Leak",
    "Leaked",
    "Marks",
    "NotApplicable",
    "Report",
    "Steps",
    "Subject",
    "TenancySubject",
    "Verdict",
    "Work",
    "World",
    "connections_ended",
    "prove",
    "run",
]


def prove(subject: Tenancy | Subject, leaks: Sequence[Leak] = LEAKS) -> Report:
    """Try to get something from one organization to another, in every way that is known.

    Two organizations are made for it, and dropped afterwards.

    Args:
        subject: A tenancy with an `admin_url`, or another way to keep organizations apart.
        leaks: Which leaks.
    """
    attacked = TenancySubject(subject) if isinstance(subject, Tenancy) else subject
    run_id = secrets.token_hex(6)
    return run(attacked, leaks, a=f"proof-{run_id}-a", b=f"proof-{run_id}-b")
