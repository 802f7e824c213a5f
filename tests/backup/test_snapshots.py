"""A backup is one moment of an organization, while others write and migrate."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg
import pytest

from orgtenancy import Organization, Tenancy
from orgtenancy.errors import OrganizationBusy
from tests.backup.worlds import backup_of, manifest_of, new_id, restored, rows_in, with_notes
from tests.schemas.conftest import MakeModule
from tests.schemas.databases import FreshDatabase, dsn, eventually

TOTAL = 1_000 * 100


@pytest.fixture
def bank(bare_database: FreshDatabase, make_module: MakeModule) -> Iterator[Tenancy]:
    """An organization with 1,000 accounts in each of two tables, and with so much in them."""
    module = make_module(
        "bank",
        """
        for name in ("a_accounts", "z_accounts"):
            op.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, amount int NOT NULL)")
        """,
    )
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        for table, amount in (("a_accounts", 100), ("z_accounts", 0)):
            bare_database.ask(
                f"INSERT INTO org_acme.{table} SELECT n, %s FROM generate_series(1, 1000) n", amount
            )
        yield tenancy


@contextmanager
def moving(database: FreshDatabase) -> Iterator[list[int]]:
    """Return a block beside which amounts are moved from one table to the other, and back."""
    moves = [0]
    stop = Event()

    def move() -> None:
        with psycopg.connect(dsn(database.admin_url)) as connection:
            while not stop.is_set():
                n = moves[0]
                pair = ("a_accounts", "z_accounts")
                out, into = pair if n // 1000 % 2 == 0 else pair[::-1]
                for table, sign in ((out, "-"), (into, "+")):
                    connection.execute(
                        f"UPDATE org_acme.{table} SET amount = amount {sign} 7 "
                        f"WHERE id = {n % 1000 + 1}".encode()
                    )
                connection.commit()
                moves[0] += 1

    thread = Thread(target=move)
    thread.start()
    try:
        eventually(lambda: moves[0] > 5)
        yield moves
    finally:
        stop.set()
        thread.join()


def total_in(database: FreshDatabase, schema: str) -> int:
    ((total,),) = database.ask(
        f"SELECT (SELECT sum(amount) FROM {schema}.a_accounts) "
        f"+ (SELECT sum(amount) FROM {schema}.z_accounts)"
    )
    return int(total)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_what_is_moved_between_tables_is_neither_lost_nor_doubled(
    bare_database: FreshDatabase, bank: Tenancy, tmp_path: Path, workers: int
) -> None:
    with moving(bare_database) as moves:
        seen = set()
        for n in range(8):
            before = moves[0]
            bank.backups.write("acme", tmp_path / str(n), workers=workers)
            copy = bank.backups.restore(tmp_path / str(n), organization_id=f"copy{n}")
            assert total_in(bare_database, copy.schema_name) == TOTAL
            seen.add(tuple(rows_in(bare_database, copy.schema_name, "a_accounts")))
            assert moves[0] > before
        bank.backups.export("acme", tmp_path / "export", format="csv")
    assert len(seen) == 8
    exported = 0
    for file in ("a_accounts.csv", "z_accounts.csv"):
        _, *lines = (tmp_path / "export" / file).read_text().splitlines()
        exported += sum(int(line.split(",")[1]) for line in lines)
    assert exported == TOTAL


def test_a_backup_that_waits_for_a_migration_is_of_what_it_left(
    installed: Tenancy, database: FreshDatabase
) -> None:
    acme = with_notes(installed, database)
    found: list[Any] = []

    def back_up() -> None:
        found.append(manifest_of(installed, backup_of(installed, acme.id)))

    with psycopg.connect(dsn(database.admin_url)) as migration:
        migration.execute(f'ALTER TABLE "{acme.schema_name}".notes ADD COLUMN more int'.encode())
        migration.execute(f'DELETE FROM "{acme.schema_name}".notes WHERE id = 20'.encode())
        migration.execute(f'CREATE TABLE "{acme.schema_name}".extra (id int)'.encode())
        thread = Thread(target=back_up)
        thread.start()
        waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessShareLock'"
        eventually(lambda: database.ask(waiting))
    thread.join()
    (manifest,) = found
    notes, extra = sorted(manifest.tables, key=lambda table: table.name)[::-1]
    assert (notes.name, notes.rows, extra.name) == ("notes", 19, "extra")
    assert [column.name for column in notes.columns][-1] == "more"


def test_a_migration_cannot_change_a_table_while_it_is_backed_up(
    installed: Tenancy, database: FreshDatabase
) -> None:
    acme = with_notes(installed, database)
    refused: list[str] = []

    class Watching(io.BytesIO):
        """Somebody tries to change the table as its rows arrive."""

        def write(self, content: Any, /) -> int:
            with psycopg.connect(dsn(database.admin_url)) as migration:
                migration.execute("SET lock_timeout TO '50ms'")
                try:
                    drop = f'ALTER TABLE "{acme.schema_name}".notes DROP COLUMN body'
                    migration.execute(drop.encode())
                except psycopg.errors.LockNotAvailable:
                    refused.append("refused")
                migration.rollback()
            return super().write(content)

    stream = Watching()
    installed.backups.write(acme.id, stream)
    assert len(refused) == 4  # header, rows, manifest, seal
    assert len(rows_in(database, restored(installed, stream.getvalue()).schema_name, "notes")) == 20


def test_an_id_cannot_be_changed_while_its_schema_is_read(
    bare_database: FreshDatabase, tmp_path: Path
) -> None:
    refused: list[str] = []
    with bare_database.tenancy(lifecycle_lock_timeout=0.05) as tenancy:
        tenancy.install()
        acme = with_notes(tenancy, bare_database)

        class Watching(io.BytesIO):
            """Somebody tries to change the id as the rows arrive."""

            def write(self, content: Any, /) -> int:
                try:
                    tenancy.organizations.change_id(acme.id, f"{acme.id}-x")
                except OrganizationBusy:
                    refused.append("refused")
                return super().write(content)

        for read in (tenancy.backups.write, tenancy.backups.export):
            stream = Watching()
            read(acme.id, stream)
            assert refused
            refused.clear()
        assert tenancy.organizations.change_id(acme.id, f"{acme.id}-y").schema_name


def test_a_schema_that_is_anothers_by_now_is_not_read(
    installed: Tenancy, database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = with_notes(installed, database)
    real = installed.backups._with_rows

    def with_rows(organization_id: str) -> Organization:
        """Return it as it is, before it gets another id, and somebody else gets this one."""
        found = real(organization_id)
        installed.organizations.change_id(acme.id, f"{acme.id}-before")
        assert installed.schemas.provision(acme.id).schema_name == acme.schema_name
        return found

    monkeypatch.setattr(installed.backups, "_with_rows", with_rows)
    with pytest.raises(OrganizationBusy, match="was changed: back up it again"):
        backup_of(installed, acme.id)


def test_a_table_that_others_hold_for_too_long_is_told(
    installed: Tenancy, database: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orgtenancy.schemas.waiting._MAX_ATTEMPTS", 2)
    limit = psycopg.sql.SQL("SET LOCAL lock_timeout TO '50ms'")
    monkeypatch.setattr("orgtenancy.operations.data.snapshots._LIMIT", limit)
    acme = with_notes(installed, database)
    with psycopg.connect(dsn(database.admin_url)) as other:
        other.execute(f'LOCK TABLE "{acme.schema_name}".notes'.encode())
        with pytest.raises(OrganizationBusy) as caught:
            backup_of(installed, acme.id)
    assert (caught.value.operation, caught.value.organization_id) == ("back up", acme.id)
    assert manifest_of(installed, backup_of(installed, acme.id)).rows == 20


def test_rows_that_policies_would_hide_are_an_error_and_not_left_out(
    installed: Tenancy, database: FreshDatabase
) -> None:
    acme = with_notes(installed, database)
    owner = new_id()
    database.ask(f"CREATE ROLE {owner} LOGIN PASSWORD 'secret'")
    database.ask(f'GRANT USAGE ON SCHEMA "{acme.schema_name}", orgtenancy TO {owner}')
    for schema in (acme.schema_name, "orgtenancy"):
        database.ask(f'GRANT SELECT ON ALL TABLES IN SCHEMA "{schema}" TO {owner}')
    database.ask(f'ALTER TABLE "{acme.schema_name}".notes ENABLE ROW LEVEL SECURITY')
    url = database.admin_url.set(username=owner, password="secret")
    try:
        with (
            database.tenancy(admin_url=url) as other,
            pytest.raises(Exception, match="row-level security"),
        ):
            backup_of(other, acme.id)
    finally:
        database.ask(f"DROP OWNED BY {owner}")
        database.ask(f"DROP ROLE {owner}")
