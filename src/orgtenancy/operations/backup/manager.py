"""Backups: the rows of organizations, written, proven and brought back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

from orgtenancy.database.engines import Database
from orgtenancy.errors import OrganizationUnavailable
from orgtenancy.operations.backup.encryption import Key, public_keys
from orgtenancy.operations.backup.exporting import ACTION as EXPORTED
from orgtenancy.operations.backup.exporting import Export, ExportFormat, export
from orgtenancy.operations.backup.fleet import (
    ACTION,
    KIND,
    BackupPlan,
    FleetBackup,
    clean_purged,
    record_backup,
)
from orgtenancy.operations.backup.manifest import Manifest
from orgtenancy.operations.backup.places import Source, Target
from orgtenancy.operations.backup.reading import verify
from orgtenancy.operations.backup.restoring import ACTION as RESTORED
from orgtenancy.operations.backup.restoring import restore
from orgtenancy.operations.backup.shelves import Retention, StoredBackup, stored_backups
from orgtenancy.operations.backup.writing import write
from orgtenancy.operations.twins import in_thread
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import audit
from orgtenancy.schemas import SchemaManager
from orgtenancy.schemas.fleet import Job, JobOptions
from orgtenancy.schemas.fleet.manager import DEFAULT_OPTIONS, OnProgress

# One is not there yet, the other is no more.
_WITHOUT_ROWS = frozenset({OrganizationStatus.PROVISIONING, OrganizationStatus.PURGED})


class Backups:
    """Writes backups and exports, proves them, and restores. It works as the owner, by `admin_url`.

    Each backup and export is one consistent snapshot: what was committed before it, and nothing
    else, while others go on reading and writing. It needs `pip install 'orgtenancy[backup]'`.
    The methods that end in `_async` do the same in a thread.

    Args:
        schemas: Finds organizations, and makes their schemas.
        on_change: Called in this process with the id of an organization that changed.
    """

    def __init__(
        self,
        schemas: SchemaManager,
        *,
        on_change: Callable[[str], None] = lambda organization_id: None,
    ) -> None:
        self._schemas = schemas
        self._placements = schemas.locations.placements
        self._on_change = on_change
        schemas.fleet.register(KIND, _fleet_backup)

    def write(
        self, organization_id: str, target: Target, *, key: Key | None = None, workers: int = 1
    ) -> Manifest:
        """Write a backup of an organization, and return what is in it.

        Args:
            organization_id: Which organization; it may be suspended, fenced or archived.
            target: A path where nothing is yet, or a stream.
            key: For whom to encrypt it: the public half of a key, `age1…`, or several.
            workers: One writes one file; more of them write a folder, with a file for each
                table, each over a connection of its own.

        Raises:
            OrganizationNotFound: If the registry does not have it.
            OrganizationUnavailable: If it has no rows, as it is being provisioned or was purged.
            OrganizationBusy: If others hold a table for too long; nothing was written.
            FileExistsError: If there is something of that name.
            BackupKeyRefused: If the key is none.
        """
        with audit.told_if_not_done(self._where(organization_id), ACTION, organization_id):
            organization = self._with_rows(organization_id)
            database = self._placements.of(organization)
            manifest = write(database, organization, target, key=key, workers=workers)
        with database.admin_engine.begin() as connection:
            record_backup(connection, manifest, encrypted=key is not None)
        return manifest

    def verify(self, source: Source, *, key: Key | None = None) -> Manifest:
        """Read all of a backup, and return what is in it: the function `verify` as a method."""
        return verify(source, key=key)

    def restore(
        self,
        source: Source,
        *,
        organization_id: str | None = None,
        name: str | None = None,
        key: Key | None = None,
        placement: str | None = None,
        migrate: bool = True,
    ) -> Organization:
        """Make an organization of a backup, and return it.

        All of the backup is read and proven first. Then all is done in one transaction: tables
        at the revisions of the backup, rows, sequences, a comparison with what was backed up,
        and the migration to the newest revisions. Killed anywhere, nothing of it is there.

        Under the id that it had it gets its status back, except that one that was archived is
        suspended; under another one it is active. There is no event for it; it is audited.

        Args:
            source: A file, a folder, or a stream.
            organization_id: Its id, if it is to be a new organization beside the old one.
            name: Its display name, if another one than it had.
            key: The secret key, `AGE-SECRET-KEY-…`, if it is encrypted.
            placement: On which one; the tenancy's policy chooses if not given.
            migrate: Whether to bring it to the newest revisions; else it is left for
                `SchemaManager.migrate`.

        Raises:
            FileNotFoundError: If there is no backup.
            BackupForeign: If it is no backup.
            BackupDamaged: If it is not whole, or not as it was written.
            BackupKeyRefused: If there is no key, or none that opens it.
            BackupMismatch: If it is whole, and cannot be restored here.
            OrganizationExists: If the id, or its schema, is there already.
            PlacementNotFound: If the tenancy does not name the placement.
            PlacementUnavailable: If the placement, or each of them, is full, drained or down.
            RevisionNotFound: If a revision that it was at is none of the modules'.
        """
        with audit.told_if_not_done(self._placements.control, RESTORED, organization_id):
            organization = restore(
                self._schemas,
                source,
                placement=placement,
                organization_id=organization_id,
                name=name,
                key=key,
                migrate=migrate,
            )
        self._on_change(organization.id)
        return organization

    def write_all(
        self,
        folder: str | Path,
        *,
        key: Key | None = None,
        keep: int | None = None,
        max_age: timedelta | None = None,
        incremental: bool = True,
        organizations: Sequence[str] | None = None,
        options: JobOptions = DEFAULT_OPTIONS,
        on_progress: OnProgress = lambda progress: None,
        cancel: Event | None = None,
    ) -> Job | None:
        """Back up all organizations into a folder, and remove what is too old.

        It is a job of the fleet: with workers, a journal, and `fleet.resume`. Each organization
        is a snapshot by itself. A fenced one is left for the next time.

        The newest backup of an organization stays, however old it is, until the organization is
        purged. Backups of what the registry does not know stay as well.

        Args:
            folder: Where the backups are.
            key: For whom to encrypt them: the public half of a key, or several.
            keep: How many of each organization stay; None for all.
            max_age: How old they become; None for no limit.
            incremental: Whether to skip who has not changed since the newest backup. That is
                found out by reading all rows, on the server.
            organizations: Only these.
            options: Workers and limits.
            on_progress: Called after each organization.
            cancel: Set it to stop: what is begun is finished.

        Returns:
            The job, or None if there is no organization.

        Raises:
            JobFailed: If some organizations were not backed up; the others were.
            JobLocked: If another runner works on the placement.
            BackupKeyRefused: If the key is none.
        """
        plan = BackupPlan(
            folder=Path(folder).absolute(),
            keys=() if key is None else tuple(public_keys(key)),
            retention=Retention(keep=keep, max_age=max_age),
            incremental=incremental,
            organizations=None if organizations is None else tuple(organizations),
        )
        plan.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        job = self._schemas.fleet.run(
            KIND,
            plan.model_dump(mode="json"),
            options=options,
            on_progress=on_progress,
            cancel=cancel,
        )
        clean_purged(self._placements, plan)
        return job

    def list(
        self, folder: str | Path, *, organization_id: str | None = None
    ) -> Sequence[StoredBackup]:
        """Return the backups that `write_all` wrote, by organization, the newest first.

        Args:
            folder: Where they are.
            organization_id: Only of this organization.
        """
        return stored_backups(Path(folder), organization_id)

    def export(
        self,
        organization_id: str,
        target: Target,
        *,
        format: ExportFormat = "jsonl",  # noqa: A002 - the word for it
    ) -> Export:
        """Write the rows of an organization for its people, and return what was written.

        Args:
            organization_id: Which organization.
            target: A folder that is not there yet, a file that ends with `.zip`, or a stream
                that gets what would be in such a file.
            format: `jsonl` or `csv`.

        Raises:
            OrganizationNotFound: If the registry does not have it.
            OrganizationUnavailable: If it has no rows, as it is being provisioned or was purged.
            OrganizationBusy: If others hold a table for too long; nothing was written.
            FileExistsError: If there is something of that name.
        """
        with audit.told_if_not_done(self._where(organization_id), EXPORTED, organization_id):
            organization = self._with_rows(organization_id)
            database = self._placements.of(organization)
            exported = export(database, organization, target, format=format)
        with database.admin_engine.begin() as connection:
            details = {"format": format, "rows": sum(table.rows for table in exported.tables)}
            audit.record(connection, EXPORTED, organization_id, details=details)
        return exported

    write_async = in_thread(write)
    verify_async = in_thread(verify)
    restore_async = in_thread(restore)
    write_all_async = in_thread(write_all)
    list_async = in_thread(list)  # noqa: A003 - the method above is meant
    export_async = in_thread(export)

    def _with_rows(self, organization_id: str) -> Organization:
        organization = self._schemas.get(organization_id)
        if organization.status in _WITHOUT_ROWS:
            raise OrganizationUnavailable(
                f"organization {organization_id!r} is {organization.status}: it has no rows",
                status=organization.status,
                organization_id=organization_id,
                schema=organization.schema_name,
                placement=organization.placement,
            )
        return organization

    def _where(self, organization_id: str) -> Database:
        return self._schemas.locations.database_of(organization_id)


def _fleet_backup(database: Database, parameters: Mapping[str, Any]) -> FleetBackup:
    plan = {name: value for name, value in parameters.items() if name != "options"}
    return FleetBackup(database, BackupPlan.model_validate(plan))
