"""The proof kit: does what a leak would come from, and reports what held.

report = prove(tenancy)
assert report.is_held, report
"""

from __future__ import annotations

from orgtenancy.testing.isolation.apps import AppUnderProof, Ask, WebSocket
from orgtenancy.testing.isolation.catalogue import Group, Leak, World, run
from orgtenancy.testing.isolation.leaks import GROUPS, LEAKS
from orgtenancy.testing.isolation.marks import Leaked, Marks, NotApplicable
from orgtenancy.testing.isolation.proving import prove
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
    "AppUnderProof",
    "Ask",
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
    "WebSocket",
    "Work",
    "World",
    "connections_ended",
    "prove",
    "run",
]
