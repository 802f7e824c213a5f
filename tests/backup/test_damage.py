"""What is not a whole backup, as it was written, is refused before anything is touched."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyrage
import pytest
import zstandard

from orgtenancy import Organization, Tenancy
from orgtenancy.errors import (
    BackupDamaged,
    BackupError,
    BackupForeign,
    BackupKeyRefused,
    BackupMismatch,
    OrganizationExists,
)
from orgtenancy.operations.backup import generate_key, verify
from orgtenancy.operations.backup.archive import ArchiveReader, ArchiveWriter
from tests.backup.worlds import (
    backup_of,
    manifest_of,
    new_id,
    restored,
    rows_in,
    state_of,
    with_notes,
)
from tests.schemas.databases import FreshDatabase

SECRET, PUBLIC = generate_key()


@pytest.fixture(scope="module")
def acme(database: FreshDatabase) -> Iterator[Organization]:
    with database.tenancy() as tenancy:
        yield with_notes(tenancy, database, 500)


@pytest.fixture
def backup(installed: Tenancy, acme: Organization) -> bytes:
    return backup_of(installed, acme.id)


@pytest.fixture
def encrypted(installed: Tenancy, acme: Organization) -> bytes:
    return backup_of(installed, acme.id, PUBLIC)


def assert_refused(
    tenancy: Tenancy,
    database: FreshDatabase,
    content: bytes,
    error: type[BackupError],
    key: str | None = None,
) -> None:
    before = state_of(database)
    with pytest.raises(error):
        verify(io.BytesIO(content), key=key)
    with pytest.raises(error):
        tenancy.backups.restore(io.BytesIO(content), organization_id=new_id(), key=key)
    assert state_of(database) == before


def members(backup: bytes) -> dict[str, bytes]:
    return dict(ArchiveReader(io.BytesIO(backup), "it").members())


def sealed(content: dict[str, bytes]) -> bytes:
    """Return an archive with a true seal, whatever is in it."""
    return b"".join(ArchiveWriter().write(content.items()))


def changed(backup: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return a backup whose manifest says something else, and is sealed so."""
    content = members(backup)
    manifest = json.loads(content["manifest.json"])
    change(manifest)
    return sealed({**content, "manifest.json": json.dumps(manifest).encode()})


