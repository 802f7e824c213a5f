"""The journal of jobs, in the registry.

That a schema is done is written in the transaction that did it. So after a crash, at
whatever point, the journal is true.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, DateTime, Row, Select, func, insert, select, text, update

from orgtenancy.errors import JobNotFound
from orgtenancy.registry.tables import job_items, jobs
from orgtenancy.schemas.fleet.jobs import ItemStatus, Job, JobItem, JobStatus, Runner
from orgtenancy.schemas.fleet.targets import Target
from orgtenancy.schemas.revisions.places import JournalEntry

# One statement for thousands of rows, whatever the network.
_ADD_ITEMS = text(
    "INSERT INTO orgtenancy.job_items "
    "(job_id, role_name, organization_id, schema_name, revisions, wave) "
    "SELECT :job_id, * FROM unnest(CAST(:roles AS text[]), CAST(:organizations AS text[]), "
    "CAST(:schemas AS text[]), CAST(:revisions AS jsonb[]), CAST(:waves AS integer[])) "
    "ON CONFLICT DO NOTHING"
)


def this_runner() -> Runner:
    """Return who this process is."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in a container
        user = str(os.getuid())
    return Runner(
        host=socket.gethostname(), process=os.getpid(), user=user, started_at=datetime.now(UTC)
    )


def create(
    connection: Connection,
    *,
    kind: str,
    placement: str,
    parameters: Mapping[str, Any],
    targets: Iterable[tuple[Target, int]],
) -> int:
    """Write a job with its items, and return its number.

    Args:
        connection: A connection of the owner, in a transaction.
        kind: What it does.
        placement: The server it is about.
        parameters: What a resume needs to know.
        targets: The schemas, each with its wave.
    """
    job_id = connection.scalar(
        insert(jobs)
        .values(
            kind=kind,
            placement=placement,
            status=JobStatus.RUNNING,
            parameters=dict(parameters),
            runner=this_runner().model_dump(mode="json"),
        )
        .returning(jobs.c.id)
    )
    add_items(connection, int(job_id), targets)
    return int(job_id)


def add_items(connection: Connection, job_id: int, targets: Iterable[tuple[Target, int]]) -> None:
    """Write items that the job does not have yet."""
    rows = list(targets)
    if rows:
        columns = {
            "roles": [target.role_name for target, _ in rows],
            "organizations": [target.organization_id for target, _ in rows],
            "schemas": [target.schema_name for target, _ in rows],
            "revisions": [json.dumps(dict(target.revisions)) for target, _ in rows],
            "waves": [wave for _, wave in rows],
        }
        connection.execute(_ADD_ITEMS, {"job_id": job_id, **columns})


def take_over(connection: Connection, job_id: int) -> None:
    """Make this process the runner of a job, with what failed to be tried again."""
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(
            status=JobStatus.RUNNING,
            runner=this_runner().model_dump(mode="json"),
            cancel_requested=False,
            finished_at=None,
        )
    )
    connection.execute(
        update(job_items)
        .where(job_items.c.job_id == job_id, job_items.c.status == ItemStatus.FAILED)
        .values(status=ItemStatus.PENDING, attempts=0, error=None, finished_at=None)
    )


def finish(connection: Connection, job_id: int, status: JobStatus) -> None:
    """Write how a job came to its end."""
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(status=status, finished_at=func.clock_timestamp())
    )


def request_cancel(connection: Connection, job_id: int) -> None:
    """Ask whoever runs a job to stop."""
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(cancel_requested=True))


def is_cancel_requested(connection: Connection, job_id: int) -> bool:
    """Return whether somebody asked a job to stop."""
    return bool(connection.scalar(select(jobs.c.cancel_requested).where(jobs.c.id == job_id)))


def is_done(connection: Connection, job_id: int, role_name: str) -> bool:
    """Return whether a schema was done."""
    statement = select(job_items.c.status).where(
        job_items.c.job_id == job_id, job_items.c.role_name == role_name
    )
    return bool(connection.scalar(statement) == ItemStatus.DONE)


