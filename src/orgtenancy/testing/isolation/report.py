"""What came of a proof: each leak held or broken, with the evidence."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What came of one leak."""

    HELD = "held"
    """Nothing of another organization was seen or written."""

    BROKEN = "broken"
    """Something was."""

    UNCLEAR = "unclear"
    """The attack failed for a reason that proves nothing."""

    LEFT_OUT = "left out"
    """There is nothing here that it could attack."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one leak.

    Attributes:
        leak: Its name.
        group: What kind of leak it is.
        verdict: Whether it was held.
        evidence: What was seen, or what refused it.
    """

    leak: str
    group: str
    verdict: Verdict
    evidence: str


@dataclass(frozen=True, slots=True)
class Report:
    """What came of all leaks.

    Attributes:
        subject: What was attacked.
        findings: One for each leak.
    """

    subject: str
    findings: tuple[Finding, ...]

    @property
    def is_held(self) -> bool:
        """Whether every leak that was tried was held, none is unclear, and any was tried."""
        return bool(self.of(Verdict.HELD)) and not self.of(Verdict.BROKEN, Verdict.UNCLEAR)

    def of(self, *verdicts: Verdict) -> tuple[Finding, ...]:
        """Return the findings with some verdicts."""
        return tuple(finding for finding in self.findings if finding.verdict in verdicts)

    def __str__(self) -> str:
        counts = Counter(finding.verdict for finding in self.findings)
        lines = [f"{self.subject}: {', '.join(f'{counts[v]} {v}' for v in Verdict if counts[v])}"]
        width = max((len(finding.leak) for finding in self.findings), default=0)
        lines += [f"  {f.verdict:<8}  {f.leak:<{width}}  {f.evidence}" for f in self.findings]
        return "\n".join(lines)
