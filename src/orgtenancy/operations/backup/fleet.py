"""Backing up as the operation of a job: all organizations, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, select

from orgtenancy.context import acting, current_actor, current_origin
from orgtenancy.database.engines import Database
from orgtenancy.errors import OrganizationUnavailable
from orgtenancy.operations.backup.manifest import Manifest
from orgtenancy.operations.backup.places import new_file
from orgtenancy.operations.backup.shelves import Retention, Shelf, shelves
from orgtenancy.operations.backup.writing import OPERATION, Taken, ensure_whole
from orgtenancy.operations.data.digests import digests
from orgtenancy.operations.data.snapshots import snapshot
from orgtenancy.organizations import OrganizationStatus
from orgtenancy.registry import audit, store
from orgtenancy.registry.tables import organizations
from orgtenancy.schemas.fleet import journal
from orgtenancy.schemas.fleet.targets import Target, TargetGone, find_targets
from orgtenancy.schemas.fleet.workers import Worker
from orgtenancy.schemas.revisions.places import JournalEntry

#: What the journal calls it.
KIND = "backup"
#: What the audit calls it.
ACTION = "backed_up"


class BackupPlan(BaseModel):
    """What a backup of the fleet is asked for; the journal keeps it.

    Attributes:
        folder: Where the backups are.
        keys: For whom they are encrypted: public keys, which are no secret.
        retention: How long they are kept.
        incremental: Whether who has not changed since the newest backup is skipped.
        organizations: Only these; None for all.
    """

    model_config = ConfigDict(frozen=True)

    folder: Path
    keys: tuple[str, ...] = ()
    retention: Retention = Retention()
    incremental: bool = True
    organizations: tuple[str, ...] | None = None


class FleetBackup:
    """Backs up each organization into a folder, and removes what is too old.

    Args:
        database: The placement.
        plan: What is asked for.
    """

    kind = KIND

    def __init__(self, database: Database, plan: BackupPlan) -> None:
        self._database = database
        self._plan = plan
        # The job's threads know nothing of who began it.
        self._began = current_actor(), current_origin()

    def is_needed(self, connection: Connection) -> bool:
        """Return whether there is any organization."""
        return bool(self.targets(connection))

    def targets(self, connection: Connection) -> list[Target]:
        """Return the organizations with a schema, fenced ones left out."""
        return find_targets(
            connection,
            self._database.name,
            organization_ids=self._plan.organizations,
            with_spares=False,
        )

    def late_targets(self) -> Sequence[Target]:
        """Return nobody: who comes later is in the next backup."""
        return ()

    def apply(self, worker: Worker, target: Target, entry: JournalEntry) -> None:
        """Back up one organization, if it has changed.

        Raises:
            TargetGone: If it is dropped, or its newest backup has all of it.
        """
        with worker.connection() as connection:
            try:
                why_not = self._back_up(connection, target, entry)
            except OrganizationUnavailable as error:
                why_not = str(error)
        if why_not is not None:  # outside of the block: the connection is well
            raise TargetGone(why_not)

    def _back_up(self, connection: Connection, target: Target, entry: JournalEntry) -> str | None:
        """Back up one organization, or return why there is no need to."""
        plan, shelf = self._plan, Shelf(self._plan.folder, str(target.organization_id))
        with connection.begin():
            organization = store.find(connection, shelf.organization_id)
        if organization is None or organization.role_name != target.role_name:
            return "it is dropped"
        shelf.prepare()
        extensions = self._database.settings.extensions_schema
        with snapshot(connection, organization, extensions, operation=OPERATION) as tables:
            ensure_whole(self._database, connection, organization)
            taken = Taken(connection, organization, tables)
            manifest = taken.describe(digests(connection, tables))
            same = shelf.newest_of(manifest.fingerprint, plan.keys) if plan.incremental else None
            if same is None:
                path = shelf.path_of(manifest, encrypted=bool(plan.keys))
                with new_file(path) as file:
                    taken.write(lambda: manifest, file, plan.keys or None)
                shelf.note(path, manifest, file, plan.keys)
        shelf.clean(plan.retention, datetime.now(UTC))
        if same is not None:
            return f"it has not changed since {same.path.name}"
        with connection.begin():
            with acting(*self._began):
                record_backup(connection, manifest, encrypted=bool(plan.keys))
            journal.mark_done(connection, entry, target.role_name)
        return None


def record_backup(connection: Connection, manifest: Manifest, *, encrypted: bool) -> None:
    """Write into the audit that an organization was backed up."""
    details = {"rows": manifest.rows, "encrypted": encrypted, "fingerprint": manifest.fingerprint}
    audit.record(connection, ACTION, manifest.organization.id, details=details)


def clean_purged(databases: Iterable[Database], plan: BackupPlan) -> None:
    """Remove what is too old of organizations that were purged, the newest included.

    Those that the registry does not know are left alone: it may be the registry that was lost.
    """
    purged = select(organizations.c.id).where(organizations.c.status == OrganizationStatus.PURGED)
    ids: set[str] = set()
    for database in databases:
        with database.admin_engine.begin() as connection:
            ids.update(connection.scalars(purged))
    for shelf in shelves(plan.folder):
        if shelf.organization_id in ids:
            retention = plan.retention.model_copy(update={"keep": None})
            shelf.clean(retention, datetime.now(UTC), all_may_go=True)
