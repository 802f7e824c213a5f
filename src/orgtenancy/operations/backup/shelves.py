"""A folder of backups: one for each organization and time.

```
<folder>/<organization>/20261130T140512.123456Z.tar.age      the backup
                        20261130T140512.123456Z.json         what is known of it without a key
```
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from orgtenancy.errors import InvalidOrganizationId
from orgtenancy.naming import validate_organization_id
from orgtenancy.operations.backup.manifest import Manifest
from orgtenancy.operations.backup.places import ENCRYPTED, HashedFile, new_file, remove_partial

_TIME = "%Y%m%dT%H%M%S.%fZ"
_TAR = ".tar"


class StoredBackup(BaseModel):
    """A backup in a folder of many.

    Attributes:
        path: Its file.
        organization_id: Of which organization.
        taken_at: When its snapshot was taken.
        size: Bytes of the file.
        sha256: The SHA-256 of the file, in hex; None if the note beside it is gone.
        fingerprint: That of its manifest; None if the note is gone.
        opened_by: What the public keys add up to that it is encrypted for; None if the note is
            gone.
        rows: How many rows; None if the note is gone.
    """

    model_config = ConfigDict(frozen=True)

    path: Path
    organization_id: str
    taken_at: datetime
    size: int
    sha256: str | None = None
    fingerprint: str | None = None
    opened_by: str | None = None
    rows: int | None = None

    @property
    def is_encrypted(self) -> bool:
        """Whether it takes a key to open it."""
        return self.path.suffix == ENCRYPTED


class Retention(BaseModel):
    """How long backups are kept.

    The newest one of an organization is kept, however old it is: of one that does not change
    there is no newer.

    Attributes:
        keep: How many at the most; None does not count.
        max_age: Older ones go; None for no such limit.
    """

    model_config = ConfigDict(frozen=True)

    keep: int | None = None
    max_age: timedelta | None = None


class _Note(BaseModel):
    """What is known of a backup without a key. Nothing of it is the customer's."""

    file: str
    organization_id: str
    taken_at: datetime
    size: int
    sha256: str
    fingerprint: str
    opened_by: str
    rows: int


class Shelf:
    """The backups of one organization in a folder.

    Args:
        folder: The folder of all of them.
        organization_id: The organization.
    """

    def __init__(self, folder: Path, organization_id: str) -> None:
        self.organization_id = organization_id
        # Two ids never meet in one folder, also where names are the same in upper and lower case.
        marked = re.sub(r"[A-Z]", lambda letter: f"={letter[0].lower()}", organization_id)
        self.folder = folder / marked

    def prepare(self) -> None:
        """Make the folder, and remove what a killed run left in it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_partial(self.folder)

    def path_of(self, manifest: Manifest, *, encrypted: bool) -> Path:
        """Return the path of a new backup."""
        name = manifest.taken_at.astimezone(UTC).strftime(_TIME)
        return self.folder / f"{name}{_TAR}{ENCRYPTED if encrypted else ''}"

    def note(self, path: Path, manifest: Manifest, file: HashedFile, keys: Collection[str]) -> None:
        """Write down what is known of a backup that is complete.

        Args:
            path: Its file.
            manifest: What is in it.
            file: The file as it was written.
            keys: The public keys that it is encrypted for.
        """
        note = _Note(
            file=path.name,
            organization_id=self.organization_id,
            taken_at=manifest.taken_at,
            size=file.size,
            sha256=file.sha256,
            fingerprint=manifest.fingerprint,
            opened_by=_digest_of(keys),
            rows=manifest.rows,
        )
        with new_file(_note_path(path)) as target:
            target.write(note.model_dump_json(indent=1).encode())

    def backups(self) -> list[StoredBackup]:
        """Return the backups, the newest first."""
        found = [_stored(path, self.organization_id) for path in self.folder.glob(f"*{_TAR}*")]
        known = [backup for backup in found if backup is not None]
        return sorted(known, key=lambda backup: backup.taken_at, reverse=True)

    def newest_of(self, fingerprint: str, keys: Collection[str]) -> StoredBackup | None:
        """Return the newest backup if it is whole, has this fingerprint, and is for these keys."""
        newest = next(iter(self.backups()), None)
        if newest is None:
            return None
        is_same = (newest.fingerprint, newest.opened_by) == (fingerprint, _digest_of(keys))
        return newest if is_same else None

    def clean(self, retention: Retention, now: datetime, *, all_may_go: bool = False) -> None:
        """Remove the backups that are not to be kept.

        Args:
            retention: Which are.
            now: What time it is.
            all_may_go: Whether age takes the newest as well.
        """
        for number, backup in enumerate(self.backups()):
            is_old = retention.max_age is not None and backup.taken_at < now - retention.max_age
            is_too_many = retention.keep is not None and number >= retention.keep
            if (number > 0 or all_may_go) and (is_old or is_too_many):
                backup.path.unlink()
                _note_path(backup.path).unlink(missing_ok=True)


def shelves(folder: Path) -> Iterator[Shelf]:
    """Yield the shelves of a folder, in the order of their names."""
    for path in sorted(folder.iterdir()):
        organization_id = re.sub(r"=([a-z])", lambda letter: letter[1].upper(), path.name)
        try:
            validate_organization_id(organization_id)
        except InvalidOrganizationId:
            continue
        if path.is_dir():
            yield Shelf(folder, organization_id)


def stored_backups(folder: Path, organization_id: str | None = None) -> Sequence[StoredBackup]:
    """Return the backups in a folder, by organization, the newest first.

    Args:
        folder: The folder.
        organization_id: Only of this organization.
    """
    if organization_id is not None:
        return Shelf(folder, organization_id).backups()
    return [backup for shelf in shelves(folder) for backup in shelf.backups()]


def _stored(path: Path, organization_id: str) -> StoredBackup | None:
    name = path.name.removesuffix(ENCRYPTED).removesuffix(_TAR)
    try:
        taken_at = datetime.strptime(name, _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None  # not ours
    size = path.stat().st_size
    bare = StoredBackup(path=path, organization_id=organization_id, taken_at=taken_at, size=size)
    try:
        note = _Note.model_validate_json(_note_path(path).read_bytes())
    except (OSError, ValidationError):
        return bare
    if (note.file, note.size) != (path.name, size):
        return bare
    known = note.model_dump(include={"sha256", "fingerprint", "opened_by", "rows"})
    return bare.model_copy(update=known)


def _digest_of(keys: Collection[str]) -> str:
    return hashlib.sha256("\n".join(sorted(set(keys))).encode()).hexdigest()


def _note_path(path: Path) -> Path:
    return path.with_name(f"{path.name.removesuffix(ENCRYPTED).removesuffix(_TAR)}.json")
