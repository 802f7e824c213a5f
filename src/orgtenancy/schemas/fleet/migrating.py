"""Migrating as the operation of a job."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from orgtenancy.database.engines import Database
from orgtenancy.errors import ConfigurationError, RevisionNotFound
from orgtenancy.schemas.fleet.jobs import JobOptions
from orgtenancy.schemas.fleet.targets import (
    Target,
    TargetGone,
    find_targets,
    group_by_revisions,
)
from orgtenancy.schemas.fleet.workers import Worker, cause_of, should_retry
from orgtenancy.schemas.revisions import HEADS, Heads, RevisionPath, Revisions, is_relative
from orgtenancy.schemas.revisions.applying import StageApplier
from orgtenancy.schemas.revisions.places import JournalEntry, Limits, Place
from orgtenancy.settings import IsolationLevel

logger = logging.getLogger("orgtenancy.fleet")

_OTHER_STAMPS = "OT002"
_LEFT_ALONE = "OT004"
# The classes of what is said when names lead nowhere, or elsewhere.
_NAMES = ("3F", "42")


@dataclass(frozen=True, slots=True)
class Step:
    """Schemas that go the same way.

    Attributes:
        revisions: What they are at.
        path: The way, or None from a revision that no file has.
        organizations: How many organizations.
        spares: How many spares.
        fenced: How many of the organizations are fenced: a migration leaves them alone.
    """

    revisions: Mapping[str, str]
    path: RevisionPath | None
    organizations: int
    spares: int
    fenced: int = 0

    @property
    def targets(self) -> int:
        """How many schemas would go this way."""
        return self.organizations + self.spares - self.fenced


class Migration:
    """Brings schemas to a target.

    Args:
        database: The placement.
        revisions: The revisions of the modules.
        target: As `Revisions.path` takes it.
        down: Whether it leads down.
        organization_ids: Only these organizations, and no spares; None for all.
        options: The job's.
    """

    def __init__(
        self,
        database: Database,
        revisions: Revisions,
        target: str = HEADS,
        *,
        down: bool = False,
        organization_ids: Sequence[str] | None = None,
        options: JobOptions,
    ) -> None:
        self._database = database
        self._revisions = revisions
        self._target = target
        self._down = down
        self._organization_ids = organization_ids
        self._limits = Limits(options.lock_timeout, options.statement_timeout)
        self._applier = StageApplier(
            revisions.settings, self._limits, one_by_one=database.has_citus
        )

    @property
    def kind(self) -> str:
        """What the journal calls it."""
        return "downgrade" if self._down else "migrate"

    def plan(self, connection: Connection) -> list[Step]:
        """Return who is to go which way; who is there already is in none of them.

        Raises:
            RevisionNotFound: If no file has the target.
        """
        self._revisions.check_target(self._target)
        steps = []
        for group in group_by_revisions(
            connection, self._database.name, organization_ids=self._organization_ids
        ):
            try:
                path = self._path(self._revisions.stamps_of(group.revisions))
            except RevisionNotFound:
                path = None
            if path is None or path:
                step = Step(group.revisions, path, group.organizations, group.spares, group.fenced)
                steps.append(step)
        return steps

    def targets(self, connection: Connection) -> list[Target]:
        """Return the schemas that are not there yet.

        One at a revision that no file has is among them: it fails by itself, for all to see.
        """
        behind = [dict(step.revisions) for step in self.plan(connection)]
        if not behind:
            return []
        return [
            target
            for target in find_targets(
                connection, self._database.name, organization_ids=self._organization_ids
            )
            if dict(target.revisions) in behind
        ]

    def is_needed(self, connection: Connection) -> bool:
        """Return whether any target is not there yet: one query over the registry."""
        return any(step.targets for step in self.plan(connection))

    def late_targets(self) -> Sequence[Target]:
        """Return the schemas that are not there yet, now."""
        if is_relative(self._target):  # each that was done would seem to need it again
            return ()
        with self._database.admin_engine.begin() as connection:
            return self.targets(connection)

    def apply(self, worker: Worker, target: Target, entry: JournalEntry) -> None:
        """Bring one schema along its path, stage by stage."""
        try:
            self._bring(worker, target, entry)
        except (DBAPIError, psycopg.Error) as error:
            cause = cause_of(error)
            if cause is not None and cause.sqlstate == _LEFT_ALONE:
                raise TargetGone(cause.diag.message_primary) from error
            raise

    def _bring(self, worker: Worker, target: Target, entry: JournalEntry) -> None:
        place = self._place(target)
        stamps = self._revisions.stamps_of(target.revisions)
        try:
            self._follow(worker, place, self._path_from(stamps, entry), entry)
        except (DBAPIError, psycopg.Error) as error:
            if should_retry(error):
                raise
            actual = self._actual_stamps(worker, place, stamps)
            if actual != stamps:
                logger.warning(
                    "%s is at %s, and not at %s as the registry has it",
                    target.label,
                    sorted(actual),
                    sorted(stamps),
                )
            elif isinstance(error, DBAPIError) or not (error.sqlstate or "").startswith(_NAMES):
                raise
            # A stage in one message holds nothing before it is done. The schema may have been
            # renamed and renamed back meanwhile, which only who holds it can rule out.
            self._follow(worker, place, self._path_from(actual, entry), entry, hold=True)

    def _actual_stamps(self, worker: Worker, place: Place, stamps: Heads) -> Heads:
        """Return the stamps of a schema that was taken to have others, or to have these.

        They are the truth: an answer to COMMIT may have been lost, or somebody used Alembic
        by itself. A script that was made for others fails wherever it may.
        """
        try:
            with worker.connection() as connection:
                self._applier.check(connection, place, stamps)
        except DBAPIError as error:
            cause = cause_of(error)
            if cause is None or cause.sqlstate != _OTHER_STAMPS:
                raise
            with worker.connection() as connection, connection.begin():
                query = text("SELECT orgtenancy.heads_of(:schema)")
                found = connection.scalar(query, {"schema": place.schema_name})
            return frozenset(found or ())
        return stamps

    def _follow(
        self,
        worker: Worker,
        place: Place,
        path: RevisionPath,
        entry: JournalEntry,
        *,
        hold: bool = False,
    ) -> None:
        if not path:
            with worker.connection() as connection:
                revisions = self._revisions.revisions_at(path.before)
                self._applier.note(connection, place, path.before, revisions, entry)
        for stage in path.stages:
            last = entry if stage is path.stages[-1] else None
            if stage.autocommit:
                with worker.session(place, self._limits) as connection:
                    self._applier.apply_autocommit(connection, place, stage, last)
            else:
                with worker.connection() as connection:
                    self._applier.apply(connection, place, stage, last, hold=hold)

    def _path_from(self, stamps: Heads, entry: JournalEntry) -> RevisionPath:
        """Return the path of a schema, of which an earlier attempt may have gone a part."""
        if not is_relative(self._target):
            return self._path(stamps)
        begun = self._revisions.stamps_of(entry.revisions)
        rest = self._path(begun).rest(stamps)
        if rest is None:
            raise ConfigurationError(
                f"{self._target!r} is counted from where the job began, at {sorted(begun)}: "
                f"that does not lead by {sorted(stamps)}, where the schema is now"
            )
        return rest

    def _path(self, stamps: Heads) -> RevisionPath:
        return self._revisions.path(stamps, self._target, down=self._down)

    def _place(self, target: Target) -> Place:
        settings = self._database.settings
        without_roles = settings.isolation is IsolationLevel.SEARCH_PATH
        return Place(
            schema_name=target.schema_name,
            role_name=target.role_name,
            grantee=str(self._database.url.username) if without_roles else target.role_name,
            organization_id=target.organization_id,
            extensions_schema=settings.extensions_schema,
        )