def mark_done(connection: Connection, entry: JournalEntry, role_name: str) -> None:
    """Write that a schema is done, where the transaction of the work could not say so."""
    connection.execute(
        update(job_items)
        .where(job_items.c.job_id == entry.job_id, job_items.c.role_name == role_name)
        .values(
            status=ItemStatus.DONE,
            attempts=entry.attempts,
            error=None,
            finished_at=func.clock_timestamp(),
        )
    )


def write_outcome(
    connection: Connection,
    job_id: int,
    role_name: str,
    status: ItemStatus,
    *,
    attempts: int,
    error: str | None,
) -> None:
    """Write what became of a schema, unless its own transaction has said that it is done."""
    connection.execute(
        update(job_items)
        .where(
            job_items.c.job_id == job_id,
            job_items.c.role_name == role_name,
            job_items.c.status != ItemStatus.DONE,
        )
        .values(
            status=status,
            attempts=attempts,
            error=error,
            finished_at=None if status is ItemStatus.PENDING else func.clock_timestamp(),
        )
    )


def pending(connection: Connection, job_id: int) -> list[JobItem]:
    """Return what is left of a job, wave by wave, spares first."""
    statement = (
        select(job_items)
        .where(job_items.c.job_id == job_id, job_items.c.status == ItemStatus.PENDING)
        .order_by(
            job_items.c.wave,
            job_items.c.organization_id.collate("C").nulls_first(),
            job_items.c.schema_name,
        )
    )
    return [_item_from(row) for row in connection.execute(statement)]


def find(connection: Connection, job_id: int) -> Job:
    """Return a job; one whose runner is gone still counts as running here.

    Raises:
        JobNotFound: If the journal has none of this number.
    """
    row = connection.execute(_with_counts().where(jobs.c.id == job_id)).one_or_none()
    if row is None:
        raise JobNotFound(f"no job {job_id}")
    return _job_from(row)


def newest(connection: Connection, limit: int) -> list[Job]:
    """Return jobs, the newest first."""
    statement = _with_counts().order_by(jobs.c.id.desc()).limit(limit)
    return [_job_from(row) for row in connection.execute(statement)]


def current(connection: Connection, placement: str) -> Job | None:
    """Return the job that is run on a placement, if any is.

    Of those that say so it is the one whose runner began last: the others' are gone.
    """
    statement = (
        _with_counts()
        .where(jobs.c.placement == placement, jobs.c.status == JobStatus.RUNNING)
        .order_by(jobs.c.runner["started_at"].astext.cast(DateTime(timezone=True)).desc())
        .limit(1)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else _job_from(row)


def items(
    connection: Connection, job_id: int, statuses: Sequence[ItemStatus] = ()
) -> list[JobItem]:
    """Return the schemas of a job, those that failed first."""
    statement = (
        select(job_items)
        .where(job_items.c.job_id == job_id)
        .order_by(
            job_items.c.status != ItemStatus.FAILED,
            job_items.c.wave,
            job_items.c.organization_id.collate("C").nulls_first(),
            job_items.c.schema_name,
        )
    )
    if statuses:
        statement = statement.where(job_items.c.status.in_(statuses))
    return [_item_from(row) for row in connection.execute(statement)]


def _with_counts() -> Select[Any]:
    counts = (
        select(job_items.c.status, func.count().label("number"))
        .where(job_items.c.job_id == jobs.c.id)
        .group_by(job_items.c.status)
        .correlate(jobs)
        .subquery()
    )
    total = select(func.jsonb_object_agg(counts.c.status, counts.c.number)).scalar_subquery()
    columns = [column for column in jobs.c if column.name != "cancel_requested"]
    return select(*columns, total.label("items"))


def _job_from(row: Row[Any]) -> Job:
    return Job.model_validate({**row._asdict(), "items": row.items or {}})


def _item_from(row: Row[Any]) -> JobItem:
    return JobItem.model_validate(row._asdict())
