"""An attempt to cross from one organization to another, which PostgreSQL has to refuse.

Two schemas are made as any organization's is, and dropped again. If that is cut short, a
check for drift finds them: they are named as spares are, and the registry has none of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row
from sqlalchemy import URL, Connection, text

from orgtenancy.database.engines import Database, connect_options
from orgtenancy.errors import ConfigurationError
from orgtenancy.naming import new_role_name, spare_schema_name
from orgtenancy.operations.doctor.report import Finding, listed, ok, problem, unknown, warning
from orgtenancy.schemas import SchemaManager
from orgtenancy.schemas import grants as statements
from orgtenancy.schemas.objects import final_drop_statements
from orgtenancy.settings import IsolationLevel

_CHECK = "isolation"
_TABLE = "orgtenancy_probe"
_REFUSED = "42501"  # insufficient_privilege
_NOT_FOUND = "42P01"  # undefined_table: a schema without USAGE is left out of the path
_LOCK_TIMEOUT = "5s"


@dataclass(frozen=True, slots=True)
class Place:
    """One of the two schemas.

    Attributes:
        schema: Its name.
        role: The role that may work in it.
    """

    schema: str
    role: str


@dataclass(frozen=True, slots=True)
class Standpoint:
    """From where a crossing is tried.

    Attributes:
        told: What people call it.
        url: The login.
        role: The role it takes, or None.
    """

    told: str
    url: URL
    role: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One statement that must be refused.

    Attributes:
        told: What people call it.
        statement: The statement.
        path: The `search_path` that it is sent in, or None for the one that is there.
    """

    told: str
    statement: sql.Composable
    path: str | None = None


def check_isolation(schemas: SchemaManager) -> Iterator[Finding]:
    """Try to cross between two schemas that are made for it."""
    database = schemas.builder.database
    if database.settings.isolation is IsolationLevel.SEARCH_PATH:
        yield warning(
            _CHECK,
            "level 'search_path': PostgreSQL refuses nothing, only the code keeps organizations "
            "apart",
            "use level 'role' where roles can be made",
        )
        return
    try:
        with throwaway_places(schemas) as (first, second):
            tried, crossed = try_to_cross(database, first, second)
    except (ConfigurationError, psycopg.OperationalError) as error:
        yield unknown(_CHECK, f"it could not be tried: {' '.join(str(error).split())}")
        return
    if crossed:
        yield problem(
            _CHECK,
            f"{len(crossed)} of {tried} attempts to cross were not refused: {listed(crossed)}",
            "look at what the other findings say of rights, and at default privileges",
        )
        return
    told = f"all {tried} attempts to cross were refused"
    if database.settings.isolation is IsolationLevel.ROLE:
        told += "; SQL that is hostile could still take another role, which level 'login' prevents"
    yield ok(_CHECK, told)


@contextmanager
def throwaway_places(schemas: SchemaManager) -> Iterator[tuple[Place, Place]]:
    """Make two schemas as any organization's is made, and drop them afterwards."""
    builder, database = schemas.builder, schemas.builder.database
    made: list[Place] = []
    try:
        for _ in range(2):
            role = new_role_name(str(database.url.database))
            place = Place(spare_schema_name(role), role)
            with database.admin_engine.begin() as connection:
                create_role = builder.create_role(connection, role)
                builder.build(connection, place.schema, role, create_role)
                # There may be no module, and then no table.
                statements.execute(
                    connection,
                    [
                        sql.SQL("CREATE TABLE {} (id integer)").format(
                            sql.Identifier(place.schema, _TABLE)
                        )
                    ],
                )
            made.append(place)
        yield made[0], made[1]
    finally:
        for place in made:
            with database.admin_engine.begin() as connection:
                statements.execute(
                    connection,
                    final_drop_statements(connection, place.schema, place.role),
                    one_by_one=database.has_citus,
                )


def try_to_cross(database: Database, first: Place, second: Place) -> tuple[int, list[str]]:
    """Try to reach the second schema from the first, and from no organization.

    Nothing is changed, whether it is refused or not: each attempt is rolled back.

    Args:
        database: The placement.
        first: From where.
        second: Where to.

    Returns:
        How many attempts were made, and those that were not refused.

    Raises:
        ConfigurationError: If not even the second schema's own role reaches it, so that a
            refusal would prove nothing.
        psycopg.OperationalError: If a login cannot connect.
    """
    with database.admin_engine.begin() as connection:
        attempts = _attempts(connection, second)
    own, *standpoints = _standpoints(database, first, second)
    _check_own_way(database, own, second)
    tried, crossed = 0, []
    for standpoint in standpoints:
        with _connect(database, standpoint.url) as connection_of_app:
            for attempt in attempts:
                tried += 1
                outcome = _try(connection_of_app, standpoint, attempt)
                if outcome not in (_REFUSED, _NOT_FOUND if attempt.path else _REFUSED):
                    crossed.append(f"{attempt.told}, {standpoint.told} ({outcome or 'it worked'})")
    return tried, crossed


