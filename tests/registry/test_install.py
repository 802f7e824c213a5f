"""Preparing a database: what it makes, what it refuses, and that it can run at any time."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors, sql
from sqlalchemy import URL

from orgtenancy import Tenancy
from orgtenancy.errors import ConfigurationError
from orgtenancy.naming import control_role_name
from tests.registry.worker import dialogue
from tests.schemas.databases import FreshDatabase, dsn

DENIED = errors.InsufficientPrivilege
PASSWORD = "a-login-of-a-test"


class Logins:
    """Makes logins on the server, and forgets them afterwards."""

    def __init__(self, database: FreshDatabase) -> None:
        self.database = database
        self.made: list[str] = []

    def execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(dsn(self.database.admin_url), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def make(self, options: str = "NOINHERIT") -> URL:
        name = f"login_{uuid4().hex[:12]}"
        self.execute(f"CREATE ROLE {{}} LOGIN {options} PASSWORD '{PASSWORD}'", name)
        self.made.append(name)
        return self.database.url.set(username=name, password=PASSWORD)

    def attribute(self, url: URL, column: str) -> object:
        ((value,),) = self.database.ask(
            f"SELECT {column} FROM pg_roles WHERE rolname = %s", url.username
        )
        return value

    def close(self) -> None:
        for name in self.made:
            self.execute("DROP OWNED BY {}", name)
            self.execute("DROP ROLE {}", name)


@pytest.fixture
def logins(bare_database: FreshDatabase) -> Iterator[Logins]:
    logins = Logins(bare_database)
    yield logins
    logins.close()


def contents(database: FreshDatabase) -> list[tuple[object, ...]]:
    """Return every relation, right and membership that an installation makes."""
    return [
        *database.ask(
            "SELECT c.oid, c.relname, c.relacl::text, n.nspname, n.nspacl::text FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'orgtenancy' ORDER BY 1"
        ),
        *database.ask(
            "SELECT r.oid, r.rolname, m.member::regrole::text FROM pg_roles r "
            "LEFT JOIN pg_auth_members m ON m.roleid = r.oid WHERE r.rolname = %s ORDER BY 1, 3",
            control_role_name(database.name),
        ),
        *database.ask("SELECT datacl::text FROM pg_database WHERE datname = current_database()"),
        *database.ask("SELECT nspacl::text FROM pg_namespace WHERE nspname = 'public'"),
    ]


def test_installing_again_changes_nothing(bare_database: FreshDatabase) -> None:
    with bare_database.tenancy() as tenancy:
        tenancy.install()
        before = contents(bare_database)
        organization = tenancy.schemas.provision("acme")
        tenancy.install()
        assert contents(bare_database) == before
        assert tenancy.schemas.get("acme") == organization


def test_the_registry_is_stamped_with_its_own_revision(bare_database: FreshDatabase) -> None:
    with bare_database.tenancy() as tenancy:
        tenancy.install()
    assert bare_database.ask("SELECT version_num FROM orgtenancy.alembic_version") == [
        ("registry_0005",)
    ]


def test_the_registrys_migrations_make_the_tables_that_the_code_uses(
    bare_database: FreshDatabase,
) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from orgtenancy.registry.tables import metadata

    with bare_database.tenancy() as tenancy:
        tenancy.install()
        with tenancy._database.admin_engine.connect() as connection:
            context = MigrationContext.configure(
                connection,
                opts={
                    "include_schemas": True,
                    "compare_type": True,
                    "compare_server_default": True,
                    "version_table_schema": "orgtenancy",
                    "include_name": lambda name, kind, parents: (
                        kind != "schema" or name == "orgtenancy"
                    ),
                },
            )
            assert compare_metadata(context, metadata) == []


@pytest.mark.slow
def test_processes_that_install_at_once_all_succeed(bare_database: FreshDatabase) -> None:
    urls = [
        u.render_as_string(hide_password=False)
        for u in (bare_database.url, bare_database.admin_url)
    ]
    with (
        dialogue("tests.registry.installing", *urls) as one,
        dialogue("tests.registry.installing", *urls) as two,
    ):
        processes = (one, two)
        assert [process.hear() for process in processes] == ["ready"] * 2
        for process in processes:
            process.say("go")
        assert [process.hear() for process in processes] == ["installed 8"] * 2
    with bare_database.tenancy() as tenancy:
        assert tenancy.schemas.provision("acme").is_active


def test_the_app_reads_the_registry_and_cannot_change_it(bare_database: FreshDatabase) -> None:
    with bare_database.tenancy() as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        with tenancy.control_session() as session:
            connection = session.connection()
            assert connection.exec_driver_sql("SELECT id FROM organizations").scalar() == "acme"
    for statement in (
        "UPDATE orgtenancy.organizations SET status = 'active'",
        "INSERT INTO orgtenancy.organizations (id) VALUES ('x')",
        "DELETE FROM orgtenancy.organizations",
        "TRUNCATE orgtenancy.organizations",
        "INSERT INTO orgtenancy.members VALUES ('acme', 'me', 'active', now())",
        "UPDATE orgtenancy.members SET status = 'active'",
        "DELETE FROM orgtenancy.actors",
        "SELECT * FROM orgtenancy.audit",
        "UPDATE orgtenancy.audit SET result = 'done'",
        "DELETE FROM orgtenancy.audit",
        "TRUNCATE orgtenancy.audit",
        "INSERT INTO orgtenancy.audit (action, origin, result, recorded_by) "
        "VALUES ('suspended', 'x', 'done', 'somebody')",
        "INSERT INTO orgtenancy.audit (action, origin, result, recorded_at) "
        "VALUES ('suspended', 'x', 'done', now())",
        "SELECT * FROM orgtenancy.inbox",
        "UPDATE orgtenancy.inbox SET status = 'done'",
        "DELETE FROM orgtenancy.inbox",
        "INSERT INTO orgtenancy.inbox (source, digest, event, subject, occurred_at, body, status)"
        " VALUES ('x', 'x', 'x', 'x', now(), '{}', 'done')",
        "SELECT orgtenancy.activate('x', '{}', NULL, 'x')",
        "SELECT * FROM orgtenancy.alembic_version",
        "CREATE TABLE orgtenancy.mine ()",
        "CREATE TABLE public.mine ()",
        "CREATE SCHEMA mine",
        "CREATE TEMPORARY TABLE mine ()",
        "CREATE ROLE mine",
    ):
        with psycopg.connect(dsn(bare_database.url)) as login:
            role = sql.Identifier(control_role_name(bare_database.name))
            login.execute(sql.SQL("SET ROLE {}").format(role))
            with pytest.raises(DENIED):
                login.execute(statement.encode())
        with psycopg.connect(dsn(bare_database.url)) as login, pytest.raises(DENIED):
            login.execute(statement.encode())
    with psycopg.connect(dsn(bare_database.url)) as login, pytest.raises(DENIED):
        login.execute("SELECT * FROM orgtenancy.organizations")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("SUPERUSER", "is a superuser"),
        ("CREATEROLE", "may create roles"),
        ("BYPASSRLS", "bypasses row security"),
        ("SUPERUSER CREATEROLE", "is a superuser and may create roles"),
    ],
)
def test_a_login_that_no_schema_could_hold_is_refused(
    bare_database: FreshDatabase, logins: Logins, options: str, reason: str
) -> None:
    tenancy = bare_database.tenancy(url=logins.make(options))
    with tenancy, pytest.raises(ConfigurationError, match=reason):
        tenancy.install()
    assert bare_database.ask("SELECT to_regnamespace('orgtenancy')") == [(None,)]


@pytest.mark.parametrize("options", ["NOINHERIT", "INHERIT"])
@pytest.mark.parametrize("granted", ["the owner", "pg_read_all_data", "pg_write_all_data"])
def test_a_login_that_can_become_one_who_reads_everything_is_refused(
    bare_database: FreshDatabase, logins: Logins, options: str, granted: str
) -> None:
    login = logins.make(options)
    role = str(bare_database.admin_url.username) if granted == "the owner" else granted
    logins.execute("GRANT {} TO {}", role, str(login.username))
    tenancy = bare_database.tenancy(url=login)
    with tenancy, pytest.raises(ConfigurationError, match=role):
        tenancy.install()
    assert bare_database.ask("SELECT to_regnamespace('orgtenancy')") == [(None,)]


def test_the_owner_itself_is_no_login_for_the_app(bare_database: FreshDatabase) -> None:
    tenancy = bare_database.tenancy(url=bare_database.admin_url)
    with tenancy, pytest.raises(ConfigurationError, match="is also the owner of the schemas"):
        tenancy.install()


def test_a_missing_login_is_refused_with_the_command_that_makes_it(
    bare_database: FreshDatabase, logins: Logins
) -> None:
    login = bare_database.url.set(username='who"ever', password="x")
    tenancy = bare_database.tenancy(url=login)
    with tenancy, pytest.raises(ConfigurationError) as caught:
        tenancy.install()
    command = 'CREATE ROLE "who""ever" LOGIN NOINHERIT PASSWORD \'...\''
    assert str(caught.value).endswith(command)
    with psycopg.connect(dsn(bare_database.admin_url)) as connection:
        connection.execute(command.encode())  # it is a command
        connection.rollback()


def test_a_url_without_a_user_or_an_owner_is_refused(bare_database: FreshDatabase) -> None:
    nobody = URL.create("postgresql+psycopg", host="127.0.0.1", port=1, database="x")
    without_user = Tenancy(nobody, admin_url=bare_database.admin_url)
    with without_user, pytest.raises(ConfigurationError, match="names no user"):
        without_user.install()
    without_owner = Tenancy(bare_database.url)
    with without_owner, pytest.raises(ConfigurationError, match="admin_url"):
        without_owner.install()


def test_a_login_that_inherits_stops_to(bare_database: FreshDatabase, logins: Logins) -> None:
    login = logins.make("INHERIT")
    assert logins.attribute(login, "rolinherit") is True
    with bare_database.tenancy(url=login) as tenancy:
        tenancy.install()
        tenancy.schemas.provision("acme")
        assert logins.attribute(login, "rolinherit") is False
        with tenancy.session("acme") as session:
            session.connection().exec_driver_sql("SELECT id FROM notes")
    with psycopg.connect(dsn(login)) as connection, pytest.raises(DENIED):
        connection.execute("SELECT id FROM org_acme.notes")


def test_a_login_installed_later_may_work_in_the_organizations_that_are_there(
    bare_database: FreshDatabase, logins: Logins
) -> None:
    with bare_database.tenancy() as first:
        first.install()
        ids = ["acme", "globex", "A", "a-b"]
        for organization_id in ids:
            first.schemas.provision(organization_id)
        with bare_database.tenancy(url=logins.make()) as second:
            second.install()
            second.install()
            for organization_id in ids:
                with second.session(organization_id) as session:
                    session.connection().exec_driver_sql("SELECT id FROM notes")
            with first.session("acme") as session:
                session.connection().exec_driver_sql("SELECT id FROM notes")


def test_a_broken_module_is_found_before_the_database_is_touched(
    bare_database: FreshDatabase, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from sqlalchemy import MetaData

    from orgtenancy import OrganizationModule

    empty = OrganizationModule(
        name="empty", metadata=MetaData(), migrations=tmp_path_factory.mktemp("empty")
    )
    tenancy = bare_database.tenancy([empty])
    with tenancy, pytest.raises(ConfigurationError, match="'empty'"):
        tenancy.install()
    assert bare_database.ask("SELECT to_regnamespace('orgtenancy')") == [(None,)]
