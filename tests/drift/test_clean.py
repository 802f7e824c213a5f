"""Schemas that came about in different ways are the same, and a check says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from orgtenancy import OrganizationModule, Tenancy, embedded
from orgtenancy.community import community
from orgtenancy.schemas.drift import items
from tests.schemas.conftest import MakeModule
from tests.schemas.databases import FreshDatabase
from tests.support.notes import notes

SECRET = "not a secret: made for a test, 32 characters long"
ODD_IDS = ("A-b_C", "a-b_c", "0", "x" * 59)

FIRST = """
op.create_table('items', sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('old', sa.Text), sa.Column('kind', sa.Text, nullable=False))
op.create_index('items_kind', 'items', ['kind'])
op.execute("CREATE VIEW kinds AS SELECT DISTINCT kind FROM items")
"""
SECOND = """
op.execute("DROP VIEW kinds")
op.drop_column('items', 'old')
op.add_column('items', sa.Column('size', sa.Integer, nullable=False, server_default='1'))
op.create_index('items_size', 'items', ['size', 'kind'], postgresql_where=sa.text("size > 0"))
op.create_table('parts', sa.Column('id', sa.Integer, primary_key=True),
    sa.Column('item_id', sa.Integer, sa.ForeignKey('items.id', ondelete='CASCADE')))
op.execute("CREATE VIEW kinds AS SELECT DISTINCT kind FROM items WHERE size > 0")
"""
CONCURRENTLY = """
with op.get_context().autocommit_block():
    op.execute("CREATE INDEX CONCURRENTLY items_late ON items (kind, id)")
