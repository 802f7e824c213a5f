"""SIGKILL at every statement: nothing half is there, and the next call does all of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orgtenancy import Tenancy
from orgtenancy.errors import OrganizationNotFound
from orgtenancy.operations.backup import verify
from tests.backup.worlds import new_id, rows_in, with_notes
from tests.registry.worker import Dialogue, dialogue
from tests.schemas.databases import FreshDatabase, assert_nothing_is_unknown

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
]


@pytest.fixture
def killing(database: FreshDatabase) -> Iterator[Dialogue]:
    urls = [u.render_as_string(hide_password=False) for u in (database.url, database.admin_url)]
    with dialogue("tests.schemas.killing", *urls) as process:
        yield process


def points(killing: Dialogue, job: str, subject: object) -> int:
    killing.say(f"{job} {subject} 0")
    return int(killing.hear())


def test_a_restore_killed_anywhere_leaves_nothing_or_all_of_it(
    database: FreshDatabase, installed: Tenancy, killing: Dialogue, tmp_path: Path
) -> None:
    path = tmp_path / "acme.tar"
    installed.backups.write(with_notes(installed, database, 500).id, path)
    count = points(killing, "restore_backup", f"{new_id()}:{path}")
    assert count > 40
    ids = [new_id() for _ in range(count)]
    for n, organization_id in enumerate(ids, 1):
        killing.say(f"restore_backup {organization_id}:{path} {n}")
        assert killing.hear() == "killed"
    database.wait_until_idle()
    assert_nothing_is_unknown(database, installed)
    there = []
    for organization_id in ids:
        try:
            made = installed.schemas.get(organization_id)
            there.append(True)
        except OrganizationNotFound:
            assert f"org_{organization_id}" not in database.schemas()
            there.append(False)
            made = installed.backups.restore(path, organization_id=organization_id)
        assert len(rows_in(database, made.schema_name, "notes")) == 500
    # The commit is one of the last two points.
    assert there == sorted(there)
    assert 1 <= sum(there) <= 2


def test_a_backup_killed_anywhere_has_its_name_only_when_it_is_whole(
    database: FreshDatabase, installed: Tenancy, killing: Dialogue, tmp_path: Path
) -> None:
    acme = with_notes(installed, database, 500)
    count = points(killing, "back_up", f"{acme.id}:{tmp_path}/0.tar")
    for n in range(1, count + 1):
        killing.say(f"back_up {acme.id}:{tmp_path}/{n}.tar {n}")
        assert killing.hear() == "killed"
    whole = [verify(path).rows for path in tmp_path.glob("[0-9]*.tar")]
    assert set(whole) == {500}
    assert 2 <= len(whole) < count


def test_a_backup_of_the_fleet_killed_anywhere_is_resumed(
    bare_database: FreshDatabase, tmp_path: Path
) -> None:
    with bare_database.tenancy() as tenancy:
        tenancy.install()
        ids = {with_notes(tenancy, bare_database, 50).id for _ in range(3)}
        urls = [
            u.render_as_string(hide_password=False)
            for u in (bare_database.url, bare_database.admin_url)
        ]
        with dialogue("tests.schemas.killing", *urls) as killing:
            count = points(killing, "back_up_all", tmp_path / "0")
            for n in range(1, count + 1, 4):
                folder = tmp_path / str(n)
                killing.say(f"back_up_all {folder} {n}")
                assert killing.hear() == "killed"
                bare_database.wait_until_idle()
                left = [job for job in tenancy.schemas.fleet.jobs(limit=1) if job.can_be_resumed]
                for job in left:
                    assert job.parameters["folder"] in (str(folder), str(tmp_path / "0"))
                    assert tenancy.schemas.fleet.resume(job.id).status == "finished"
                tenancy.backups.write_all(folder)
                found = tenancy.backups.list(folder)
                assert {backup.organization_id for backup in found} == ids
                assert len(found) == 3
                assert all(verify(backup.path).rows == 50 for backup in found)
                assert not list(folder.rglob("*.partial"))
