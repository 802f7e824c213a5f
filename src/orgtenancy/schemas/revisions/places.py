"""Where a path is applied, and within which bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Place:
    """The schema that a stage is applied to.

    Attributes:
        schema_name: Its name.
        role_name: The opaque role that stands for it in the registry.
        grantee: The role that has the rights in it: the same, but where there are no roles.
        organization_id: Whose it is, or None for a spare.
        extensions_schema: A schema with extensions, in the path.
    """

    schema_name: str
    role_name: str
    grantee: str
    organization_id: str | None
    extensions_schema: str | None = None

    @property
    def path(self) -> tuple[str, ...]:
        """The schemas of its `search_path`."""
        names = (self.schema_name, self.extensions_schema, "pg_temp")
        return tuple(name for name in names if name)


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """What the journal of a job is told by the transaction that does the work.

    Attributes:
        job_id: The job.
        attempts: How often the schema was tried.
        revisions: What the schema was at when the job began.
    """

    job_id: int
    attempts: int
    revisions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long one schema may take.

    Attributes:
        lock_timeout: Seconds to wait for a lock.
        statement_timeout: Seconds that a statement may run, or None for the server's own.
    """

    lock_timeout: float = 0.1
    statement_timeout: float | None = None
