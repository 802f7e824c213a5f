"""Jobs over the fleet: what they are asked for, and what the journal says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from orgtenancy.errors import JobNotFound
from orgtenancy.naming import CONTROL_PLACEMENT
from orgtenancy.organizations import OrganizationId


class JobStatus(StrEnum):
    """Where a job is."""

    RUNNING = "running"
    """A runner works on it."""

    INTERRUPTED = "interrupted"
    """Its runner is gone, without a word. Not stored: nobody holds the lock."""

    PAUSED = "paused"
    """It waits between two waves for somebody to resume it."""

    FINISHED = "finished"
    """All is done."""

    FAILED = "failed"
    """It stopped, or came to its end, with schemas that were not done."""

    CANCELLED = "cancelled"
    """Somebody stopped it."""


class ItemStatus(StrEnum):
    """What became of one schema."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    """The organization was dropped meanwhile, or its status keeps the job out."""


class Wave(BaseModel):
    """Organizations that are done before the others. Exactly one of these is given.

    Attributes:
        organizations: Their ids.
        attributes: Labels that they all have, such as `{"plan": "beta"}`.
        percent: A share of all organizations, always the same ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    organizations: tuple[OrganizationId, ...] = ()
    attributes: Mapping[str, Any] = Field(default_factory=dict)
    percent: float | None = Field(default=None, gt=0, le=100)

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        given = [bool(self.organizations), bool(self.attributes), self.percent is not None]
        if sum(given) != 1:
            raise ValueError("a wave is given by organizations, attributes or percent: one of them")
        return self


class JobOptions(BaseModel):
    """How a job goes through the fleet.

    Attributes:
        workers: Schemas worked on at the same time, each over a connection of its own.
        waves: Who goes first, wave after wave; everybody else is the last wave. Spares,
            which nobody uses, go with the first.
        pause: Whether to stop between waves, until the job is resumed.
        max_failures: More failed schemas than this, and no other is begun. In a wave that is not
            the last, any failure stops the job at the end of the wave.
        max_attempts: How often a schema is tried when a lock cannot be had in time, or the
            connection is lost.
        lock_timeout: Seconds to wait for a lock; writers behind it wait as long.
        statement_timeout: Seconds that a statement may run, or None for the server's own.
        schemas_per_connection: Schemas after which a worker connects anew: a backend keeps
            the catalog entries of each of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: PositiveInt = 4
    waves: tuple[Wave, ...] = ()
    pause: bool = False
    max_failures: int = Field(default=10, ge=0)
    max_attempts: PositiveInt = 20
    lock_timeout: PositiveFloat = 0.1
    statement_timeout: PositiveFloat | None = None
    schemas_per_connection: PositiveInt = 500


def job_label(placement: str, job_id: int) -> str:
    """Return what people call a job: each placement counts its own."""
    return str(job_id) if placement == CONTROL_PLACEMENT else f"{placement}/{job_id}"


def parse_job_id(given: int | str) -> tuple[str, int]:
    """Return the placement and the number of a job, from its number or its label.

    Raises:
        JobNotFound: If it is neither.
    """
    placement, _, number = str(given).rpartition("/")
    if not (number.isascii() and number.isdecimal()):
        raise JobNotFound(f"{given!r} is no job: write 12, or eu/12 for one of placement eu")
    return placement or CONTROL_PLACEMENT, int(number)


class Runner(BaseModel):
    """Who works on a job.

    Attributes:
        host: The machine's name.
        process: The process id on it.
        user: The user it runs as.
        started_at: Since when.
    """

    model_config = ConfigDict(frozen=True)

    host: str
    process: int
    user: str
    started_at: datetime

    def __str__(self) -> str:
        return f"{self.user}@{self.host}, process {self.process}, since {self.started_at:%F %T %Z}"


class Job(BaseModel):
    """A job, as the journal has it.

    Attributes:
        id: Its number.
        kind: What it does: `migrate`, `downgrade`, or the place of a function of the host.
        placement: The server it is about.
        status: Where it is.
        parameters: What it was asked for.
        runner: Who works on it, or did last.
        items: How many schemas are in which status.
        created_at: When it was asked for.
        finished_at: When it came to its end or was stopped, or None.
    """

    model_config = ConfigDict(frozen=True)

    id: int
    kind: str
    placement: str
    status: JobStatus
    parameters: Mapping[str, Any]
    runner: Runner
    items: Mapping[ItemStatus, int]
    created_at: datetime
    finished_at: datetime | None

    @property
    def label(self) -> str:
        """What people call it: `12`, or `eu/12` where it is of another placement than the first."""
        return job_label(self.placement, self.id)

    @property
    def total(self) -> int:
        """How many schemas it is about."""
        return sum(self.items.values())

    @property
    def done(self) -> int:
        """How many need no more work."""
        return self.items.get(ItemStatus.DONE, 0) + self.items.get(ItemStatus.SKIPPED, 0)

    @property
    def failed(self) -> int:
        """How many failed."""
        return self.items.get(ItemStatus.FAILED, 0)

    @property
    def can_be_resumed(self) -> bool:
        """Whether there is something left, and nobody works on it."""
        return self.status not in (JobStatus.RUNNING, JobStatus.FINISHED)


class JobItem(BaseModel):
    """One schema of a job.

    Attributes:
        job_id: The job.
        role_name: The opaque role that stands for the schema.
        organization_id: Whose it was when the job began, or None for a spare.
        schema_name: Its name when the job began.
        revisions: What it was at when the job began.
        wave: Which wave, from 0.
        status: What became of it.
        attempts: How often it was tried.
        error: Why the last attempt failed, or why it was skipped.
        finished_at: When.
    """

    model_config = ConfigDict(frozen=True)

    job_id: int
    role_name: str
    organization_id: str | None
    schema_name: str
    revisions: Mapping[str, str]
    wave: int
    status: ItemStatus
    attempts: int
    error: str | None
    finished_at: datetime | None

    @property
    def label(self) -> str:
        """What people call it."""
        return self.schema_name if self.organization_id is None else self.organization_id


@dataclass(frozen=True, slots=True)
class JobProgress:
    """What is told as a job goes on.

    Attributes:
        job_id: The job.
        kind: What it does.
        wave: The wave that is worked on, from 0.
        waves: How many waves.
        total: Schemas in all waves.
        done: Schemas that need no more work.
        failed: Schemas that failed.
        label: The organization, or the spare's schema, that this is about; None at the start.
        status: What became of it; `pending` if it is going to be tried again.
        error: Why it was not done.
        placement: The server that the job is about.
    """

    job_id: int
    kind: str
    wave: int
    waves: int
    total: int
    done: int
    failed: int
    label: str | None = None
    status: ItemStatus | None = None
    error: str | None = None
    placement: str = CONTROL_PLACEMENT

    @property
    def title(self) -> str:
        """What is done, for people."""
        wave = f", wave {self.wave + 1} of {self.waves}" if self.waves > 1 else ""
        return f"job {job_label(self.placement, self.job_id)} ({self.kind}){wave}"