def _standpoints(database: Database, first: Place, second: Place) -> list[Standpoint]:
    """Return the second schema's own standpoint, and then those it must be closed to."""
    outside = Standpoint("outside of any organization", database.url, None)
    if database.has_logins:
        own = Standpoint("as itself", database.role_url(second.role), None)
        other = Standpoint("as another organization", database.role_url(first.role), None)
    else:
        own = Standpoint("as itself", database.url, second.role)
        other = Standpoint("as another organization", database.url, first.role)
    return [own, outside, other]


def _attempts(connection: Connection, target: Place) -> list[Attempt]:
    columns = connection.execute(
        text(
            "SELECT c.relname, min(a.attname ORDER BY a.attnum) "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
            "WHERE n.nspname = :schema AND c.relkind IN ('r', 'p') GROUP BY c.relname ORDER BY 1"
        ),
        {"schema": target.schema},
    ).all()
    schema = sql.Identifier(target.schema)
    attempts = [
        Attempt(
            "a table in its schema", sql.SQL("CREATE TABLE {}.crossed (id integer)").format(schema)
        ),
        Attempt("a temporary table", sql.SQL("CREATE TEMPORARY TABLE crossed (id integer)")),
        Attempt("its schema dropped", sql.SQL("DROP SCHEMA {} CASCADE").format(schema)),
    ]
    for table, column in columns:
        qualified, bare = sql.Identifier(target.schema, table), sql.Identifier(table)
        attempts += _of_table(table, column, qualified, None)
        attempts += _of_table(table, column, bare, target.schema)
    return attempts


def _of_table(table: str, column: str, name: sql.Identifier, path: str | None) -> Sequence[Attempt]:
    how = "by search_path" if path else "by its full name"
    shapes = {
        "read": sql.SQL("SELECT FROM {} LIMIT 0").format(name),
        "inserted into": sql.SQL("INSERT INTO {} DEFAULT VALUES").format(name),
        "updated": sql.SQL("UPDATE {} SET {} = DEFAULT WHERE false").format(
            name, sql.Identifier(column)
        ),
        "deleted from": sql.SQL("DELETE FROM {} WHERE false").format(name),
        "truncated": sql.SQL("TRUNCATE {}").format(name),
        "dropped": sql.SQL("DROP TABLE {} CASCADE").format(name),
    }
    return [Attempt(f"{table} {told} {how}", shape, path) for told, shape in shapes.items()]


def _check_own_way(database: Database, own: Standpoint, place: Place) -> None:
    statement = sql.SQL("SELECT FROM {} LIMIT 0").format(
        sql.Identifier(_own_table(database, place))
    )
    with _connect(database, own.url) as connection:
        outcome = _try(connection, own, Attempt("read", statement, place.schema))
    if outcome is not None:
        raise ConfigurationError(f"an organization cannot read its own table: {outcome}")


def _own_table(database: Database, place: Place) -> str:
    with database.admin_engine.begin() as connection:
        found = connection.scalar(
            text(
                "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                "WHERE n.nspname = :schema AND c.relkind IN ('r', 'p') ORDER BY 1 LIMIT 1"
            ),
            {"schema": place.schema},
        )
    if found is None:
        raise ConfigurationError(f"the schema {place.schema} has no table to try it with")
    return str(found)


def _try(
    connection: psycopg.Connection[Any], standpoint: Standpoint, attempt: Attempt
) -> str | None:
    """Return with which SQLSTATE an attempt was refused, or None if it was not."""
    prelude = [sql.SQL("SET LOCAL lock_timeout TO {}").format(sql.Literal(_LOCK_TIMEOUT))]
    if standpoint.role is not None:
        prelude.append(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(standpoint.role)))
    if attempt.path is not None:
        path = sql.SQL("SET LOCAL search_path TO {}, pg_temp")
        prelude.append(path.format(sql.Identifier(attempt.path)))
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(sql.SQL("; ").join(prelude))
            connection.execute(attempt.statement.as_bytes(connection))
    except psycopg.OperationalError as error:
        if error.sqlstate is None or connection.closed:
            raise
        return error.sqlstate
    except psycopg.Error as error:
        return error.sqlstate or "?"
    return None


def _connect(database: Database, url: URL) -> psycopg.Connection[Any]:
    arguments = connect_options(url, connect_timeout=database.settings.connect_timeout)
    return psycopg.Connection.connect(
        **{**arguments, "autocommit": True, "prepare_threshold": None}, row_factory=tuple_row
    )
