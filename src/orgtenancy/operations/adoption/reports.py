"""What an adoption tells: what it would do, what it did, and what it found."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from orgtenancy.operations.adoption.findings import Finding, Severity, told_keys
from orgtenancy.operations.data.digests import Digest


class _Report(BaseModel):
    model_config = ConfigDict(frozen=True)


class AdoptionState(StrEnum):
    """Where an organization is."""

    PENDING = "pending"
    """In the source alone."""

    COPIED = "copied"
    """Copied and fenced here; the source goes on."""

    SWITCHED = "switched"
    """Here. Writes of it are refused in the source."""


class TablePlan(_Report):
    """What becomes of a table. Tables are filled in the order of the plan.

    Attributes:
        source: Its name there.
        target: Its name here.
        way: How its rows are known to be an organization's, for people.
        columns: What each column here gets, for people.
        rows: How many rows it has, or had when it was last analyzed.
        size: Bytes of its rows.
        changed_by: How changed rows are found.
    """

    source: str
    target: str
    way: str
    columns: Mapping[str, str]
    rows: int
    size: int
    changed_by: str | None


class OrganizationPlan(_Report):
    """An organization of the source.

    Attributes:
        key: How the source knows it.
        id: Its id here.
        name: Its display name.
        state: Where it is.
        rows: How many rows it has; None if they were not counted.
        size: About how many bytes; None if they were not counted.
    """

    key: str
    id: str
    name: str
    state: AdoptionState
    rows: int | None
    size: int | None


class AdoptionPlan(_Report):
    """What an adoption would do.

    Attributes:
        source: The shared schema.
        tables: What becomes of its tables.
        organizations: Its organizations.
        findings: What is wrong, or worth knowing.
        seconds: About how long the copies take, one after the other; None if none was tried.
        rate: Rows in a second, as they were measured on one organization.
    """

    source: str
    tables: tuple[TablePlan, ...]
    organizations: tuple[OrganizationPlan, ...]
    findings: tuple[Finding, ...]
    seconds: float | None
    rate: float | None

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that stand in the way."""
        return tuple(one for one in self.findings if one.severity is Severity.PROBLEM)

    @property
    def left_over(self) -> tuple[Finding, ...]:
        """The rows that are nobody's."""
        return tuple(one for one in self.findings if one.severity is Severity.LEFT_OVER)


class AdoptedOrganization(_Report):
    """What was done for an organization.

    Attributes:
        key: How the source knows it.
        id: Its id here.
        state: Where it is now.
        rows: How many rows it has.
        changed: How many rows were brought along; all of them by a copy.
        seconds: How long it took. For a switch, so long its writers waited.
    """

    key: str
    id: str
    state: AdoptionState
    rows: int
    changed: int
    seconds: float


class AdoptionReport(_Report):
    """What was done.

    Attributes:
        organizations: For which organizations.
        left_over: The rows that are nobody's, and stay in the source; not looked for where only
            some organizations were asked for.
    """

    organizations: tuple[AdoptedOrganization, ...]
    left_over: tuple[Finding, ...]


class TableDifference(_Report):
    """A table whose rows here are not those of the source.

    Attributes:
        table: Its name in the source.
        source: What the rows there add up to, mapped.
        target: What the rows here add up to.
        missing: How many rows are there and not here.
        extra: How many rows are here and not there.
        changed: How many rows differ.
        missing_keys: Keys of some, as they are in the source.
        extra_keys: Keys of some, as they are here.
        changed_keys: Keys of some, as they are in the source.
    """

    table: str
    source: Digest
    target: Digest
    missing: int
    extra: int
    changed: int
    missing_keys: tuple[str, ...]
    extra_keys: tuple[str, ...]
    changed_keys: tuple[str, ...]

    def __str__(self) -> str:
        parts = (
            ("missing", self.missing, self.missing_keys),
            ("extra", self.extra, self.extra_keys),
            ("changed", self.changed, self.changed_keys),
        )
        told = [f"{name}{told_keys(rows, keys)}" for name, rows, keys in parts if rows]
        return f"{self.table}: {'; '.join(told)}"


class VerifiedOrganization(_Report):
    """What was found of an organization.

    Attributes:
        key: How the source knows it.
        id: Its id here.
        state: Where it is.
        rows: How many rows the source has of it.
        differences: The tables that differ.
        written: The tables that were written in the source after the switch, past the fence.
    """

    key: str
    id: str
    state: AdoptionState
    rows: int
    differences: tuple[TableDifference, ...]
    written: tuple[str, ...]

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not (self.differences or self.written)


class VerifyReport(_Report):
    """What was found.

    Attributes:
        organizations: Those that are copied or switched.
        pending: The ids of those that are not.
        left_over: The rows that are nobody's.
    """

    organizations: tuple[VerifiedOrganization, ...]
    pending: tuple[str, ...]
    left_over: tuple[Finding, ...]

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return all(one.is_equal for one in self.organizations)


class FinishReport(_Report):
    """How an adoption ended.

    Attributes:
        archive: The schema where the source's tables are now.
        tables: Which tables.
        organizations: How many organizations were adopted.
        left_over: The rows that are nobody's, and are in the archive.
        archived_at: When.
    """

    archive: str
    tables: tuple[str, ...]
    organizations: int
    left_over: tuple[Finding, ...]
    archived_at: datetime


class AdoptionProgress(_Report):
    """What is told as it goes on.

    Attributes:
        title: What is done.
        total: Organizations in all.
        done: Organizations that are done.
        failed: Organizations that failed.
        label: The organization that this is about; None at the start.
        error: Why it was not done.
    """

    title: str
    total: int
    done: int
    failed: int
    label: str | None = None
    error: str | None = None
