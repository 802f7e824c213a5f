"""Roles and rights: who may do what in an organization's schema.

Every statement here is composed; a name is never formatted into SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import sql
from sqlalchemy import Connection, text

from orgtenancy.errors import ConfigurationError
from orgtenancy.naming import REGISTRY_SCHEMA
from orgtenancy.schemas.revisions.stamping import VERSION_TABLE

_name = sql.Identifier

# Predefined roles whose members read or write what no schema keeps from them.
_PREDEFINED = (
    "pg_read_all_data",
    "pg_write_all_data",
    "pg_execute_server_program",
    "pg_read_server_files",
    "pg_write_server_files",
)

# What the app may add, and neither read nor change.
_APPENDED = {
    "inbox": ("source", "digest", "event", "subject", "occurred_at", "body"),
    "audit": ("action", "organization_id", "actor_id", "origin", "result", "details"),
}


def execute(
    connection: Connection,
    statements: Iterable[sql.Composable],
    *,
    one_by_one: bool = False,
) -> None:
    """Send composed statements to the server, as one message unless it takes only one each."""
    send(connection, texts(statements), one_by_one=one_by_one)


def texts(statements: Iterable[sql.Composable]) -> list[str]:
    """Return composed statements as `send` takes them."""
    return [statement.as_bytes(None).decode() for statement in statements]


def send(connection: Connection, statements: Iterable[str], *, one_by_one: bool = False) -> None:
    """Send statements as they are, as `execute` does."""
    for message in statements if one_by_one else [";\n".join(statements)]:
        if message:
            # For this statement only: set on the connection, the option would stay there,
            # and double the percent signs of all that a revision runs on it.
            connection.exec_driver_sql(message, execution_options={"no_parameters": True})


def server_version(connection: Connection) -> int:
    """Return the server's major version, which the driver was told when it connected."""
    driver: Any = connection.connection.driver_connection
    return int(driver.info.server_version) // 10_000


def membership(role: str, login: str, version: int) -> sql.Composable:
    """Return the statement that lets a login take a role, and inherit nothing from it."""
    grant = sql.SQL("GRANT {} TO {}").format(_name(role), _name(login))
    # Before 16 inheritance is an attribute of the login, which is checked to be off.
    return grant + sql.SQL(" WITH INHERIT FALSE, SET TRUE") if version >= 16 else grant


def inherit(role: str, version: int) -> sql.Composable:
    """Return the statement that gives the owner itself the rights of a role."""
    grant = sql.SQL("GRANT {} TO CURRENT_USER").format(_name(role))
    return grant + sql.SQL(" WITH INHERIT TRUE") if version >= 16 else grant


def create_role(
    role: str, login: str, version: int, *, is_login: bool = False
) -> list[sql.Composable]:
    """Return the statements that make an organization's role.

    Args:
        role: Its name.
        login: The app's login, which may take it.
        version: The server's major version.
        is_login: Whether it can log in, without a password: a coordinator of Citus connects to
            its workers as the role that asks.
    """
    return [
        sql.SQL("CREATE ROLE {} {}").format(
            _name(role), sql.SQL("LOGIN" if is_login else "NOLOGIN")
        ),
        membership(role, login, version),
    ]


def create_login(connection: Connection, role: str, password: str) -> list[sql.Composable]:
    """Return the statements that make an organization's own login."""
    driver: Any = connection.connection.driver_connection
    # Encrypted here, so that the password itself is in no statement and no server log.
    verifier = driver.pgconn.encrypt_password(
        password.encode(), role.encode(), b"scram-sha-256"
    ).decode()
    return [
        sql.SQL("CREATE ROLE {} LOGIN NOINHERIT PASSWORD {}").format(
            _name(role), sql.Literal(verifier)
        )
    ]


def create_schema(schema: str, role: str) -> list[sql.Composable]:
    """Return the statements that make an empty schema which the role may use.

    The default privileges come before the tables, so that every table of every later
    migration is granted as it is made.
    """
    return [
        sql.SQL("CREATE SCHEMA {}").format(_name(schema)),
        sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(_name(schema), _name(role)),
        sql.SQL(
            "ALTER DEFAULT PRIVILEGES IN SCHEMA {} "
            "GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {}"
        ).format(_name(schema), _name(role)),
        sql.SQL(
            "ALTER DEFAULT PRIVILEGES IN SCHEMA {} GRANT USAGE, SELECT ON SEQUENCES TO {}"
        ).format(_name(schema), _name(role)),
    ]


def enter_schema(schema: str, extensions_schema: str | None) -> list[sql.Composable]:
    """Return the statement that makes a schema the owner's `search_path`."""
    names = [schema, *([extensions_schema] if extensions_schema else []), "pg_temp"]
    return [sql.SQL("SET LOCAL search_path TO {}").format(sql.SQL(", ").join(map(_name, names)))]