"""


def prints(tenancy: Tenancy) -> dict[str, str]:
    """Return the fingerprint of every organization."""
    found = tenancy.schemas.list().items
    with tenancy.schemas.builder.database.admin_engine.begin() as connection:
        items.prepare(connection)
        return items.fingerprints(
            connection, [o.schema_name for o in found], [o.role_name for o in found]
        )


@contextmanager
def statements(tenancy: Tenancy) -> Iterator[list[str]]:
    """Collect what is sent to the server as its owner."""
    sent: list[str] = []

    def note(conn: object, cursor: object, statement: str, *rest: Any) -> None:
        sent.append(statement)

    engine = tenancy.schemas.builder.database.admin_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


def older(module: OrganizationModule, *revisions: str) -> OrganizationModule:
    """Return a module as it was before some revisions."""
    for revision in revisions:
        (module.migrations / f"{revision}.py").rename(module.migrations / f"{revision}.later")
    return module


def restore(module: OrganizationModule) -> None:
    for file in module.migrations.glob("*.later"):
        file.rename(file.with_suffix(".py"))


def test_fresh_claimed_and_oddly_named_organizations_are_the_same(
    bare_database: FreshDatabase,
) -> None:
    with bare_database.tenancy([community, notes]) as tenancy:
        tenancy.install()
        tenancy.schemas.spares.fill(2)
        for organization_id in ODD_IDS:
            tenancy.schemas.provision(organization_id)
        tenancy.schemas.spares.fill(1)
        report = tenancy.schemas.drift()
        assert report.schemas == ()
        assert report.findings == ()
        assert report.checked == len(ODD_IDS) + 1
        assert report.is_clean
        assert len(prints(tenancy)) == len(ODD_IDS)
        assert len(set(prints(tenancy).values())) == 1


def test_a_migrated_schema_is_the_same_as_a_fresh_one_though_its_columns_have_another_order(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    module = older(make_module("data", FIRST, SECOND, CONCURRENTLY), "data_0002", "data_0003")
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("early")
        tenancy.schemas.spares.fill(2)
    restore(module)
    with bare_database.tenancy([module]) as tenancy:
        mixed = tenancy.schemas.drift()
        assert mixed.is_clean
        assert mixed.checked == 3
        tenancy.schemas.provision("late")
        assert len(set(prints(tenancy).values())) == 2
        assert tenancy.schemas.drift().is_clean
        tenancy.schemas.migrate()
        tenancy.schemas.provision("claimed")
        report = tenancy.schemas.drift()
        assert report.is_clean
        assert report.checked == 4
        assert len(set(prints(tenancy).values())) == 1
    order = bare_database.ask(
        "SELECT attrelid::regclass::text, attnum FROM pg_attribute "
        "WHERE attname = 'size' AND attrelid IN "
        "('org_early.items'::regclass, 'org_late.items'::regclass)"
    )
    assert len(order) == 2


def test_a_schema_at_an_older_revision_is_compared_with_that_revision(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    module = older(make_module("data", FIRST, SECOND), "data_0002")
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("early")
    restore(module)
    bare_database.ask("DROP INDEX org_early.items_kind")
    with bare_database.tenancy([module]) as tenancy:
        (drift,) = tenancy.schemas.drift().schemas
        assert drift.stamps == {"data_0001"}
        assert [str(d).partition(" (")[0] for d in drift.differences] == [
            "index items_kind: missing"
        ]
        report = tenancy.schemas.repair(tenancy.schemas.repair_plan(tenancy.schemas.drift()))
        assert report.repaired == ("early",)
        assert report.is_clean


def test_older_revisions_of_several_modules_are_compared_with_all_of_them(
    bare_database: FreshDatabase, make_module: MakeModule
) -> None:
    tags = "op.create_table('tags', sa.Column('id', sa.Integer, primary_key=True))"
    more = "op.add_column('tags', sa.Column('name', sa.Text))"
    modules = [
        older(make_module("data", FIRST, SECOND), "data_0002"),
        older(make_module("labels", tags, more), "labels_0002"),
    ]
    with bare_database.tenancy(modules) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("early")
    for module in modules:
        restore(module)
    with bare_database.tenancy(modules) as tenancy:
        assert tenancy.schemas.status().behind == 1
        assert tenancy.schemas.drift().is_clean
    bare_database.ask("ALTER TABLE org_early.tags ADD COLUMN odd text")
    with bare_database.tenancy(modules) as tenancy:
        (drift,) = tenancy.schemas.drift().schemas
        assert drift.stamps == {"data_0001", "labels_0001"}
        assert len(drift.differences) == 1


@pytest.mark.parametrize("level", ["login", "search_path"])
def test_without_shared_roles_the_fleet_is_clean_too_and_rights_are_compared(
    bare_database: FreshDatabase, level: str
) -> None:
    settings: dict[str, Any] = {"isolation": level}
    if level == "login":
        settings["login_secret"] = SECRET
    with bare_database.tenancy([notes], **settings) as tenancy:
        tenancy.install()
        tenancy.schemas.spares.fill(1)
        for organization_id in ("acme", "A-b_C"):
            tenancy.schemas.provision(organization_id)
        assert tenancy.schemas.drift().is_clean
        roles = bare_database.roles()
        grantee = bare_database.url.username
        if level == "login":
            grantee = tenancy.schemas.get("acme").role_name
        bare_database.ask(f'REVOKE DELETE ON org_acme.notes FROM "{grantee}"')
        (drift,) = tenancy.schemas.drift().schemas
        (difference,) = drift.differences
        assert difference.actual == "$role: INSERT, SELECT, UPDATE"
        plan = tenancy.schemas.repair_plan(tenancy.schemas.drift())
        assert tenancy.schemas.repair(plan).is_clean
        assert bare_database.roles() == roles


def test_a_tenancy_without_modules_is_clean(bare_database: FreshDatabase) -> None:
    with bare_database.tenancy([]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        assert tenancy.schemas.drift().is_clean


def test_the_reference_leaves_nothing_behind(bare_database: FreshDatabase) -> None:
    with bare_database.tenancy([notes]) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        bare_database.ask("DROP INDEX org_acme.notes_body_idx")
        everything = (
            "SELECT 'schema', nspname::text FROM pg_namespace WHERE nspname !~ '^pg_' "
            "UNION ALL SELECT 'role', rolname FROM pg_roles UNION ALL "
            "SELECT 'relation', oid::regclass::text FROM pg_class WHERE oid > 16384 "
            "UNION ALL SELECT 'registry', o::text FROM orgtenancy.organizations o "
            "UNION ALL SELECT 'spare', s::text FROM orgtenancy.spares s ORDER BY 1, 2"
        )
        before = bare_database.ask(everything)
        report = tenancy.schemas.drift()
        plan = tenancy.schemas.repair_plan(report)
        assert not plan.is_empty
        assert bare_database.ask(everything) == before


def test_one_statement_takes_the_fingerprints_of_any_number_of_schemas(
    installed: Tenancy,
) -> None:
    installed.schemas.provision("one")
    installed.schemas.drift()
    with statements(installed) as of_one:
        installed.schemas.drift()
    for number in range(5):
        installed.schemas.provision(f"more{number}")
    with statements(installed) as of_six:
        assert installed.schemas.drift().checked == 6
    assert sum("hashtextextended" in statement for statement in of_six) == 1
    assert len(of_six) == len(of_one)


def test_the_owner_need_not_be_a_superuser(
    bare_database: FreshDatabase, server: embedded.EmbeddedServer
) -> None:
    bare_database.ask("CREATE ROLE drift_owner LOGIN CREATEROLE PASSWORD 'pw'")
    try:
        bare_database.ask(f'ALTER DATABASE "{bare_database.name}" OWNER TO drift_owner')
        bare_database.ask(f'GRANT "{bare_database.url.username}" TO drift_owner WITH ADMIN OPTION')
        owner = bare_database.admin_url.set(username="drift_owner", password="pw")
        with bare_database.tenancy([community, notes], admin_url=owner) as tenancy:
            tenancy.install()
            tenancy.schemas.provision("acme")
            assert tenancy.schemas.drift().is_clean
            bare_database.ask("DROP INDEX org_acme.notes_body_idx")
            report = tenancy.schemas.drift()
            assert tenancy.schemas.repair(tenancy.schemas.repair_plan(report)).is_clean
            tenancy.schemas.drop("acme", confirm="acme", force=True)
    finally:
        bare_database.ask("REASSIGN OWNED BY drift_owner TO CURRENT_USER")
        bare_database.ask("DROP OWNED BY drift_owner CASCADE")
        bare_database.ask("DROP ROLE drift_owner")
