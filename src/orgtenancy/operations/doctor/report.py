"""What an examination found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orgtenancy.naming import CONTROL_PLACEMENT


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"

    UNKNOWN = "unknown"
    """It could not be found out."""

    WARNING = "warning"
    """It works, and something about it is worth a change."""

    PROBLEM = "problem"
    """It does not work, or organizations are not kept apart."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes:
        check: The check's name, always the same.
        level: How bad it is.
        message: What was found, for people.
        remedy: What to do about it; empty where there is nothing to do.
        placement: Where it was found.
    """

    check: str
    level: Level
    message: str
    remedy: str = ""
    placement: str = CONTROL_PLACEMENT


@dataclass(frozen=True, slots=True)
class Report:
    """What all checks found.

    Attributes:
        findings: In the order of the checks.
    """

    findings: tuple[Finding, ...]

    def of(self, level: Level) -> tuple[Finding, ...]:
        """Return the findings of a level."""
        return tuple(finding for finding in self.findings if finding.level is level)

    @property
    def is_healthy(self) -> bool:
        """Whether there is no problem; warnings and what is unknown do not count."""
        return not self.of(Level.PROBLEM)


def ok(check: str, message: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Level.OK, message)


def unknown(check: str, message: str, remedy: str = "") -> Finding:
    """Return that something could not be found out."""
    return Finding(check, Level.UNKNOWN, message, remedy)


def warning(check: str, message: str, remedy: str) -> Finding:
    """Return that something is worth a change."""
    return Finding(check, Level.WARNING, message, remedy)


def problem(check: str, message: str, remedy: str) -> Finding:
    """Return that something is wrong."""
    return Finding(check, Level.PROBLEM, message, remedy)


def listed(names: list[str], limit: int = 5) -> str:
    """Return some names, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
