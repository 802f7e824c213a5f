"""With the app's own login and raw SQL, PostgreSQL refuses every other organization."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql
from sqlalchemy import text

from orgtenancy import Organization, Tenancy

Attack = Callable[[psycopg.Connection[Any], str], object]


def qualified(connection: psycopg.Connection[Any], schema: str) -> object:
    query = sql.SQL("SELECT body FROM {}").format(sql.Identifier(schema, "notes"))
    return connection.execute(query).fetchall()


def by_search_path(connection: psycopg.Connection[Any], schema: str) -> object:
    connection.execute(sql.SQL("SET search_path TO {}").format(sql.Identifier(schema)))
    # A schema without USAGE is passed over: the name is not found at all.
    return connection.execute("SELECT body FROM notes").fetchall()


def by_copy(connection: psycopg.Connection[Any], schema: str) -> object:
    query = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(schema, "notes"))
    with connection.cursor().copy(query) as copy:
        return list(copy)


def by_copy_of_a_query(connection: psycopg.Connection[Any], schema: str) -> object:
    query = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT").format(sql.Identifier(schema, "notes"))
    with connection.cursor().copy(query) as copy:
        return list(copy)


def by_prepared_statement(connection: psycopg.Connection[Any], schema: str) -> object:
    query = sql.SQL("PREPARE peek AS SELECT body FROM {}").format(sql.Identifier(schema, "notes"))
    connection.execute(query)
    return connection.execute("EXECUTE peek").fetchall()


def by_protocol_prepared_statement(connection: psycopg.Connection[Any], schema: str) -> object:
    query = sql.SQL("SELECT body FROM {} WHERE id = %s").format(sql.Identifier(schema, "notes"))
    return connection.execute(query, (1,), prepare=True).fetchall()


def by_server_side_cursor(connection: psycopg.Connection[Any], schema: str) -> object:
    query = sql.SQL("SELECT body FROM {}").format(sql.Identifier(schema, "notes"))
    with connection.cursor("peek") as cursor:
        return cursor.execute(query).fetchall()


def by_anonymous_function(connection: psycopg.Connection[Any], schema: str) -> object:
    body = sql.SQL("BEGIN PERFORM body FROM {}; END").format(sql.Identifier(schema, "notes"))
    return connection.execute(
        sql.SQL("DO {}").format(sql.Literal(body.as_string(connection)))
    ).statusmessage


def by_query_to_xml(connection: psycopg.Connection[Any], schema: str) -> object:
    query = sql.SQL("SELECT body FROM {}").format(sql.Identifier(schema, "notes"))
    return connection.execute(
        "SELECT query_to_xml(%s, true, false, '')", (query.as_string(connection),)
    ).fetchall()


def by_write(connection: psycopg.Connection[Any], schema: str) -> object:
    query = sql.SQL("INSERT INTO {} VALUES (9, 'planted')").format(sql.Identifier(schema, "notes"))
    return connection.execute(query).statusmessage


def by_truncate(connection: psycopg.Connection[Any], schema: str) -> object:
    return connection.execute(
        sql.SQL("TRUNCATE {}").format(sql.Identifier(schema, "notes"))
    ).statusmessage


def by_foreign_key(connection: psycopg.Connection[Any], schema: str) -> object:
    query = sql.SQL("CREATE TABLE peek (id bigint REFERENCES {})").format(
        sql.Identifier(schema, "notes")
    )
    return connection.execute(query).statusmessage


def by_discovery(connection: psycopg.Connection[Any], schema: str) -> object:
    """Read every table that the catalog names in the schema, one way or the other."""
    tables = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r'",
        (sql.Identifier(schema).as_string(connection),),
    ).fetchall()
    assert len(tables) > 1
    for (table,) in tables:
        with pytest.raises(errors.InsufficientPrivilege), connection.transaction():
            connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, table)))
    return qualified(connection, schema)


DENIED: list[Attack] = [
    qualified,
    by_copy,
    by_copy_of_a_query,
    by_prepared_statement,
    by_protocol_prepared_statement,
    by_server_side_cursor,
    by_anonymous_function,
    by_query_to_xml,
    by_write,
    by_truncate,
    by_foreign_key,
    by_discovery,
]


@pytest.fixture
def victim_and_schema(
    tenancy: Tenancy, two_organizations: tuple[Organization, Organization]
) -> tuple[Organization, str]:
    attacker, victim = two_organizations
    with tenancy.session(victim) as session:
        session.execute(text("INSERT INTO notes VALUES (1, 'secret')"))
    return attacker, victim.schema_name


@pytest.fixture
def inside(
    tenancy: Tenancy, victim_and_schema: tuple[Organization, str]
) -> Iterator[psycopg.Connection[Any]]:
    """The driver's connection inside the attacker's organization."""
    attacker, _ = victim_and_schema
    with tenancy.organization(attacker), tenancy.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        yield driver
        driver.rollback()
        connection.invalidate()


@pytest.fixture
def outside(tenancy: Tenancy) -> Iterator[psycopg.Connection[Any]]:
    """A plain connection with the app's login, as somebody with its password has."""
    url = tenancy.engine.url
    options: dict[str, Any] = {
        **url.query,
        **url.translate_connect_args(username="user", database="dbname"),
    }
    with psycopg.connect(**options) as connection:
        yield connection
        connection.rollback()


