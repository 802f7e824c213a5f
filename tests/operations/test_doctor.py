"""What the doctor finds in a database."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orgtenancy import Tenancy
from orgtenancy.operations.doctor import Finding, Level, Report, examine
from tests.schemas.databases import FreshDatabase

pytestmark = pytest.mark.slow

CHECKS = [
    "libraries",
    "server version",
    "encoding",
    "collation",
    "owner",
    "app's login",
    "open to everybody",
    "memberships per login",
    "relations",
    "connections",
    "crash recovery",
    "registry",
    "ownership",
    "grants",
    "memberships of roles",
    "rights by status",
    "purges",
    "memory",
    "locks",
    "pooler of the app",
    "listening",
    "pooler of the owner",
    "revisions",
    "isolation",
]


def found(report: Report, check: str) -> Finding:
    [finding] = [finding for finding in report.findings if finding.check == check]
    return finding


def problems(tenancy: Tenancy) -> list[Finding]:
    return list(examine(tenancy).of(Level.PROBLEM))


def test_a_healthy_database_has_no_finding_but_ok(
    installed: Tenancy, database: FreshDatabase
) -> None:
    schemas, roles = database.schemas(), database.roles()
    report = examine(installed)
    assert [finding.check for finding in report.findings] == CHECKS
    assert [finding for finding in report.findings if finding.level is not Level.OK] == []
    assert report.is_healthy
    assert (database.schemas(), database.roles()) == (schemas, roles), "it leaves nothing behind"
    spares = "SELECT 1 FROM pg_namespace WHERE nspname LIKE 'orgtenancy\\_spare%%'"
    assert database.ask(spares) == []


def test_a_database_without_registry_asks_for_init(database: FreshDatabase) -> None:
    with database.tenancy() as tenancy:
        report = examine(tenancy)
    assert found(report, "registry").remedy == "run `orgtenancy init`"
    assert not report.is_healthy
    assert "may create temporary tables" in found(report, "open to everybody").message


def test_a_registry_of_another_release_is_a_problem(
    installed: Tenancy, database: FreshDatabase
) -> None:
    database.ask("UPDATE orgtenancy.alembic_version SET version_num = 'registry_0001'")
    [finding] = problems(installed)
    assert finding.check == "registry"
    assert "at registry_0001, and this release needs registry" in finding.message


def test_organizations_that_are_behind_are_a_warning(
    installed: Tenancy, database: FreshDatabase
) -> None:
    database.ask("UPDATE orgtenancy.organizations SET revisions = '{}' WHERE id = 'a'")
    finding = found(examine(installed), "revisions")
    assert finding.level is Level.WARNING
    assert finding.message.startswith("1 of 2")


# Each opens a hole: the check that must find it, and what it says.
PLANTED = {
    "GRANT SELECT ON org_b.notes TO {role_of_a}": ("grants", "has SELECT on table org_b.notes"),
    "GRANT INSERT ON org_b.notes TO {login}": ("grants", "{login} has INSERT on table org_b.notes"),
    "GRANT UPDATE (body) ON org_b.notes TO PUBLIC": (
        "grants",
        "everybody has UPDATE on column org_b.notes.body",
    ),
    "GRANT USAGE ON SCHEMA org_b TO PUBLIC": ("grants", "everybody has USAGE on schema org_b"),
    "GRANT {role_of_b} TO {role_of_a}": ("memberships of roles", "may take those of others"),
    "GRANT CREATE ON SCHEMA public TO PUBLIC": ("open to everybody", "tables in the schema public"),
    "GRANT TEMPORARY ON DATABASE {database} TO PUBLIC": (
        "isolation",
        "a temporary table, outside of any organization (it worked)",
    ),
}


def test_every_planted_hole_is_found(installed: Tenancy, database: FreshDatabase) -> None:
    names = {
        "role_of_a": installed.schemas.get("a").role_name,
        "role_of_b": installed.schemas.get("b").role_name,
        "login": database.url.username,
        "database": database.name,
    }
    assert problems(installed) == []
    for statement in PLANTED:
        database.ask(statement.format(**names))
    found_problems = problems(installed)
    for statement, (check, message) in PLANTED.items():
        told = [one.message for one in found_problems if one.check == check]
        assert message.format(**names) in " ".join(told), statement


def test_rights_that_every_new_organization_would_have_are_found(
    installed: Tenancy, database: FreshDatabase
) -> None:
    database.ask("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")
    database.ask("ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO PUBLIC")
    [finding] = problems(installed)
    assert finding.check == "isolation"
    assert "read by its full name, outside of any organization (it worked)" in finding.message


LOGINS = {
    "SUPERUSER": "is a superuser",
    "CREATEROLE": "may create roles",
    "BYPASSRLS": "bypasses row security",
    "IN ROLE pg_read_all_data": "may become pg_read_all_data",
}


def test_a_login_with_powers_of_its_own_is_a_problem(
    installed: Tenancy, database: FreshDatabase, make_login: Callable[[str], str]
) -> None:
    for power, message in LOGINS.items():
        login = make_login(f"NOINHERIT {power}")
        with database.tenancy(url=database.url.set(username=login, password="secret")) as tenancy:
            told = [one.message for one in problems(tenancy) if one.check == "app's login"]
        assert message in " ".join(told), power


def test_a_login_that_inherits_the_roles_of_organizations_crosses(
    installed: Tenancy, database: FreshDatabase, make_login: Callable[[str], str]
) -> None:
    login = make_login("INHERIT")
    database.ask(f"GRANT {installed.schemas.get('a').role_name} TO {login}")
    with database.tenancy(url=database.url.set(username=login, password="secret")) as tenancy:
        told = [one.message for one in problems(tenancy) if one.check == "app's login"]
    assert "inherits the rights of" in " ".join(told)


def test_another_login_of_the_app_is_a_warning(
    installed: Tenancy, database: FreshDatabase, make_login: Callable[[str], str]
) -> None:
    login = make_login("NOINHERIT")
    database.ask(f"GRANT {installed.schemas.get('a').role_name} TO {login}")
    finding = found(examine(installed), "memberships of roles")
    assert finding.level is Level.WARNING
    assert login in finding.message


def test_an_owner_without_rights_is_a_problem(
    installed: Tenancy, database: FreshDatabase, make_login: Callable[[str], str]
) -> None:
    owner = make_login("INHERIT")
    database.ask(f"GRANT USAGE ON SCHEMA orgtenancy TO {owner}")
    database.ask(f"GRANT SELECT ON ALL TABLES IN SCHEMA orgtenancy TO {owner}")
    url = database.admin_url.set(username=owner, password="secret")
    with database.tenancy(admin_url=url) as tenancy:
        report = examine(tenancy)
    told = " ".join(finding.message for finding in report.of(Level.PROBLEM))
    assert "may not create roles" in told
    assert "may not create schemas" in told
    assert "has no ADMIN option" in told
    assert "belong to somebody else" in told
    assert found(report, "isolation").level is Level.UNKNOWN


def test_a_pool_that_is_larger_than_the_server_is_a_problem(
    installed: Tenancy, database: FreshDatabase
) -> None:
    with database.tenancy(pool_size=500) as tenancy:
        [finding] = problems(tenancy)
    assert finding.check == "connections"


def test_without_an_owner_nothing_is_known(database: FreshDatabase) -> None:
    with Tenancy(database.url) as tenancy:
        report = examine(tenancy)
    assert [finding.level for finding in report.findings] == [Level.OK, Level.UNKNOWN]


def test_a_schema_for_extensions_that_is_missing_is_a_problem(
    installed: Tenancy, database: FreshDatabase
) -> None:
    with database.tenancy(extensions_schema="extensions") as tenancy:
        assert "there is no schema 'extensions'" in problems(tenancy)[0].message
