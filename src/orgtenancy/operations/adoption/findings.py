"""What is found to be wrong, or worth knowing, before and after rows move."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Severity(StrEnum):
    """What a finding stands in the way of."""

    PROBLEM = "problem"
    """Of the adoption, or of that of an organization."""

    LEFT_OVER = "left_over"
    """Of the end: rows that are nobody's stay in the source."""

    WARNING = "warning"
    """Of nothing, but it may take long."""

    NOTE = "note"
    """Of nothing."""


class FindingKind(StrEnum):
    """What a finding is about."""

    AMBIGUOUS_WAY = "ambiguous_way"
    """Several foreign keys of a table lead to an organization."""

    NO_WAY = "no_way"
    """Nothing leads from a table to an organization."""

    UNKNOWN_NAME = "unknown_name"
    """The mapping names what is not there."""

    UNMAPPED_TABLE = "unmapped_table"
    """A table of the source goes nowhere."""

    UNMAPPED_COLUMN = "unmapped_column"
    """A column of the source goes nowhere."""

    WITHOUT_SOURCE = "without_source"
    """A table here gets no rows, or a column the default of its own."""

    NOTHING_GIVEN = "nothing_given"
    """A column that must not be NULL gets nothing."""

    TYPE = "type"
    """A column gets values of another type."""

    KEY = "key"
    """The rows of a table cannot be told apart, or its keys cannot become what they should."""

    NOT_OWNED = "not_owned"
    """The owner of the schemas does not own a table of the source."""

    ROW_SECURITY = "row_security"
    """Policies keep rows of a table of the source from the owner of the schemas."""

    NO_INDEX = "no_index"
    """To find the rows of one organization, all rows of a table are read."""

    ORGANIZATION_ID = "organization_id"
    """An organization's id is none, or belongs to another one."""

    ORPHAN = "orphan"
    """The row that a row belongs to is missing, and so its organization."""

    WITHOUT_ORGANIZATION = "without_organization"
    """A row has no organization."""

    UNKNOWN_ORGANIZATION = "unknown_organization"
    """A row's organization is none of those that there are."""

    DUPLICATE_KEY = "duplicate_key"
    """Rows of one organization have the same key here."""

    MISSING_VALUE = "missing_value"
    """A value is NULL that must not be NULL here."""

    BROKEN_RULE = "broken_rule"
    """A row breaks a CHECK constraint here."""

    BROKEN_REFERENCE = "broken_reference"
    """A row refers to one that its organization does not have."""

    TRIAL = "trial"
    """PostgreSQL refused the rows of an organization that was tried."""


class Finding(BaseModel):
    """Something that is worth knowing before it happens.

    Attributes:
        kind: What it is about.
        severity: What it stands in the way of.
        table: The table of the source, or the one here; None if it is about none.
        message: All of it, for people.
        rows: How many rows.
        keys: Keys of some of them, as they are in the source.
        organizations: The keys of organizations that it keeps, as far as known.
    """

    model_config = ConfigDict(frozen=True)

    kind: FindingKind
    severity: Severity
    table: str | None
    message: str
    rows: int = 0
    keys: tuple[str, ...] = ()
    organizations: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = "" if self.table is None else f"{self.table}: "
        return f"{where}{self.message}{told_keys(self.rows, self.keys)}"


def told_keys(rows: int, keys: Sequence[str]) -> str:
    """Return how many rows there are and the keys of some, to be put behind a message."""
    if not rows:
        return ""
    more = ", …" if rows > len(keys) else ""
    return f" ({rows} rows: {', '.join(keys)}{more})" if keys else f" ({rows} rows)"
