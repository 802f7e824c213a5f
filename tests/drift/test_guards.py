"""A check beside a job, and a repair of what is no longer as it was planned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy import event

from orgtenancy import Tenancy
from orgtenancy.schemas.drift import FindingKind
from tests.schemas.conftest import MakeModule
from tests.schemas.databases import FreshDatabase, dsn

pytestmark = pytest.mark.slow

TWO = (
    "op.create_table('items', sa.Column('id', sa.Integer, primary_key=True))",
    "op.add_column('items', sa.Column('name', sa.Text))",
)


def before_the_fingerprints(tenancy: Tenancy, work: Callable[[], object]) -> None:
    """Do something in the middle of the next check, once."""

    to_do = [work]

    def hook(conn: object, cursor: object, statement: str, *rest: Any) -> None:
        if "hashtextextended" in statement and to_do:
            to_do.pop()()

    event.listen(tenancy.schemas.builder.database.admin_engine, "before_cursor_execute", hook)


def migrate_by_hand(database: FreshDatabase) -> None:
    database.ask(
        "ALTER TABLE org_acme.items ADD COLUMN name text; "
        "UPDATE org_acme.alembic_version SET version_num = 'data_0002'; "
        """UPDATE orgtenancy.organizations SET revisions = '{"data": "data_0002"}'"""
    )


def at_the_first_revision(tenancy: Tenancy, database: FreshDatabase) -> None:
    tenancy.install()
    tenancy.schemas.provision("acme")
    tenancy.schemas.fleet.migrate("data_0001", down=True)


@pytest.fixture
def reversible(make_module: MakeModule) -> Any:
    module = make_module("data", *TWO)
    file = module.migrations / "data_0002.py"
    file.write_text(
        file.read_text() + "\n\ndef downgrade():\n    op.drop_column('items', 'name')\n"
    )
    return module


def test_a_migration_that_commits_during_the_check_is_no_drift(
    bare_database: FreshDatabase, reversible: Any
) -> None:
    with bare_database.tenancy([reversible]) as tenancy:
        at_the_first_revision(tenancy, bare_database)
        before_the_fingerprints(tenancy, lambda: migrate_by_hand(bare_database))
        report = tenancy.schemas.drift()
        assert report.schemas == ()
        assert [finding.kind for finding in report.findings] == [FindingKind.CHANGED_MEANWHILE]
        assert report.is_clean
        assert tenancy.schemas.drift().findings == ()


def test_an_organization_that_is_dropped_during_the_check_is_not_missed(
    installed: Tenancy, bare_database: FreshDatabase
) -> None:
    installed.schemas.provision("acme")
    installed.schemas.provision("globex")
    before_the_fingerprints(
        installed, lambda: installed.schemas.drop("acme", confirm="acme", force=True)
    )
    report = installed.schemas.drift()
    assert report.is_clean
    assert [finding.kind for finding in report.findings] == [FindingKind.CHANGED_MEANWHILE]


def test_a_schema_that_was_migrated_since_the_plan_is_left_alone(
    bare_database: FreshDatabase, reversible: Any
) -> None:
    with bare_database.tenancy([reversible]) as tenancy:
        at_the_first_revision(tenancy, bare_database)
        bare_database.ask("ALTER TABLE org_acme.items ADD COLUMN mine text")
        plan = tenancy.schemas.repair_plan(tenancy.schemas.drift())
        tenancy.schemas.migrate()
        report = tenancy.schemas.repair(plan, destructive=True)
        assert "is at {data_0002}, not at {data_0001}" in report.failed["acme"]
        assert report.repaired == ()
        assert not report.is_clean
        columns = bare_database.ask(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'org_acme.items'::regclass "
            "AND attnum > 0 AND NOT attisdropped"
        )
        assert ("mine",) in columns


def test_a_repair_that_fails_leaves_its_schema_as_it_was_and_mends_the_others(
    installed: Tenancy, bare_database: FreshDatabase
) -> None:
    for name in ("acme", "globex"):
        installed.schemas.provision(name)
        bare_database.ask(
            f"DROP INDEX org_{name}.notes_body_idx; "
            f"ALTER TABLE org_{name}.notes ALTER COLUMN body DROP NOT NULL"
        )
    bare_database.ask("INSERT INTO org_acme.notes (id) VALUES (1)")
    report = installed.schemas.drift()
    repaired = installed.schemas.repair(installed.schemas.repair_plan(report))
    assert repaired.repaired == ("globex",)
    assert "contains null values" in repaired.failed["acme"]
    assert "SET NOT NULL" in repaired.failed["acme"]
    assert [len(drift.differences) for drift in repaired.drift.schemas] == [2]


def test_a_repair_does_not_wait_for_a_lock_for_ever(
    installed: Tenancy, bare_database: FreshDatabase
) -> None:
    installed.schemas.provision("acme")
    bare_database.ask("DROP INDEX org_acme.notes_body_idx")
    plan = installed.schemas.repair_plan(installed.schemas.drift(), lock_timeout=0.05)
    with psycopg.connect(dsn(bare_database.admin_url)) as other:
        # Without the limit, this ends the wait after a while.
        other.execute("SET idle_in_transaction_session_timeout = '20s'")
        other.execute("LOCK TABLE org_acme.notes IN ROW EXCLUSIVE MODE")
        report = installed.schemas.repair(plan)
    assert "lock timeout" in report.failed["acme"]
    assert installed.schemas.repair(plan).is_clean


def test_what_would_lose_data_is_done_only_when_asked_for(
    installed: Tenancy, bare_database: FreshDatabase
) -> None:
    installed.schemas.provision("acme")
    bare_database.ask(
        "ALTER TABLE org_acme.notes ADD COLUMN mine text; DROP INDEX org_acme.notes_body_idx"
    )
    plan = installed.schemas.repair_plan(installed.schemas.drift())
    report = installed.schemas.repair(plan)
    assert [step.difference.object_name for step in report.skipped["acme"]] == ["notes.mine"]
    assert [d.object_name for d in report.drift.schemas[0].differences] == ["notes.mine"]
    again = installed.schemas.repair(installed.schemas.repair_plan(report.drift), destructive=True)
    assert again.is_clean
    assert again.skipped == {}


def test_values_of_an_enum_may_hold_any_text(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    module = make_module(
        "data",
        r"""
        op.execute("CREATE TYPE kind AS ENUM ('first', 'a'', ''b', 'x', '{}%')")
    """,
    )
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        bare_database.ask("DROP TYPE org_acme.kind; CREATE TYPE org_acme.kind AS ENUM ('x')")
        report = tenancy.schemas.repair(tenancy.schemas.repair_plan(tenancy.schemas.drift()))
        assert (report.repaired, report.is_clean) == (("acme",), True)
