"""A folder of backups of all organizations: who is in it, who is skipped, and what goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from orgtenancy import JobOptions, Tenancy
from orgtenancy.errors import BackupKeyRefused, JobFailed, OrganizationNotFound
from orgtenancy.operations.backup import StoredBackup, generate_key, verify
from orgtenancy.schemas.fleet import ItemStatus, Job
from tests.lifecycle.worlds import history, write
from tests.schemas.databases import FreshDatabase

pytestmark = pytest.mark.slow

ONE = JobOptions(workers=1, max_failures=5)


@pytest.fixture
def fleet(bare_database: FreshDatabase) -> Iterator[Tenancy]:
    """Five organizations, two of which differ only in upper and lower case."""
    with bare_database.tenancy() as tenancy:
        tenancy.install()
        tenancy.schemas.spares.fill(1)
        for name in ("a", "A", "b", "c", "d"):
            tenancy.schemas.provision(name)
        write(tenancy, "a")
        yield tenancy


def run(tenancy: Tenancy, folder: Path, **options: object) -> Job:
    job = tenancy.backups.write_all(folder, options=ONE, **options)  # type: ignore[arg-type]
    assert job is not None
    return job


def ids(backups: object) -> list[str]:
    return [b.organization_id for b in backups]  # type: ignore[attr-defined]


def age(backup: StoredBackup, days: int) -> None:
    """Make a backup look older."""
    then = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y%m%dT%H%M%S.%fZ")
    suffix = "".join(backup.path.suffixes[1:])
    note = backup.path.with_name(backup.path.name.removesuffix(suffix) + ".json")
    content = json.loads(note.read_text())
    note.unlink()
    moved = backup.path.rename(backup.path.with_name(f"{then}{suffix}"))
    moved.with_name(f"{then}.json").write_text(json.dumps({**content, "file": moved.name}))


def test_every_organization_gets_a_file_and_who_did_not_change_is_skipped(
    fleet: Tenancy, tmp_path: Path
) -> None:
    fleet.organizations.suspend("b")
    fleet.organizations.archive("c")
    fleet.organizations.fence("d")
    job = run(fleet, tmp_path)
    assert (job.kind, job.status, job.done) == ("backup", "finished", 4)
    assert ids(fleet.backups.list(tmp_path)) == ["A", "a", "b", "c"]
    assert all(verify(b.path).organization.id == b.organization_id for b in _all(fleet, tmp_path))
    fleet.organizations.unfence("d")
    write(fleet, "a", 2)
    fleet.organizations.rename("A", "another name")
    job = run(fleet, tmp_path)
    items = {i.organization_id: i for i in fleet.schemas.fleet.items(job.id)}
    skipped = {k for k, item in items.items() if item.status is ItemStatus.SKIPPED}
    assert skipped == {"b", "c"}
    assert "has not changed since" in str(items["b"].error)
    assert ids(fleet.backups.list(tmp_path)) == ["A", "A", "a", "a", "b", "c", "d"]
    assert run(fleet, tmp_path, incremental=False).done == 5
    assert len(_all(fleet, tmp_path)) == 12
    newest, *_ = fleet.backups.list(tmp_path, organization_id="a")
    assert verify(newest.path).rows == newest.rows == 2
    assert sha256(newest.path.read_bytes()).hexdigest() == newest.sha256
    assert newest.size == newest.path.stat().st_size
    assert [e.action for e in history(fleet, "d")][-2:] == ["backed_up", "backed_up"]


def _all(fleet: Tenancy, folder: Path) -> list[StoredBackup]:
    return list(fleet.backups.list(folder))


def test_a_newest_backup_that_is_gone_or_cut_off_is_no_reason_to_skip(
    fleet: Tenancy, tmp_path: Path
) -> None:
    run(fleet, tmp_path)
    a, b, c = (fleet.backups.list(tmp_path, organization_id=i)[0] for i in ("a", "b", "c"))
    a.path.unlink()
    b.path.write_bytes(b.path.read_bytes()[:-100])
    next(c.path.parent.glob("*.json")).unlink()
    run(fleet, tmp_path)
    for name, number in (("a", 1), ("b", 2), ("c", 2), ("d", 1)):
        found = fleet.backups.list(tmp_path, organization_id=name)
        assert (name, len(found)) == (name, number)
        assert verify(found[0].path).organization.id == name


def test_backups_go_by_number_and_age_but_never_the_newest(fleet: Tenancy, tmp_path: Path) -> None:
    for number in range(2, 6):
        write(fleet, "a", number)
        run(fleet, tmp_path, organizations=["a", "b"])
    assert ids(fleet.backups.list(tmp_path)) == ["a"] * 4 + ["b"]
    run(fleet, tmp_path, keep=3)
    assert ids(fleet.backups.list(tmp_path)) == ["A", "a", "a", "a", "b", "c", "d"]
    for backup in fleet.backups.list(tmp_path):
        age(backup, 10 if backup.organization_id == "a" else 100)
    write(fleet, "a", 7)
    run(fleet, tmp_path, max_age=timedelta(days=30))
    assert ids(fleet.backups.list(tmp_path)) == ["A", "a", "a", "a", "a", "b", "c", "d"]
    run(fleet, tmp_path, max_age=timedelta(days=5), keep=3)
    assert ids(fleet.backups.list(tmp_path)) == ["A", "a", "b", "c", "d"]
    assert len(list(tmp_path.rglob("*.json"))) == 5


def test_backups_of_purged_organizations_go_by_age_and_of_unknown_ones_never(
    fleet: Tenancy, tmp_path: Path
) -> None:
    run(fleet, tmp_path)
    for backup in fleet.backups.list(tmp_path):
        age(backup, 100)
    fleet.organizations.archive("a")
    fleet.organizations.purge("a", confirm="a", now=True)
    fleet.schemas.drop("b", confirm="b", force=True)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "not an organization").mkdir()
    run(fleet, tmp_path, max_age=timedelta(days=200))
    assert ids(fleet.backups.list(tmp_path)) == ["A", "a", "b", "c", "d"]
    run(fleet, tmp_path, max_age=timedelta(days=30))
    assert ids(fleet.backups.list(tmp_path)) == ["A", "b", "c", "d"]


def test_encrypted_backups_are_written_without_the_secret_key_and_skipped_too(
    fleet: Tenancy, tmp_path: Path
) -> None:
    secret, public = generate_key()
    job = run(fleet, tmp_path, key=public)
    assert job.parameters["keys"] == [public]
    assert "SECRET" not in json.dumps(dict(run(fleet, tmp_path, key=secret).parameters))
    found = fleet.backups.list(tmp_path)
    assert len(found) == 5
    assert all(backup.is_encrypted for backup in found)
    with pytest.raises(BackupKeyRefused):
        verify(found[0].path)
    assert verify(found[0].path, key=secret).organization.id == "A"
    with pytest.raises(BackupKeyRefused):
        fleet.backups.write_all(tmp_path, key="age1")


def test_a_backup_for_other_keys_is_no_reason_to_skip(fleet: Tenancy, tmp_path: Path) -> None:
    (first, old), (second, new) = generate_key(), generate_key()
    for key, count in ((None, 5), (old, 10), (new, 15), ([new, old], 20), ([old, new], 20)):
        run(fleet, tmp_path, key=key)
        assert len(fleet.backups.list(tmp_path)) == count
    newest = fleet.backups.list(tmp_path)[0].path
    assert verify(newest, key=first) == verify(newest, key=second)


def test_one_that_fails_does_not_keep_the_others_and_is_resumed(
    fleet: Tenancy, tmp_path: Path
) -> None:
    (tmp_path / "b").write_text("in the way")
    with pytest.raises(JobFailed) as caught:
        run(fleet, tmp_path, keep=2)
    job_id = caught.value.job_id
    assert job_id is not None
    (failed,) = fleet.schemas.fleet.items(job_id, ItemStatus.FAILED)
    assert failed.organization_id == "b"
    assert "FileExistsError" in str(failed.error)
    assert ids(fleet.backups.list(tmp_path)) == ["A", "a", "c", "d"]
    (tmp_path / "b").unlink()
    assert fleet.schemas.fleet.resume(job_id).status == "finished"
    assert ids(fleet.backups.list(tmp_path)) == ["A", "a", "b", "c", "d"]


def test_who_is_not_there_is_told(fleet: Tenancy, tmp_path: Path) -> None:
    with pytest.raises(OrganizationNotFound):
        run(fleet, tmp_path, organizations=["nobody"])


def test_without_organizations_there_is_no_job(
    bare_database: FreshDatabase, tmp_path: Path
) -> None:
    with bare_database.tenancy() as tenancy:
        tenancy.install()
        assert tenancy.backups.write_all(tmp_path / "new") is None
        assert list(tenancy.backups.list(tmp_path / "new")) == []


def test_what_a_killed_run_left_is_removed(fleet: Tenancy, tmp_path: Path) -> None:
    run(fleet, tmp_path)
    left = tmp_path / "a" / ".20260101T000000.000000Z.tar.0a1b2c3d.partial"
    left.write_bytes(b"half")
    run(fleet, tmp_path)
    assert not left.exists()
