"""Backups of organizations: one consistent snapshot each, proven before it is restored.

```
manager                  Backups: what a host holds
manifest  archive        what a backup says of itself, and its form: a tar that is sealed
pieces  encryption       rows in compressed pieces; age around all of it
places                   files, folders and streams
writing  reading         a snapshot out of the database; a proof without one
restoring                an organization again, in one transaction
shelves  fleet           a folder of backups of all organizations, and the job that fills it
exporting                the same rows for people
```
"""

from orgtenancy.operations.backup.encryption import generate_key
from orgtenancy.operations.backup.exporting import Export, ExportedTable
from orgtenancy.operations.backup.manager import Backups
from orgtenancy.operations.backup.manifest import (
    BackupColumn,
    BackupOrganization,
    BackupTable,
    Manifest,
)
from orgtenancy.operations.backup.reading import verify
from orgtenancy.operations.backup.shelves import StoredBackup

__all__ = [
    "BackupColumn",
    "BackupOrganization",
    "BackupTable",
    "Backups",
    "Export",
    "ExportedTable",
    "Manifest",
    "StoredBackup",
    "generate_key",
    "verify",
]
