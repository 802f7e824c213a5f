"""What a backup says of itself, and how the rows in it are named."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from orgtenancy.operations.data.digests import Digest
from orgtenancy.operations.data.tables import Table
from orgtenancy.organizations import Organization, OrganizationId, OrganizationStatus

#: What stands in every manifest.
FORMAT: Final = "orgtenancy backup"
#: Which form this release writes, and the newest that it reads.
FORMAT_VERSION: Final = 1

#: Replaces in a name what has no place in that of a file.
replace_unfit = re.compile(r"[^A-Za-z0-9_-]").sub


class Header(BaseModel):
    """The first member of a backup: what has to be known to read on.

    Attributes:
        format: That it is a backup.
        version: In which form.
        organization_id: Of which organization.
    """

    model_config = ConfigDict(frozen=True)

    format: Literal["orgtenancy backup"] = FORMAT
    version: int = FORMAT_VERSION
    organization_id: OrganizationId


class BackupColumn(BaseModel):
    """A column of a table in a backup.

    Attributes:
        name: Its name.
        type: Its type, as the server wrote it.
        is_generated: Whether it is computed from others; its values are not in the backup.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    type: str
    is_generated: bool = False


class BackupTable(BaseModel):
    """A table in a backup.

    Attributes:
        name: Its name.
        columns: Its columns, in their order.
        format: The form of its rows: what `COPY` calls it.
        rows: How many rows.
        checksum: The sum of their hashes; see `Digest`.
        size: Bytes that it had on the disk, without indexes.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    columns: tuple[BackupColumn, ...]
    format: Literal["binary", "text"]
    rows: int = Field(ge=0)
    checksum: int
    size: int = Field(ge=0)

    @property
    def digest(self) -> Digest:
        """What its rows add up to."""
        return Digest(rows=self.rows, checksum=self.checksum)


class BackupOrganization(BaseModel):
    """What the registry had of the organization.

    Attributes:
        id: Its id.
        name: Its display name.
        status: Its status.
        status_reason: Why.
        attributes: The host's labels.
        source: Where it was learned of.
        created_at: When it was made.
    """

    model_config = ConfigDict(frozen=True)

    id: OrganizationId
    name: str
    status: OrganizationStatus
    status_reason: str | None = None
    attributes: Mapping[str, Any] = Field(default_factory=dict)
    source: str | None = None
    created_at: datetime


class Manifest(BaseModel):
    """What is in a backup.

    Attributes:
        organization: Of which organization.
        stamps: The revisions of its schema, as its `alembic_version` had them.
        revisions: The same by module, for people.
        tables: Its tables.
        sequences: Where its sequences were: the last value, and whether it was given out.
        server_version: The PostgreSQL that it comes from.
        taken_at: When its one snapshot was taken, by the server's clock.
    """

    model_config = ConfigDict(frozen=True)

    organization: BackupOrganization
    stamps: tuple[str, ...]
    revisions: Mapping[str, str]
    tables: tuple[BackupTable, ...]
    sequences: Mapping[str, tuple[int, bool]]
    server_version: str
    taken_at: datetime

    @property
    def rows(self) -> int:
        """How many rows in all tables."""
        return sum(table.rows for table in self.tables)

    @property
    def folders(self) -> dict[str, str]:
        """The folder of each table's rows, by the table's name."""
        return data_folders(table.name for table in self.tables)

    @property
    def fingerprint(self) -> str:
        """A digest of all that would be restored: equal ones are backups of the same."""
        content = self.model_dump(
            mode="json",
            exclude={
                "taken_at": True,
                "server_version": True,
                "tables": {"__all__": {"size", "format"}},
            },
        )
        text = json.dumps(content, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


def describe_organization(organization: Organization) -> BackupOrganization:
    """Return what a backup keeps of the registry's row."""
    return BackupOrganization.model_validate(organization.model_dump())


def describe_table(table: Table, digest: Digest) -> BackupTable:
    """Return what a backup says of a table."""
    return BackupTable(
        name=table.name,
        columns=tuple(
            BackupColumn(name=c.name, type=c.type, is_generated=c.is_generated)
            for c in table.columns
        ),
        format="binary" if table.is_portable else "text",
        rows=digest.rows,
        checksum=digest.checksum,
        size=table.size,
    )


def data_folders(names: Iterable[str]) -> dict[str, str]:
    """Return the folder of each table's rows in a backup, by the table's name.

    A number makes it unique, and the name is there for people.

    Args:
        names: The tables, in the order of the manifest.
    """
    return {
        name: f"{number:03}-{replace_unfit('_', name)[:40]}" for number, name in enumerate(names, 1)
    }
