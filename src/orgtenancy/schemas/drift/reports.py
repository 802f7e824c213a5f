"""What a check for drift found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Change(StrEnum):
    """What is wrong with an object."""

    MISSING = "missing"
    UNEXPECTED = "unexpected"
    DIFFERENT = "different"


class FindingKind(StrEnum):
    """What is wrong between the registry and the server."""

    UNKNOWN_SCHEMA = "unknown schema"
    """A schema with the name of an organization's or a spare's that the registry lacks."""

    UNKNOWN_ROLE = "unknown role"
    """A role with the name of an organization's that the registry lacks."""

    MISSING_SCHEMA = "missing schema"
    MISSING_ROLE = "missing role"

    LYING_MIRROR = "lying mirror"
    """The registry has other revisions than the stamps in the schema."""

    LYING_STAMP = "lying stamp"
    """The schema is what the registry says, and its stamps say otherwise."""

    UNKNOWN_REVISION = "unknown revision"
    """No module has the revision that a schema is stamped with: it was not compared."""

    UNFINISHED = "unfinished"
    """A reservation or a spare that nobody completed; the next call does. A note."""

    CHANGED_MEANWHILE = "changed meanwhile"
    """A job worked on the schema during the check, or its status changed. A note: check again."""


_NOTES = frozenset({FindingKind.UNFINISHED, FindingKind.CHANGED_MEANWHILE})


@dataclass(frozen=True, slots=True)
class Difference:
    """An object of a schema that is not as in the reference.

    Attributes:
        object_kind: Such as `column`, `index`, `table grants`.
        object_name: Within the schema: `posts.content`.
        expected: What the reference has, or None if it lacks the object.
        actual: What the schema has, or None if it lacks the object.
    """

    object_kind: str
    object_name: str
    expected: str | None
    actual: str | None

    @property
    def change(self) -> Change:
        """What is wrong with it."""
        if self.actual is None:
            return Change.MISSING
        return Change.UNEXPECTED if self.expected is None else Change.DIFFERENT

    def __str__(self) -> str:
        line = f"{self.object_kind} {self.object_name}: {self.change}"
        match self.change:
            case Change.MISSING:
                return f"{line} ({self.expected})" if self.expected else line
            case Change.UNEXPECTED:
                return f"{line} ({self.actual})" if self.actual else line
            case Change.DIFFERENT:
                return f"{line}: expected {self.expected}; is {self.actual}"


@dataclass(frozen=True, slots=True)
class SchemaDrift:
    """A schema that is not as its revisions would make it.

    Attributes:
        schema_name: Its name.
        role_name: Its role, which is its key in the registry.
        organization_id: Whose it is, or None for a spare.
        stamps: The revisions with which it was compared.
        differences: What differs.
    """

    schema_name: str
    role_name: str
    organization_id: str | None
    stamps: frozenset[str]
    differences: tuple[Difference, ...]

    @property
    def label(self) -> str:
        """What people call it."""
        return self.schema_name if self.organization_id is None else self.organization_id


@dataclass(frozen=True, slots=True)
class Finding:
    """What does not fit between the registry and the server.

    Attributes:
        kind: What is wrong.
        name: The schema or the role.
        organization_id: Whose it is, if anybody's.
        detail: What was found, in words.
    """

    kind: FindingKind
    name: str
    organization_id: str | None = None
    detail: str = ""

    @property
    def is_note(self) -> bool:
        """Whether it is nothing to worry about."""
        return self.kind in _NOTES

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f": {self.detail}" if self.detail else "")


@dataclass(frozen=True, slots=True)
class DriftReport:
    """What a check found on one placement.

    Attributes:
        placement: The server.
        checked: How many schemas were compared with a reference.
        schemas: Those that differ.
        findings: What does not fit between the registry and the server.
    """

    placement: str
    checked: int
    schemas: tuple[SchemaDrift, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong; notes do not count."""
        return not self.schemas and all(finding.is_note for finding in self.findings)