def protect_versions(schema: str, role: str) -> list[sql.Composable]:
    """Return the statement that keeps the migration stamps from the app."""
    return [
        sql.SQL("REVOKE INSERT, UPDATE, DELETE ON {} FROM {}").format(
            _name(schema, VERSION_TABLE), _name(role)
        )
    ]


def withdraw_schema(schema: str, role: str) -> list[sql.Composable]:
    """Return the statement that shuts the organization's role out of its schema."""
    return [sql.SQL("REVOKE USAGE ON SCHEMA {} FROM {}").format(_name(schema), _name(role))]


def return_schema(schema: str, role: str) -> list[sql.Composable]:
    """Return the statement that lets the organization's role into its schema again."""
    return [sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(_name(schema), _name(role))]


def check_login(connection: Connection, login: str) -> None:
    """Make sure that the app's login is one that the isolation can rest on.

    Raises:
        ConfigurationError: If it does not exist, is the owner itself, or has powers that
            reach past any schema.
    """
    row = connection.execute(
        text(
            "SELECT rolsuper, rolcreaterole, rolbypassrls, rolinherit, rolname = current_user "
            "AS is_owner FROM pg_roles WHERE rolname = :login"
        ),
        {"login": login},
    ).one_or_none()
    if row is None:
        statement = sql.SQL("CREATE ROLE {} LOGIN NOINHERIT PASSWORD '...'").format(_name(login))
        raise ConfigurationError(
            f"the app's login {login!r} does not exist; make it with: {statement.as_string(None)}"
        )
    powers = {
        "is a superuser": row.rolsuper,
        "may create roles": row.rolcreaterole,
        "bypasses row security": row.rolbypassrls,
        "is also the owner of the schemas": row.is_owner,
    }
    powers |= {f"may become {role!r}": True for role in dangerous_roles(connection, login)}
    if found := [power for power, has_it in powers.items() if has_it]:
        raise ConfigurationError(
            f"the app's login {login!r} {' and '.join(found)}: PostgreSQL could not keep it "
            "out of any organization"
        )
    if row.rolinherit:
        execute(connection, [sql.SQL("ALTER ROLE {} NOINHERIT").format(_name(login))])


def dangerous_roles(connection: Connection, login: str) -> Sequence[str]:
    """Return the roles that a login is a member of, and that reach past any schema.

    That it does not inherit from them is no help: it may still `SET ROLE`, and from
    PostgreSQL 16 on a membership given earlier inherits whatever the login's attribute says.
    """
    return connection.scalars(
        text(
            "SELECT rolname FROM pg_roles WHERE rolname <> :login "
            "AND pg_has_role(:login, oid, 'MEMBER') AND (rolsuper OR rolcreaterole "
            "OR rolbypassrls OR rolname = current_user OR rolname = ANY (:predefined)) "
            "ORDER BY rolname"
        ),
        {"login": login, "predefined": list(_PREDEFINED)},
    ).all()


def prepare_database(connection: Connection, database: str, login: str) -> None:
    """Close what PostgreSQL leaves open to everybody, and let the app's login in."""
    statements: list[sql.Composable] = [
        # A temporary table outlives its transaction, and could stand in for an
        # organization's own for whoever comes next on the connection.
        sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(_name(database)),
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(_name(database), _name(login)),
    ]
    if connection.scalar(text("SELECT to_regnamespace('public') IS NOT NULL")):
        statements.append(sql.SQL("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
    execute(connection, statements)


def prepare_control_role(
    connection: Connection, role: str | None, login: str, version: int
) -> None:
    """Let the app's login read the registry: in a role, or itself where there are none."""
    statements: list[sql.Composable] = []
    if role is not None:
        if not role_exists(connection, role):
            statements.append(sql.SQL("CREATE ROLE {} NOLOGIN").format(_name(role)))
        statements.append(membership(role, login, version))
    reader = _name(login if role is None else role)
    execute(
        connection,
        [
            *statements,
            sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(_name(REGISTRY_SCHEMA), reader),
            *(
                sql.SQL("GRANT SELECT ON {} TO {}").format(_name(REGISTRY_SCHEMA, table), reader)
                for table in ("organizations", "locations", "members", "actors")
            ),
            # Append-only for the app: when and by whom is written by the database.
            *(
                sql.SQL("GRANT INSERT ({}) ON {} TO {}").format(
                    sql.SQL(", ").join(map(_name, columns)), _name(REGISTRY_SCHEMA, table), reader
                )
                for table, columns in _APPENDED.items()
            ),
        ],
    )


def role_exists(connection: Connection, role: str) -> bool:
    """Return whether the server has a role of this name."""
    query = text("SELECT true FROM pg_roles WHERE rolname = :role")
    return bool(connection.scalar(query, {"role": role}))