def test_every_bit_that_is_flipped_is_noticed(
    installed: Tenancy, database: FreshDatabase, backup: bytes, encrypted: bytes
) -> None:
    assert len(backup) < 2**16
    places = random.Random(7)
    for content, key in ((backup, None), (encrypted, SECRET)):
        for place in [0, len(content) - 1, *places.sample(range(len(content)), 150)]:
            flipped = bytearray(content)
            flipped[place] ^= 1 << places.randrange(8)
            with pytest.raises(BackupError):
                verify(io.BytesIO(flipped), key=key)
    flipped[len(flipped) // 2] ^= 1
    assert_refused(installed, database, bytes(flipped), BackupError, SECRET)


@pytest.mark.slow
def test_what_is_cut_off_anywhere_or_goes_on_is_refused(
    installed: Tenancy, database: FreshDatabase, backup: bytes, encrypted: bytes
) -> None:
    places = random.Random(8)
    for content, key in ((backup, None), (encrypted, SECRET)):
        for end in [1, 511, 512, len(content) - 1, *places.sample(range(len(content)), 60)]:
            with pytest.raises(BackupError):
                verify(io.BytesIO(content[:end]), key=key)
        assert_refused(installed, database, content[:-1024], BackupDamaged, key)
        assert_refused(installed, database, content + b"\0", BackupDamaged, key)
        assert_refused(installed, database, content + content, BackupDamaged, key)
    assert_refused(installed, database, backup[: -1024 - 512], BackupDamaged)
    without_seal = backup[: backup.index(b"complete.json")]
    assert_refused(installed, database, without_seal, BackupDamaged)


def foreign_tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo("manifest.json")
        info.size = 2
        tar.addfile(info, io.BytesIO(b"{}"))
    return stream.getvalue()


def encrypted_for_us(content: bytes) -> bytes:
    return bytes(pyrage.encrypt(content, [pyrage.x25519.Recipient.from_str(PUBLIC)]))


@pytest.mark.slow
def test_foreign_files_are_refused(installed: Tenancy, database: FreshDatabase) -> None:
    zstd = zstandard.ZstdCompressor().compress(b"some text")
    for content in (b"", b"a text", bytes(2048), random.Random(1).randbytes(5000), zstd):
        assert_refused(installed, database, content, BackupForeign)
        assert_refused(installed, database, encrypted_for_us(content), BackupForeign, SECRET)
    own = sealed({"backup.json": b'{"format": "another backup", "version": 1}'})
    for content in (sealed({"a": b"b"}), sealed({"backup.json": b"[]"}), own):
        assert_refused(installed, database, content, BackupForeign)
    for content in (foreign_tar(), sealed({})):
        assert_refused(installed, database, content, BackupError)


def test_a_backup_opens_only_with_a_key_that_it_was_written_for(
    installed: Tenancy, database: FreshDatabase, acme: Organization, encrypted: bytes
) -> None:
    other, other_public = generate_key()
    for key in (None, other, PUBLIC, "AGE-SECRET-KEY-1", "a password", ""):
        assert_refused(installed, database, encrypted, BackupKeyRefused, key)
    with pytest.raises(BackupKeyRefused) as caught:
        verify(io.BytesIO(encrypted), key=SECRET[:-1] + ("Q" if SECRET[-1] == "P" else "P"))
    assert SECRET[:-1] not in str(caught.value)
    for_both = backup_of(installed, acme.id)
    stream = io.BytesIO()
    installed.backups.write(acme.id, stream, key=[PUBLIC, other_public])
    for_both = stream.getvalue()
    assert manifest_of(installed, for_both, other) == manifest_of(installed, for_both, SECRET)
    # Who has the secret key can write with it as well; without one nothing is read either way.
    assert manifest_of(installed, backup_of(installed, acme.id, SECRET), SECRET).rows == 500
    assert b"note 499" not in encrypted
    bad_keys: list[str | list[str]] = ["age1", "AGE-SECRET-KEY-1X", []]
    for bad in bad_keys:
        with pytest.raises(BackupKeyRefused):
            installed.backups.write(acme.id, io.BytesIO(), key=bad)


def test_another_form_of_backups_is_refused_by_name(
    installed: Tenancy, database: FreshDatabase, backup: bytes
) -> None:
    content = members(backup)
    header = json.loads(content["backup.json"])
    newer = sealed({**content, "backup.json": json.dumps({**header, "version": 2}).encode()})
    assert_refused(installed, database, newer, BackupMismatch)
    with pytest.raises(BackupMismatch, match="form 2"):
        verify(io.BytesIO(newer))


LIES: dict[str, Callable[[dict[str, Any]], None]] = {
    "rows": lambda m: m["tables"][0].update(rows=499),
    "checksum": lambda m: m["tables"][0].update(checksum=1),
    "another type": lambda m: m["tables"][0]["columns"][1].update(type="integer"),
    "another column": lambda m: m["tables"][0]["columns"].append({"name": "x", "type": "text"}),
    "a generated column": lambda m: m["tables"][0]["columns"][1].update(is_generated=True),
    "another form of rows": lambda m: m["tables"][0].update(format="text"),
    "a sequence": lambda m: m["sequences"].update(x=[1, True]),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_manifest_that_lies_is_found_out_and_nothing_is_left(
    installed: Tenancy, database: FreshDatabase, backup: bytes, lie: str
) -> None:
    forged = changed(backup, LIES[lie])
    verify(io.BytesIO(forged))  # it is whole, for all that can be said without a server
    before = state_of(database)
    with pytest.raises(BackupMismatch):
        restored(installed, forged)
    assert state_of(database) == before


def test_a_manifest_and_rows_that_do_not_belong_together_are_damage(
    installed: Tenancy, database: FreshDatabase, backup: bytes
) -> None:
    def another_name(manifest: dict[str, Any]) -> None:
        manifest["tables"][0]["name"] = "others"

    content = members(backup)
    data = {name: value for name, value in content.items() if name.startswith("data/")}
    rest = {name: value for name, value in content.items() if name not in data}
    (name, piece), *_ = data.items()
    rows = zstandard.ZstdDecompressor().decompress(piece)
    bomb = zstandard.ZstdCompressor().compress(bytes(2**21))
    for forged in (
        changed(backup, another_name),
        changed(backup, lambda m: m["tables"].clear()),
        changed(backup, lambda m: m.pop("stamps")),
        changed(backup, lambda m: m["organization"].update(id="../x")),
        sealed(rest),
        sealed({**content, "data/002-more/000001.zst": piece}),
        sealed({**content, name.replace("000001", "000003"): piece}),
        sealed({**content, "manifest.json": b"{"}),
        sealed({n: v for n, v in content.items() if n != "manifest.json"}),
        sealed({**content, name: piece[:-1]}),
        sealed({**content, name: piece + b"x"}),
        sealed({**content, name: bomb}),
        sealed({**content, name: rows}),
    ):
        assert_refused(installed, database, forged, BackupDamaged)


def test_a_part_of_a_folder_that_is_missing_or_another_ones_is_damage(
    installed: Tenancy, database: FreshDatabase, acme: Organization, tmp_path: Path
) -> None:
    installed.backups.write(acme.id, tmp_path / "one", workers=2)
    other = with_notes(installed, database, 3)
    installed.backups.write(other.id, tmp_path / "two", workers=2)
    before = state_of(database)
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["001-notes.tar", "backup.tar"]
    part = tmp_path / "one" / "001-notes.tar"
    content = part.read_bytes()
    for damage in ((tmp_path / "two" / "001-notes.tar").read_bytes(), content[:-600], None):
        part.unlink()
        if damage is not None:
            part.write_bytes(damage)
        with pytest.raises(BackupDamaged):
            verify(tmp_path / "one")
        with pytest.raises(BackupDamaged):
            installed.backups.restore(tmp_path / "one", organization_id=new_id())
        part.touch()
    part.write_bytes(content)
    (tmp_path / "empty").mkdir()
    for not_all in (part, tmp_path / "empty"):
        with pytest.raises(BackupForeign):
            verify(not_all)
    with pytest.raises(BackupForeign, match="one file of a folder"):
        verify(tmp_path / "one" / "backup.tar")
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "nothing")
    assert state_of(database) == before
    copy = installed.backups.restore(tmp_path / "one", organization_id=new_id())
    assert len(rows_in(database, copy.schema_name, "notes")) == 500


def test_a_part_cannot_lead_out_of_its_folder(
    installed: Tenancy, database: FreshDatabase, backup: bytes, tmp_path: Path
) -> None:
    content = {n: v for n, v in members(backup).items() if not n.startswith("data/")}
    (tmp_path / "secret.tar").write_bytes(sealed({"a": b"b"}))
    folder = tmp_path / "backup"
    folder.mkdir()
    main = ArchiveWriter().write(content.items(), {"../secret.tar": "0" * 64})
    (folder / "backup.tar").write_bytes(b"".join(main))
    with pytest.raises(BackupDamaged, match="does not belong"):
        verify(folder)


@pytest.mark.slow
def test_a_file_that_changes_after_it_was_proven_is_refused_and_nothing_is_left(
    installed: Tenancy, database: FreshDatabase, backup: bytes
) -> None:
    class Changing(io.BytesIO):
        """Gives other bytes when it is read again."""

        passes = 0

        def seek(self, place: int, whence: int = 0, /) -> int:
            self.passes += 1
            if self.passes == 2:
                start = backup.index(b"complete.json") - 700
                self.getbuffer()[start] ^= 1
            return super().seek(place, whence)

    before = state_of(database)
    with pytest.raises(BackupError):
        installed.backups.restore(Changing(backup), organization_id=new_id())
    assert state_of(database) == before


def test_what_was_refused_is_in_the_audit(
    installed: Tenancy, database: FreshDatabase, backup: bytes
) -> None:
    target = new_id()
    with pytest.raises(BackupDamaged):
        installed.backups.restore(io.BytesIO(backup[:-10]), organization_id=target)
    (entry,) = installed.organizations.audit(organization_id=target).items
    assert (entry.action, entry.result) == ("restored_from_backup", "refused")
    assert entry.details == {"code": "backup_damaged"}


def test_over_an_organization_that_is_there_nothing_is_restored(
    installed: Tenancy, database: FreshDatabase, acme: Organization, backup: bytes
) -> None:
    other = with_notes(installed, database, 3)
    installed.organizations.archive(other.id)
    installed.organizations.purge(other.id, confirm=other.id, now=True)
    stray = new_id()
    database.ask(f'CREATE SCHEMA "org_{stray}"')
    before = state_of(database)
    for taken in (None, acme.id, other.id, stray):
        with pytest.raises(OrganizationExists):
            installed.backups.restore(io.BytesIO(backup), organization_id=taken)
    assert state_of(database) == before
    database.ask(f'DROP SCHEMA "org_{stray}"')


def test_the_seal_is_the_digest_of_what_stands_before_it(backup: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(backup)) as tar:
        names = tar.getnames()
        last = tar.getmember("complete.json")
        seal = json.load(tar.extractfile(last))  # type: ignore[arg-type]
    assert names[0] == "backup.json"
    assert names[-2:] == ["manifest.json", "complete.json"]
    assert hashlib.sha256(backup[: last.offset]).hexdigest() == seal["sha256"]
