"""Backups, exports and erasures of organizations that live on Citus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orgtenancy import Organization, Tenancy, embedded
from orgtenancy.community import PostRepository, UserProfileRepository, community
from orgtenancy.errors import AdoptionRefused
from orgtenancy.operations.adoption import AdoptionMapping
from orgtenancy.operations.backup import generate_key
from orgtenancy.operations.data.digests import Digests, digests
from orgtenancy.operations.data.tables import enter, tables_of
from tests.citus.conftest import CitusDatabase
from tests.placements.cells import Cells, count, new_id, write
from tests.schemas.databases import FreshDatabase, fresh_database
from tests.support.notes import notes

pytestmark = [pytest.mark.citus, pytest.mark.slow]


@pytest.fixture
def plain(server: embedded.EmbeddedServer) -> Iterator[FreshDatabase]:
    with fresh_database(server.url, server.admin_url) as database:
        yield database


@pytest.fixture
def cells(plain: FreshDatabase, fresh_citus: CitusDatabase) -> Cells:
    return Cells({"default": fresh_citus, "plain": plain})


@pytest.fixture
def spread(cells: Cells) -> Iterator[Tenancy]:
    """Citus as the control server, and a plain server beside it."""
    with cells.tenancy(modules=[community, notes]) as tenancy:
        tenancy.install()
        yield tenancy


@pytest.fixture
def organization(spread: Tenancy) -> Organization:
    """An organization on Citus with a few rows."""
    made = spread.schemas.provision(new_id(), placement="default")
    for number in range(50):
        write(spread, made, number)
    with spread.session(made) as session:
        UserProfileRepository(session).upsert_from_claims({"sub": "ann-4711", "name": "Ann"})
        PostRepository(session).create(user_id="ann-4711", content="Hello", tags=["#a"])
    return made


def test_a_backup_is_restored_on_citus_and_elsewhere(
    spread: Tenancy, fresh_citus: CitusDatabase, organization: Organization, tmp_path: Path
) -> None:
    secret, public = generate_key()
    expected = _digests(spread, organization)
    for workers, key in ((1, None), (3, public)):
        path = tmp_path / f"{workers}"
        spread.backups.write(organization.id, path, key=key, workers=workers)
        spread.backups.verify(path, key=key and secret)
        for placement in ("default", "plain"):
            made = spread.backups.restore(
                path, organization_id=new_id(), key=key and secret, placement=placement
            )
            assert _digests(spread, made) == expected
            write(spread, made, 1000)
            assert count(spread, made.id) == 51
            assert spread.schemas.drift([made.id]).is_clean
            if placement == "default":
                assert fresh_citus.is_distributed(made.schema_name)


def test_a_dropped_organization_comes_back_on_a_worker(
    spread: Tenancy, fresh_citus: CitusDatabase, organization: Organization, tmp_path: Path
) -> None:
    expected = _digests(spread, organization)
    job = spread.backups.write_all(tmp_path)
    assert job
    assert (job.status, job.done, job.failed) == ("finished", 1, 0)
    (backup,) = spread.backups.list(tmp_path)
    spread.schemas.drop(organization.id, confirm=organization.id, force=True)
    back = spread.backups.restore(backup.path, placement="default")
    assert (back.id, _digests(spread, back)) == (organization.id, expected)
    assert fresh_citus.is_distributed(back.schema_name)
    # It did not change since, and is skipped.
    spread.backups.write_all(tmp_path)
    assert len(spread.backups.list(tmp_path)) == 1


def test_rows_are_exported_read_and_a_person_is_erased(
    spread: Tenancy, organization: Organization, tmp_path: Path
) -> None:
    exported = spread.backups.export(organization.id, tmp_path / "export", format="jsonl")
    assert {table.name: table.rows for table in exported.tables}["notes"] == 50
    assert "ann-4711" in (tmp_path / "export" / "posts.jsonl").read_text()
    found = spread.fan_out(lambda session: len(PostRepository(session).find_feed("x").items))
    assert (found.values, found.errors) == ({organization.id: 1}, {})

    assert spread.erasure.find(organization.id, "ann-4711")
    erasure = spread.erasure.erase(organization.id, "ann-4711")
    assert not spread.erasure.find(organization.id, "ann-4711")
    with spread.session(organization.id) as session:
        (post,) = PostRepository(session).find_feed("x").items
        assert (post.user_id, post.content) == (erasure.pseudonym, "Hello")
    spread.backups.export(organization.id, tmp_path / "later", format="jsonl")
    for file in (tmp_path / "later").iterdir():
        assert "ann-4711" not in file.read_text()


def test_nothing_is_adopted_on_citus(spread: Tenancy) -> None:
    adoption = spread.adoption(AdoptionMapping(source="public"))
    for step in (adoption.plan, adoption.run, adoption.verify):
        with pytest.raises(AdoptionRefused, match="plain server"):
            step()


def _digests(tenancy: Tenancy, organization: Organization) -> Digests:
    engine = tenancy.placements[organization.placement].schemas.builder.database.admin_engine
    with engine.begin() as connection:
        enter(connection, organization.schema_name)
        return digests(connection, tables_of(connection, organization.schema_name))
