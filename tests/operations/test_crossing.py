"""The isolation probe: it really tries, changes nothing, and finds what was opened."""

from __future__ import annotations

import pytest

from orgtenancy import Organization, Tenancy
from orgtenancy.errors import ConfigurationError
from orgtenancy.operations.doctor import Level, examine
from orgtenancy.operations.doctor.crossing import Place, throwaway_places, try_to_cross
from tests.schemas.databases import FreshDatabase

SECRET = "a secret of at least thirty-two characters"


def place(organization: Organization) -> Place:
    return Place(organization.schema_name, organization.role_name)


def cross(tenancy: Tenancy) -> list[str]:
    """Try to cross from organization a to b; what was not refused."""
    first, second = (place(tenancy.schemas.get(name)) for name in ("a", "b"))
    tried, crossed = try_to_cross(tenancy._database, first, second)
    assert tried > 30
    return crossed


def test_every_attempt_between_two_organizations_is_refused(installed: Tenancy) -> None:
    assert cross(installed) == []


# What is opened, and the attempts that must not be refused then.
HOLES = {
    "GRANT USAGE ON SCHEMA org_b TO {a}; GRANT SELECT ON org_b.notes TO {a}": [
        "notes read by its full name, as another organization (it worked)",
        "notes read by search_path, as another organization (it worked)",
    ],
    "GRANT USAGE ON SCHEMA org_b TO {login}; GRANT DELETE ON org_b.notes TO {login}": [
        "notes deleted from by its full name, outside of any organization (it worked)",
        "notes deleted from by search_path, outside of any organization (it worked)",
    ],
    # Refused for a reason of the table's, not of the rights: the way in is open.
    "GRANT USAGE ON SCHEMA org_b TO {a}; GRANT INSERT ON org_b.notes TO {a}": [
        "notes inserted into by its full name, as another organization (23502)",
        "notes inserted into by search_path, as another organization (23502)",
    ],
    "GRANT CREATE, USAGE ON SCHEMA org_b TO PUBLIC": [
        "a table in its schema, outside of any organization (it worked)",
        "a table in its schema, as another organization (it worked)",
    ],
    "GRANT TEMPORARY ON DATABASE {database} TO {a}": [
        "a temporary table, as another organization (it worked)",
    ],
}


@pytest.mark.parametrize("statements", HOLES)
def test_a_hole_is_found_and_nothing_is_changed_through_it(
    installed: Tenancy, database: FreshDatabase, statements: str
) -> None:
    database.ask("INSERT INTO org_b.notes (id, body) VALUES (1, 'ours')")
    role = installed.schemas.get("a").role_name
    names = {"a": role, "login": database.url.username, "database": database.name}
    for statement in statements.format(**names).split(";"):
        database.ask(statement)
    assert cross(installed) == HOLES[statements]
    assert database.ask("SELECT id, body FROM org_b.notes") == [(1, "ours")]
    assert database.ask("SELECT to_regclass('org_b.crossed')") == [(None,)]


def test_a_role_that_cannot_read_its_own_table_proves_nothing(
    installed: Tenancy, database: FreshDatabase
) -> None:
    role = installed.schemas.get("b").role_name
    database.ask(f"REVOKE USAGE ON SCHEMA org_b FROM {role}")
    with pytest.raises(ConfigurationError, match="cannot read its own table"):
        cross(installed)


def test_at_level_login_each_organization_is_tried_with_its_own_login(
    database: FreshDatabase,
) -> None:
    with database.tenancy(isolation="login", login_secret=SECRET) as tenancy:
        tenancy.install()
        a, b = (tenancy.schemas.provision(name) for name in "ab")
        assert cross(tenancy) == []
        [finding] = [f for f in examine(tenancy).findings if f.check == "isolation"]
        assert finding.level is Level.OK
        assert "hostile" not in finding.message
        database.ask(f"GRANT {b.role_name} TO {a.role_name}")
        report = examine(tenancy)
        assert "memberships of roles" in {f.check for f in report.of(Level.PROBLEM)}


def test_level_search_path_says_that_nothing_is_refused(database: FreshDatabase) -> None:
    with database.tenancy(isolation="search_path") as tenancy:
        tenancy.install()
        tenancy.schemas.provision("a")
        report = examine(tenancy)
    [finding] = [f for f in report.findings if f.check == "isolation"]
    assert finding.level is Level.WARNING
    assert "PostgreSQL refuses nothing" in finding.message
    assert report.is_healthy


def test_what_is_left_of_a_probe_that_was_killed_is_named_as_a_spare_is(
    installed: Tenancy, database: FreshDatabase
) -> None:
    with throwaway_places(installed.schemas) as places:
        schemas = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'orgtenancy\\_spare\\_%%'"
        assert {name for (name,) in database.ask(schemas)} == {p.schema for p in places}
        assert {p.role for p in places} <= database.roles()
        assert installed.schemas.spares.count().ready == 0
    assert database.ask(schemas) == []
    assert not {p.role for p in places} & database.roles()
