"""Provisioning: everything or nothing, once, whoever asks and however often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Inspector, inspect

from orgtenancy import Organization, OrganizationStatus, PageRequest, Tenancy
from orgtenancy.errors import (
    ConfigurationError,
    InvalidCursor,
    OrganizationNotFound,
    OrganizationUnavailable,
    ProvisioningFailed,
)
from orgtenancy.pagination import encode_cursor
from orgtenancy.registry import store
from orgtenancy.schemas import claiming
from orgtenancy.schemas.messages import fetch_value
from tests.registry.worker import dialogue
from tests.schemas.conftest import MakeModule
from tests.schemas.databases import FreshDatabase, all_organizations, assert_nothing_is_unknown

TABLE = "op.create_table('{0}', sa.Column('id', sa.Integer, primary_key=True))"


def change(tenancy: Tenancy, organization_id: str, *statuses: OrganizationStatus) -> None:
    with tenancy._database.admin_engine.begin() as connection:
        for status in statuses:
            assert store.change_status(connection, organization_id, status)


def as_role(tenancy: Tenancy, organization: Organization, statement: str) -> object:
    """Run a statement as the app does, inside the organization."""
    with tenancy.session(organization) as session:
        result = session.connection().exec_driver_sql(statement)
        return result.fetchall() if result.returns_rows else None


def shape(inspector: Inspector, table: str, schema: str | None) -> dict[str, Any]:
    """Return what the catalog says of a table, apart from its schema."""

    def named(things: Any) -> dict[str | None, Any]:
        return {
            t["name"]: {k: v for k, v in t.items() if k not in ("name", "referred_schema")}
            for t in things
        }

    def without_schema(column: Any) -> Any:
        if computed := column.get("computed"):
            text = computed["sqltext"].replace(f'"{schema}".', "").replace(f"{schema}.", "")
            column = {**column, "computed": {**computed, "sqltext": text}}
        return {**column, "type": str(column["type"])}

    columns = [without_schema(c) for c in inspector.get_columns(table, schema=schema)]
    return {
        "columns": named(columns),
        "key": inspector.get_pk_constraint(table, schema=schema)["constrained_columns"],
        "foreign keys": named(inspector.get_foreign_keys(table, schema=schema)),
        "indexes": named(inspector.get_indexes(table, schema=schema)),
        "unique": named(inspector.get_unique_constraints(table, schema=schema)),
        "checks": set(named(inspector.get_check_constraints(table, schema=schema))),
    }


def test_provisioning_makes_every_table_and_index_of_the_modules(
    tenancy: Tenancy, organization: Organization
) -> None:
    metadatas = [module.metadata for module in tenancy.schemas.revisions.modules]
    tables = {table.name for metadata in metadatas for table in metadata.tables.values()}
    assert tables
    reference = "reference_of_the_metadata"
    with tenancy._database.admin_engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {reference}")
        connection.exec_driver_sql(f"SET LOCAL search_path TO {reference}, pg_temp")
        for metadata in metadatas:
            metadata.create_all(connection)
        inspector = inspect(connection)
        schema = organization.schema_name
        assert set(inspector.get_table_names(schema)) == tables | {"alembic_version"}
        for table in sorted(tables):
            assert shape(inspector, table, schema) == shape(inspector, table, reference)
        connection.rollback()


def test_the_schema_is_stamped_and_the_registry_mirrors_it(
    tenancy: Tenancy, organization: Organization
) -> None:
    heads = tenancy.schemas.revisions.heads
    assert set(heads) == {module.name for module in tenancy.schemas.revisions.modules}
    assert organization.revisions == heads
    assert tenancy.schemas.get(organization.id).revisions == heads
    with tenancy._database.admin_engine.connect() as connection:
        stamped = connection.exec_driver_sql(
            f'SELECT version_num FROM "{organization.schema_name}".alembic_version'
        )
        assert set(stamped.scalars()) == set(heads.values())


def test_the_role_may_change_rows_and_nothing_else(
    tenancy: Tenancy, organization: Organization
) -> None:
    with tenancy._database.admin_engine.connect() as connection:
        rights = connection.exec_driver_sql(
            "SELECT c.relname, array_agg(a.privilege_type::text), bool_or(a.is_grantable) "
            "FROM pg_class c CROSS JOIN aclexplode(c.relacl) a "
            "WHERE c.relnamespace = %s::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') "
            "AND a.grantee = %s::regrole GROUP BY 1",
            (f'"{organization.schema_name}"', organization.role_name),
        ).all()
        on_schema = connection.exec_driver_sql(
            "SELECT a.privilege_type FROM pg_namespace n CROSS JOIN aclexplode(n.nspacl) a "
            "WHERE n.nspname = %s AND a.grantee = %s::regrole",
            (organization.schema_name, organization.role_name),
        ).scalars()
        assert set(on_schema) == {"USAGE"}
        others = connection.exec_driver_sql(
            "SELECT count(*) FROM pg_shdepend WHERE refobjid = %s::regrole AND deptype = 'o'",
            (organization.role_name,),
        ).scalar()
        assert others == 0  # it owns nothing
        attributes = connection.exec_driver_sql(
            "SELECT rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, "
            "rolbypassrls FROM pg_roles WHERE rolname = %s",
            (organization.role_name,),
        ).one()
        assert not any(attributes)
    given = {name: set(privileges) for name, privileges, _ in rights}
    assert given.pop("alembic_version") == {"SELECT"}
    assert given
    assert all(g == {"SELECT", "INSERT", "UPDATE", "DELETE"} for g in given.values())
    assert not any(grantable for _, _, grantable in rights)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE alembic_version SET version_num = 'x'",
        "INSERT INTO alembic_version VALUES ('x')",
        "DELETE FROM alembic_version",
        "TRUNCATE notes",
        "CREATE TABLE mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "CREATE VIEW mine AS SELECT 1",
        "CREATE SEQUENCE mine",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE mine AS ENUM ()",
        "CREATE SCHEMA mine",
        "CREATE TABLE public.mine ()",
        "CREATE ROLE mine",
        "CREATE INDEX mine ON notes (body)",
        "CREATE TRIGGER mine BEFORE UPDATE ON notes FOR EACH ROW "
        "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "ALTER TABLE notes ADD COLUMN mine int",
        "ALTER TABLE notes DISABLE TRIGGER ALL",
        "DROP TABLE notes",
        "GRANT SELECT ON notes TO PUBLIC",
    ],
)
def test_the_role_cannot_make_or_change_an_object(
    tenancy: Tenancy, organization: Organization, statement: str
) -> None:
    # A grant without the right to give it is a warning to PostgreSQL, and gives nothing.
    if statement.startswith("GRANT"):
        as_role(tenancy, organization, statement)
        with tenancy._database.admin_engine.connect() as connection:
            acl = connection.exec_driver_sql(
                "SELECT relacl::text FROM pg_class WHERE oid = %s::regclass",
                (f'"{organization.schema_name}".notes',),
            ).scalar()
        assert "{=" not in str(acl)
        assert ",=" not in str(acl)
        return
    with pytest.raises(Exception, match=r"InsufficientPrivilege|permission denied|must be owner"):
        as_role(tenancy, organization, statement)


def test_tables_of_later_migrations_are_granted_as_they_are_made(
    tenancy: Tenancy, organization: Organization
) -> None:
    with tenancy._database.admin_engine.begin() as connection:
        connection.exec_driver_sql(
            f'CREATE TABLE "{organization.schema_name}".later (id serial primary key, body text)'
        )
    as_role(tenancy, organization, "INSERT INTO later (body) VALUES ('x')")
    assert as_role(tenancy, organization, "SELECT id, body FROM later") == [(1, "x")]


def test_provisioning_again_gives_the_same_organization(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    first = installed.schemas.provision("acme", name="Acme", attributes={"plan": "free"})
    assert (first.name, first.attributes) == ("Acme", {"plan": "free"})
    as_role(installed, first, "INSERT INTO notes (id, body) VALUES (1, 'kept')")
    again = installed.schemas.provision("acme", name="Other", attributes={"plan": "paid"})
    assert again == first
    assert as_role(installed, first, "SELECT body FROM notes") == [("kept",)]
    assert asyncio.run(installed.schemas.provision_async("acme")) == first
    assert bare_database.roles() == {first.role_name}


def test_the_name_is_the_id_if_not_given(installed: Tenancy) -> None:
    organization = installed.schemas.provision("acme")
    assert (organization.name, organization.attributes) == ("acme", {})
    assert organization.status is OrganizationStatus.ACTIVE
    assert organization.created_at.tzinfo is not None


@pytest.mark.parametrize(
    "status",
    [OrganizationStatus.SUSPENDED, OrganizationStatus.FENCED, OrganizationStatus.ARCHIVED],
)
def test_provisioning_does_not_reopen_what_was_closed(
    installed: Tenancy, status: OrganizationStatus
) -> None:
    installed.schemas.provision("acme")
    change(installed, "acme", status)
    with pytest.raises(OrganizationUnavailable) as caught:
        installed.schemas.provision("acme")
    assert caught.value.status == status
    assert installed.schemas.get("acme").status is status


@pytest.mark.slow
def test_two_processes_of_eight_threads_make_one_organization(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    urls = [
        u.render_as_string(hide_password=False)
        for u in (bare_database.url, bare_database.admin_url)
    ]
    with (
        dialogue("tests.schemas.provisioning", *urls) as one,
        dialogue("tests.schemas.provisioning", *urls) as two,
    ):
        assert (one.hear(), two.hear()) == ("ready", "ready")
        for organization_id in ("acme", "globex", "initech"):
            one.say(organization_id)
            two.say(organization_id)
            answers = {*one.hear().split(), *two.hear().split()}
            organization = installed.schemas.get(organization_id)
            assert answers == {organization.role_name}
    assert bare_database.schemas() == {"org_acme", "org_globex", "org_initech"}
    assert bare_database.roles() == {o.role_name for o in all_organizations(installed)}
    assert len(bare_database.roles()) == 3


SQL_FAILS = "op.execute('SELECT 1/0')"
PYTHON_FAILS = "raise ValueError('the revision is broken')"
ONLINE_FAILS = "op.get_bind()\nraise ValueError('the revision is broken')"
DRIVER_FAILS = "op.get_bind().connection.cursor().execute('SELECT 1/0')"
ALEMBIC_FAILS = "from alembic.util import CommandError\nraise CommandError('no')"


@pytest.mark.parametrize(
    "failure",
    [SQL_FAILS, PYTHON_FAILS, ONLINE_FAILS, DRIVER_FAILS, ALEMBIC_FAILS],
    ids=["sql", "python", "online python", "driver", "alembic"],
)
def test_a_failing_migration_leaves_no_trace(
    bare_database: FreshDatabase, make_module: MakeModule, failure: str
) -> None:
    module = make_module("broken", TABLE.format("halves"), failure)
    with bare_database.tenancy([module]) as tenancy:
        tenancy.install()
        with pytest.raises(ProvisioningFailed) as caught:
            tenancy.schemas.provision("acme")
        error = caught.value
        assert (error.organization_id, error.schema, error.placement) == (
            "acme",
            "org_acme",
            "default",
        )
        assert error.__cause__ is not None
        assert bare_database.schemas() == set()
        assert bare_database.roles() == set()
        assert all_organizations(tenancy) == []
        with pytest.raises(OrganizationNotFound):
            tenancy.schemas.get("acme")
    with bare_database.tenancy() as repaired:
        assert repaired.schemas.provision("acme").is_active


def test_a_module_that_is_no_tree_leaves_no_trace_either(
    bare_database: FreshDatabase, installed: Tenancy, make_module: MakeModule
) -> None:
    module = make_module("mine", TABLE.format("things"), label="another")
    broken = bare_database.tenancy([module])
    with broken, pytest.raises(ConfigurationError, match="'mine'"):
        broken.schemas.provision("acme")
    assert all_organizations(installed) == []
    assert bare_database.schemas() == set()
    assert bare_database.roles() == set()


def test_a_schema_that_the_registry_does_not_know_is_not_touched(
    bare_database: FreshDatabase, installed: Tenancy
) -> None:
    bare_database.ask('CREATE SCHEMA "org_acme"')
    bare_database.ask('CREATE TABLE "org_acme".theirs AS SELECT 42 AS answer')
    with pytest.raises(ProvisioningFailed, match="org_acme"):
        installed.schemas.provision("acme")
    assert bare_database.ask('SELECT answer FROM "org_acme".theirs') == [(42,)]
    assert bare_database.ask(
        "SELECT relname FROM pg_class WHERE relnamespace = 'org_acme'::regnamespace"
    ) == [("theirs",)]
    assert bare_database.ask("SELECT nspacl FROM pg_namespace WHERE nspname = 'org_acme'") == [
        (None,)
    ]
    assert bare_database.roles() == set()
    assert all_organizations(installed) == []


def test_a_server_that_goes_away_on_the_way_leaves_what_the_next_call_completes(
    bare_database: FreshDatabase, installed: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = psycopg.Cursor.execute
    points = count()
    deadly: set[int] = set()

    def cut(backend: int) -> None:
        if next(points) in deadly:
            deadly.clear()
            bare_database.ask("SELECT pg_terminate_backend(%s, 5000)", backend)

    def execute(cursor: psycopg.Cursor[Any], *args: Any, **kwargs: Any) -> Any:
        cut(cursor.connection.info.backend_pid)
        return real(cursor, *args, **kwargs)

    def fetch(connection: Connection, statement: bytes) -> bytes:
        driver: Any = connection.connection.driver_connection
        cut(driver.info.backend_pid)
        return fetch_value(connection, statement)

    monkeypatch.setattr(psycopg.Cursor, "execute", execute)
    monkeypatch.setattr(claiming, "fetch_value", fetch)
    for n in range(20):
        points = count()
        deadly.add(n)
        try:
            installed.schemas.provision("acme")
        except Exception:  # noqa: BLE001 - whichever: what remains is what counts
            assert not deadly
        if deadly:
            break
        assert_nothing_is_unknown(bare_database, installed)
    deadly.clear()
    assert n > 1
    assert installed.schemas.get("acme").is_active


def test_list_pages_through_all_by_the_bytes_of_their_ids(installed: Tenancy) -> None:
    ids = ["b", "B", "a_c", "a-c", "ab", "0", "Z9", "z"]
    for organization_id in ids:
        installed.schemas.provision(organization_id)
    found: list[str] = []
    cursor = None
    for _ in range(10):
        page = installed.schemas.list(PageRequest(limit=3, cursor=cursor))
        found += [o.id for o in page.items]
        assert len(page.items) <= 3
        if (cursor := page.next_cursor) is None:
            break
    assert found == sorted(ids, key=str.encode)
    page = asyncio.run(installed.schemas.list_async(PageRequest(limit=len(ids))))
    assert [o.id for o in page.items] == found
    assert page.next_cursor is None


def test_list_filters_by_status(installed: Tenancy) -> None:
    for organization_id in ("a", "b", "c", "d"):
        installed.schemas.provision(organization_id)
    change(installed, "b", OrganizationStatus.SUSPENDED)
    change(installed, "d", OrganizationStatus.SUSPENDED)

    def ids(status: OrganizationStatus | None) -> list[str]:
        return [o.id for o in installed.schemas.list(status=status).items]

    assert ids(None) == ["a", "b", "c", "d"]
    assert ids(OrganizationStatus.SUSPENDED) == ["b", "d"]
    assert ids(OrganizationStatus.ACTIVE) == ["a", "c"]
    assert ids(OrganizationStatus.FENCED) == []
    page = installed.schemas.list(PageRequest(limit=1), status=OrganizationStatus.SUSPENDED)
    rest = installed.schemas.list(
        PageRequest(limit=1, cursor=page.next_cursor), status=OrganizationStatus.SUSPENDED
    )
    assert [o.id for o in (*page.items, *rest.items)] == ["b", "d"]
    assert rest.next_cursor is None


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "garbage",
        "W10",
        "é",
        encode_cursor("orgtenancy.organizations", [1]),
        encode_cursor("orgtenancy.organizations", [None]),
        encode_cursor("posts", ["a"]),
    ],
)
def test_list_refuses_a_cursor_that_it_did_not_make(installed: Tenancy, cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        installed.schemas.list(PageRequest(cursor=cursor))


def test_an_organization_without_modules_is_an_empty_schema(bare_database: FreshDatabase) -> None:
    with bare_database.tenancy([]) as tenancy:
        tenancy.install()
        organization = tenancy.schemas.provision("acme")
        assert organization.revisions == {}
        with tenancy.session("acme") as session:
            assert session.connection().exec_driver_sql("SELECT 1").scalar() == 1


def test_an_owner_that_is_no_superuser_can_install_provision_and_drop(
    bare_database: FreshDatabase,
) -> None:
    owner, name = f"owner_{bare_database.name}", bare_database.name
    bare_database.ask(f"CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD 'of-a-test'")
    bare_database.ask(f"ALTER DATABASE {name} OWNER TO {owner}")
    try:
        admin_url = bare_database.admin_url.set(username=owner, password="of-a-test")
        with bare_database.tenancy(admin_url=admin_url) as tenancy:
            tenancy.install()
            tenancy.install()
            organization = tenancy.schemas.provision("acme")
            as_role(tenancy, organization, "INSERT INTO notes (id, body) VALUES (1, 'x')")
            tenancy.schemas.drop("acme", confirm="acme", force=True)
            assert bare_database.schemas() == set()
            assert bare_database.roles() == set()
            assert tenancy.schemas.provision("acme").is_active
            tenancy.schemas.drop("acme", confirm="acme", force=True)
    finally:
        bare_database.ask(f"REASSIGN OWNED BY {owner} TO CURRENT_USER")
        bare_database.ask(f"DROP OWNED BY {owner}")
        bare_database.ask(f"DROP ROLE {owner}")