@pytest.mark.parametrize("attack", DENIED, ids=lambda attack: attack.__name__)
def test_inside_one_organization_the_other_is_denied(
    inside: psycopg.Connection[Any], victim_and_schema: tuple[Organization, str], attack: Attack
) -> None:
    with pytest.raises(errors.InsufficientPrivilege, match="permission denied"):
        attack(inside, victim_and_schema[1])


def test_inside_one_organization_the_others_search_path_finds_nothing(
    inside: psycopg.Connection[Any], victim_and_schema: tuple[Organization, str]
) -> None:
    with pytest.raises(errors.UndefinedTable):
        by_search_path(inside, victim_and_schema[1])


def test_the_information_schema_names_no_table_of_the_other(
    inside: psycopg.Connection[Any], victim_and_schema: tuple[Organization, str]
) -> None:
    attacker, schema = victim_and_schema
    query = "SELECT count(*) FROM information_schema.tables WHERE table_schema = %s"
    (own,) = inside.execute(query, (attacker.schema_name,)).fetchone() or (0,)
    assert own > 0
    assert inside.execute(query, (schema,)).fetchone() == (0,)


def test_a_function_of_ones_own_schema_cannot_be_made(inside: psycopg.Connection[Any]) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        inside.execute("CREATE FUNCTION peek() RETURNS int LANGUAGE sql AS 'SELECT 1'")


def test_a_temporary_table_cannot_be_made(inside: psycopg.Connection[Any]) -> None:
    with pytest.raises(errors.InsufficientPrivilege, match="temporary"):
        inside.execute("CREATE TEMP TABLE notes (id int)")


def test_the_registry_cannot_be_read_from_an_organization(
    inside: psycopg.Connection[Any],
) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        inside.execute("SELECT * FROM orgtenancy.organizations")


@pytest.mark.parametrize(
    "attack", [a for a in DENIED if a is not by_foreign_key], ids=lambda attack: attack.__name__
)
def test_outside_any_organization_all_are_denied(
    outside: psycopg.Connection[Any],
    two_organizations: tuple[Organization, Organization],
    attack: Attack,
) -> None:
    for organization in two_organizations:
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied"):
            attack(outside, organization.schema_name)
        outside.rollback()


def test_outside_any_organization_the_registry_is_denied_too(
    outside: psycopg.Connection[Any],
) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        outside.execute("SELECT * FROM orgtenancy.organizations")


def test_the_login_owns_nothing_and_has_no_grant_of_its_own(
    tenancy: Tenancy, organization: Organization
) -> None:
    login = tenancy.engine.url.username
    with tenancy._database.admin_engine.connect() as connection:
        owned = connection.scalar(
            text(
                "SELECT count(*) FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass "
                "AND refobjid = CAST(:login AS regrole) AND deptype = 'o'"
            ),
            {"login": login},
        )
        inherits = connection.scalar(
            text("SELECT rolinherit FROM pg_roles WHERE rolname = :login"), {"login": login}
        )
        readable = connection.scalar(
            text(
                "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
                "WHERE relkind = 'r' AND starts_with(nspname, 'org') "
                "AND has_table_privilege(:login, c.oid, 'SELECT') "
                "AND has_schema_privilege(:login, n.oid, 'USAGE')"
            ),
            {"login": login},
        )
    assert (owned, inherits, readable) == (0, False, 0)


@pytest.mark.parametrize("escape", ["RESET ROLE", "SET ROLE NONE", "COMMIT", "ROLLBACK"])
def test_hostile_sql_that_leaves_its_role_gets_a_login_without_rights(
    inside: psycopg.Connection[Any], victim_and_schema: tuple[Organization, str], escape: str
) -> None:
    attacker, schema = victim_and_schema
    for target in (attacker.schema_name, schema):
        query = sql.SQL(escape + "; SELECT * FROM {}").format(sql.Identifier(target, "notes"))
        with pytest.raises(errors.InsufficientPrivilege, match="permission denied"):
            inside.execute(query)
        inside.rollback()


def test_hostile_sql_can_take_the_role_of_another_organization(
    inside: psycopg.Connection[Any],
    tenancy: Tenancy,
    victim_and_schema: tuple[Organization, str],
) -> None:
    """What the level `role` does not stop, as the threat model says."""
    victim = tenancy.schemas.get(victim_and_schema[1].removeprefix("org_"))
    inside.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(victim.role_name)))
    assert qualified(inside, victim.schema_name) == [("secret",)]


def test_a_table_in_public_is_never_a_fallback(
    tenancy: Tenancy, organization: Organization
) -> None:
    with tenancy._database.admin_engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE IF NOT EXISTS public.only_in_public (id int);"
            "GRANT SELECT ON public.only_in_public TO PUBLIC"
        )
    with (
        pytest.raises(Exception, match='relation "only_in_public" does not exist'),
        tenancy.session(organization) as session,
    ):
        session.execute(text("SELECT * FROM only_in_public"))
