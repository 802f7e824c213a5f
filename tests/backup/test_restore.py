"""An organization comes back as it was, or as another one beside it."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orgtenancy import OrganizationModule, OrganizationStatus, Tenancy
from orgtenancy.errors import (
    BackupMismatch,
    OrganizationExists,
    OrganizationNotFound,
    OrganizationUnavailable,
    PlacementNotFound,
    RevisionNotFound,
)
from orgtenancy.operations.backup import generate_key
from orgtenancy.schemas.dropping import mark_begun
from tests.backup.worlds import (
    LEVELS,
    backup_of,
    manifest_of,
    new_id,
    restored,
    rows_in,
    state_of,
    with_notes,
)
from tests.lifecycle.worlds import history, may_enter
from tests.schemas.conftest import MakeModule
from tests.schemas.databases import FreshDatabase, dsn


def test_a_dropped_organization_comes_back_as_it_was(
    installed: Tenancy, database: FreshDatabase
) -> None:
    acme = with_notes(installed, database)
    rows = rows_in(database, acme.schema_name, "notes")
    backup = backup_of(installed, acme.id)
    installed.schemas.drop(acme.id, confirm=acme.id, force=True)
    installed._directory.clear()
    back = installed.backups.restore(io.BytesIO(backup))
    as_it_was = {"id", "name", "schema_name", "attributes", "created_at", "revisions", "status"}
    assert back.model_dump(include=as_it_was) == acme.model_dump(include=as_it_was)
    assert back.role_name != acme.role_name
    assert rows_in(database, back.schema_name, "notes") == rows
    with installed.session(acme.id) as session:
        connection = session.connection()
        assert connection.exec_driver_sql("SELECT count(*) FROM notes").scalar() == 20
        connection.exec_driver_sql("INSERT INTO notes VALUES (21, 'new', 20)")
    last = history(installed, acme.id)[-1]
    assert last.action == "restored_from_backup"
    assert (last.details["from"], last.details["rows"]) == (acme.id, 20)
    assert installed.schemas.drift([acme.id]).is_clean


def test_a_copy_stands_beside_the_organization_and_neither_sees_the_other(
    installed: Tenancy, database: FreshDatabase
) -> None:
    told: list[object] = []
    installed.organizations.on_provisioned(told.append)
    acme = with_notes(installed, database)
    copy = restored(installed, backup_of(installed, acme.id), name="Acme, a copy")
    assert (copy.name, copy.attributes, copy.source) == ("Acme, a copy", {"plan": "paid"}, None)
    assert copy.is_active
    assert len(told) == 1  # the source
    with installed.session(copy.id) as session:
        session.connection().exec_driver_sql("DELETE FROM notes")
    with installed.session(acme.id) as session:
        assert session.connection().exec_driver_sql("SELECT count(*) FROM notes").scalar() == 20
    with pytest.raises(Exception, match=r"permission denied|does not exist"):  # noqa: SIM117
        with installed.session(copy.id) as session:
            session.connection().exec_driver_sql(f'SELECT * FROM "{acme.schema_name}".notes')


@pytest.mark.parametrize(
    ("ways", "status"),
    [
        (["suspend"], OrganizationStatus.SUSPENDED),
        (["fence"], OrganizationStatus.ACTIVE),
        (["archive"], OrganizationStatus.SUSPENDED),
    ],
)
def test_who_was_shut_out_is_not_let_in_by_a_restore(
    installed: Tenancy, database: FreshDatabase, ways: list[str], status: OrganizationStatus
) -> None:
    acme = with_notes(installed, database)
    for way in ways:
        getattr(installed.organizations, way)(acme.id, reason="unpaid")
    backup = backup_of(installed, acme.id)
    installed.schemas.drop(acme.id, confirm=acme.id, force=True)
    back = installed.backups.restore(io.BytesIO(backup))
    assert back.status is status
    assert may_enter(database, back) == back.is_active
    if not back.is_active:
        assert back.status_reason == "unpaid"
        installed.organizations.resume(acme.id)
        assert may_enter(database, back)


def test_what_has_no_rows_is_not_backed_up(installed: Tenancy, database: FreshDatabase) -> None:
    with pytest.raises(OrganizationNotFound):
        backup_of(installed, new_id())
    acme = with_notes(installed, database)
    installed.organizations.archive(acme.id)
    with installed._database.admin_engine.begin() as connection:
        mark_begun(connection, acme.id)
    with pytest.raises(OrganizationUnavailable, match="being dropped"):
        backup_of(installed, acme.id)
    installed.organizations.purge(acme.id, confirm=acme.id, now=True)
    with pytest.raises(OrganizationUnavailable):
        backup_of(installed, acme.id)
    gone = with_notes(installed, database)
    database.ask(f'DROP SCHEMA "{gone.schema_name}" CASCADE')
    with pytest.raises(OrganizationNotFound, match="has no schema"):
        backup_of(installed, gone.id)


def older_and_newer(make_module: MakeModule) -> tuple[OrganizationModule, OrganizationModule]:
    """Return a module at its first revision, and the same with two more."""
    bodies = [
        """
        op.execute("CREATE TABLE items (id int PRIMARY KEY, price text)")
        op.execute("CREATE TABLE kinds (name text PRIMARY KEY)")
        op.execute("INSERT INTO kinds VALUES ('from the revision')")
        """,
        """
        op.add_column("items", sa.Column("cents", sa.BigInteger))
        for id, price in op.get_bind().execute(sa.text("SELECT id, price FROM items")).all():
            op.get_bind().execute(
                sa.text("UPDATE items SET cents = :cents WHERE id = :id"),
                {"id": id, "cents": int(float(price) * 100)},
            )
        """,
        """
        with op.get_context().autocommit_block():
            op.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS by_cents ON items (cents)")
        """,
    ]
    newer = make_module("shop", *bodies)
    first = newer.migrations.parent / "first"
    first.mkdir()
    file = newer.migrations / "shop_0001.py"
    (first / file.name).write_text(file.read_text())
    return newer.model_copy(update={"migrations": first}), newer


def test_an_older_backup_is_restored_at_its_revision_and_migrated(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    older, newer = older_and_newer(make_module)
    with bare_database.tenancy([older]) as before:
        before.install()
        before.schemas.provision("acme")
        bare_database.ask("INSERT INTO org_acme.items VALUES (1, '12.50'), (2, '0.99')")
        bare_database.ask("UPDATE org_acme.kinds SET name = 'changed since'")
        backup = backup_of(before, "acme")
    with bare_database.tenancy([newer]) as after:
        copy = after.backups.restore(io.BytesIO(backup), organization_id="copy")
        assert copy.revisions == {"shop": "shop_0003"}
        assert after.schemas.drift(["copy"]).is_clean
        found = bare_database.ask("SELECT id, cents FROM org_copy.items ORDER BY id")
        assert found == [(1, 1250), (2, 99)]
        assert bare_database.ask("SELECT * FROM org_copy.kinds") == [("changed since",)]
        later = after.backups.restore(io.BytesIO(backup), organization_id="later", migrate=False)
        assert later.revisions == {"shop": "shop_0001"}
        after.schemas.migrate()
        assert after.schemas.get("later").revisions == {"shop": "shop_0003"}
        assert rows_in(bare_database, "org_later", "items") == rows_in(
            bare_database, "org_copy", "items"
        )
        newest = backup_of(after, "copy")
    with bare_database.tenancy([older]) as before:
        state = state_of(bare_database)
        with pytest.raises(RevisionNotFound, match="shop_0003"):
            restored(before, newest)
        assert state_of(bare_database) == state
    with bare_database.tenancy([]) as nothing, pytest.raises(RevisionNotFound, match="shop_0001"):
        restored(nothing, backup)


@pytest.mark.slow
def test_a_migration_that_fails_takes_the_restore_back(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    older, newer = older_and_newer(make_module)
    with bare_database.tenancy([older]) as before:
        before.install()
        before.schemas.provision("acme")
        bare_database.ask("INSERT INTO org_acme.items VALUES (1, 'no number')")
        backup = backup_of(before, "acme")
    with bare_database.tenancy([newer]) as after:
        state = state_of(bare_database)
        with pytest.raises(ValueError, match="no number"):
            after.backups.restore(io.BytesIO(backup), organization_id="copy")
        assert state_of(bare_database) == state
        after.backups.restore(io.BytesIO(backup), organization_id="copy", migrate=False)


def test_tables_that_the_modules_do_not_make_are_refused_by_name(
    installed: Tenancy, database: FreshDatabase
) -> None:
    acme = with_notes(installed, database)
    database.ask(f'CREATE TABLE "{acme.schema_name}".extra (id int)')
    database.ask(f'ALTER TABLE "{acme.schema_name}".notes ADD COLUMN more int')
    backup = backup_of(installed, acme.id)
    state = state_of(database)
    with pytest.raises(BackupMismatch) as caught:
        restored(installed, backup)
    assert "there is no table extra" in str(caught.value)
    assert "notes.more was integer and is missing" in str(caught.value)
    assert state_of(database) == state


@pytest.mark.slow
def test_two_that_restore_or_provision_at_once_make_one_organization(
    installed: Tenancy, database: FreshDatabase
) -> None:
    backup = backup_of(installed, with_notes(installed, database).id)
    for _ in range(3):
        target = new_id()

        def attempt(number: int, target: str = target) -> str:
            try:
                if number == 0:
                    installed.schemas.provision(target)
                    return "provisioned"
                installed.backups.restore(io.BytesIO(backup), organization_id=target)
            except OrganizationExists:
                return "refused"
            return "restored"

        with ThreadPoolExecutor(3) as threads:
            outcomes = list(threads.map(attempt, range(3)))
        assert outcomes.count("restored") <= 1
        made = installed.schemas.get(target)
        assert made.is_active
        assert made.role_name in database.roles()
        rows = rows_in(database, made.schema_name, "notes")
        assert len(rows) == (20 if "restored" in outcomes else 0)
        known = database.ask("SELECT role_name FROM orgtenancy.organizations")
        assert database.roles() <= {role for (role,) in known}


def test_keys_are_counted_on_from_where_they_were(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    module = make_module("shop", 'op.execute("CREATE TABLE items (id serial, name text)")')
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        bare_database.ask("INSERT INTO org_acme.items (name) VALUES ('a'), ('b'), ('c')")
        bare_database.ask("DELETE FROM org_acme.items WHERE name = 'c'")
        copy = restored(tenancy, backup_of(tenancy, "acme"))
        insert = f"INSERT INTO {copy.schema_name}.items (name) VALUES ('d') RETURNING id"
        assert bare_database.ask(insert) == [(4,)]


def test_settings_of_servers_and_logins_change_nothing_of_what_is_backed_up(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    module = make_module(
        "log",
        """
        op.execute("CREATE TYPE step AS (at timestamptz, took interval)")
        op.execute("CREATE TABLE log (id int, at timestamptz, took interval, share float8,"
                   " paid money, raw bytea, steps step[])")
        """,
    )
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        bare_database.ask(
            "INSERT INTO org_acme.log VALUES (1, '2026-03-04 05:06:07+00', '1 mon 2 days', 0.1,"
            r"""'$1,234.56', '\xdeadbeef', '{"(\"2026-03-04 05:06:07+00\",1 year)"}')"""
        )
        digest = manifest_of(tenancy, backup_of(tenancy, "acme")).tables
        for name, value in (
            ("TimeZone", "Asia/Kathmandu"),
            ("IntervalStyle", "iso_8601"),
            ("extra_float_digits", "-5"),
            ("bytea_output", "escape"),
            ("statement_timeout", "500"),
        ):
            bare_database.ask(f"ALTER DATABASE \"{bare_database.name}\" SET {name} TO '{value}'")
        tenancy.close()
        backup = backup_of(tenancy, "acme")
        assert manifest_of(tenancy, backup).tables == digest
        copy = tenancy.backups.restore(io.BytesIO(backup), organization_id="copy")
        assert rows_in(bare_database, copy.schema_name, "log") == rows_in(
            bare_database, "org_acme", "log"
        )


@pytest.mark.slow
def test_a_target_that_cannot_be_written_leaves_nothing_and_the_connection_is_well(
    installed: Tenancy, database: FreshDatabase, tmp_path: Path
) -> None:
    acme = with_notes(installed, database, 20_000)

    class Full(io.BytesIO):
        """A disk without room."""

        def write(self, content: Any, /) -> int:
            if self.tell() > 5_000:
                raise OSError(28, "No space left on device")
            return super().write(content)

    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            installed.backups.write(acme.id, Full())
        with pytest.raises(OSError, match="No space left"):
            installed.backups.write(acme.id, Full(), key=generate_key()[1])
    path = tmp_path / "acme.tar"
    installed.backups.write(acme.id, path)
    content = path.read_bytes()
    with pytest.raises(FileExistsError):
        installed.backups.write(acme.id, path)
    with pytest.raises(FileExistsError):
        installed.backups.write(acme.id, path, workers=2)
    with pytest.raises(ValueError, match="folder"):
        installed.backups.write(acme.id, io.BytesIO(), workers=2)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o077 == 0


def test_a_stream_that_is_read_once_is_restored_too(
    installed: Tenancy, database: FreshDatabase
) -> None:
    acme = with_notes(installed, database)

    class Pipe(io.BytesIO):
        """It only goes on."""

        def seekable(self) -> bool:
            return False

    backup = backup_of(installed, acme.id)
    copy = installed.backups.restore(Pipe(backup), organization_id=new_id())
    assert len(rows_in(database, copy.schema_name, "notes")) == 20
    behind = io.BytesIO(b"something else" + backup)
    behind.seek(14)
    assert installed.backups.restore(behind, organization_id=new_id()).is_active


async def _async_twins(tenancy: Tenancy, organization_id: str, folder: Path) -> None:
    await tenancy.backups.write_async(organization_id, folder / "a.tar")
    manifest = await tenancy.backups.verify_async(folder / "a.tar")
    assert manifest.rows == 20
    copy = await tenancy.backups.restore_async(folder / "a.tar", organization_id=new_id())
    export = await tenancy.backups.export_async(copy.id, folder / "export")
    assert export.tables[0].rows == 20


@pytest.mark.slow
def test_the_async_twins_do_the_same(
    installed: Tenancy, database: FreshDatabase, tmp_path: Path
) -> None:
    acme = with_notes(installed, database)
    asyncio.run(_async_twins(installed, acme.id, tmp_path))


def test_an_unknown_placement_is_refused(installed: Tenancy, database: FreshDatabase) -> None:
    backup = backup_of(installed, with_notes(installed, database).id)
    with pytest.raises(PlacementNotFound, match="mars"):
        restored(installed, backup, placement="mars")


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_at_every_level_what_is_restored_works(bare_database: FreshDatabase, level: str) -> None:
    with bare_database.tenancy(**LEVELS[level]) as tenancy:
        tenancy.install()
        acme = with_notes(tenancy, bare_database)
        backup = backup_of(tenancy, acme.id)
        copy = restored(tenancy, backup)
        with tenancy.session(copy.id) as session:
            connection = session.connection()
            assert connection.exec_driver_sql("SELECT count(*) FROM notes").scalar() == 20
            connection.exec_driver_sql("INSERT INTO notes VALUES (21, 'new', 20)")
        tenancy.organizations.suspend(acme.id)
        shut = backup_of(tenancy, acme.id)
        tenancy.schemas.drop(acme.id, confirm=acme.id)
        back = tenancy.backups.restore(io.BytesIO(shut))
        assert back.status is OrganizationStatus.SUSPENDED
        assert not may_enter(bare_database, back, tenancy.schemas.builder.grantee(back.role_name))
        assert tenancy.schemas.drift().is_clean


@pytest.mark.slow
def test_an_owner_that_is_no_superuser_backs_up_and_restores(bare_database: FreshDatabase) -> None:
    owner, login = new_id(), bare_database.url.username
    bare_database.ask(f"CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD 'secret'")
    bare_database.ask(f'ALTER DATABASE "{bare_database.name}" OWNER TO {owner}')
    bare_database.ask(f"GRANT {login} TO {owner} WITH ADMIN OPTION")
    admin_url = bare_database.admin_url.set(username=owner, password="secret")
    with bare_database.tenancy(admin_url=admin_url) as tenancy:
        tenancy.install()
        acme = with_notes(tenancy, bare_database)
        copy = restored(tenancy, backup_of(tenancy, acme.id))
        assert len(rows_in(bare_database, copy.schema_name, "notes")) == 20
        tenancy.backups.export(copy.id, io.BytesIO())
        for one in (acme.id, copy.id):
            tenancy.schemas.drop(one, confirm=one, force=True)
    bare_database.ask(f"REASSIGN OWNED BY {owner} TO CURRENT_USER")
    bare_database.ask(f"DROP OWNED BY {owner} CASCADE")
    bare_database.ask(f"DROP ROLE {owner}")


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("tar") and shutil.which("zstd")), reason="tar or zstd is not here"
)
def test_without_this_library_the_rows_are_got_out_with_common_tools(
    installed: Tenancy, database: FreshDatabase, tmp_path: Path
) -> None:
    acme = with_notes(installed, database, 20_000)
    installed.backups.write(acme.id, tmp_path / "acme.tar")
    subprocess.run(["tar", "xf", "acme.tar"], cwd=tmp_path, check=True)
    (table,) = json.loads((tmp_path / "manifest.json").read_text())["tables"]
    pieces = sorted((tmp_path / "data" / "001-notes").iterdir())
    assert len(pieces) > 1
    together = b"".join(piece.read_bytes() for piece in pieces)
    rows = subprocess.run(["zstd", "-d"], input=together, capture_output=True, check=True).stdout
    columns = ", ".join(column["name"] for column in table["columns"])
    with psycopg.connect(dsn(database.admin_url)) as connection:
        connection.execute(f'CREATE TEMP TABLE out (LIKE "{acme.schema_name}".notes)'.encode())
        copy = f"COPY out ({columns}) FROM STDIN (FORMAT {table['format']})"
        with connection.cursor().copy(copy.encode()) as target:
            target.write(rows)
        difference = f'SELECT * FROM out EXCEPT ALL SELECT * FROM "{acme.schema_name}".notes'
        assert connection.execute(difference.encode()).fetchall() == []
        assert connection.execute("SELECT count(*) FROM out").fetchone() == (20_000,)
