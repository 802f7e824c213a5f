"""Preparing a database: the registry, and the rights of the app's login."""

from __future__ import annotations

from pathlib import Path

from psycopg import sql
from sqlalchemy import Connection, select, text, union_all
from sqlalchemy.dialects.postgresql import insert

from orgtenancy import registry
from orgtenancy.database.engines import Database
from orgtenancy.errors import ConfigurationError
from orgtenancy.naming import REGISTRY_SCHEMA
from orgtenancy.registry.tables import organizations, placements, spares
from orgtenancy.schemas import citus, grants
from orgtenancy.schemas.revisions import script_directory
from orgtenancy.schemas.revisions.online import upgrade
from orgtenancy.settings import IsolationLevel

# Transaction-level, so that a pooler in transaction mode serves it. The number is the
# text "orgtenancy" taken as a big-endian integer, cut to 63 bits.
_LOCK = int.from_bytes(b"orgtenan", "big") >> 1

_MIGRATIONS = Path(registry.__file__).parent / "migrations"


def install(database: Database) -> None:
    """Make or migrate the registry, and set the rights that the isolation rests on.

    May run at every start: what is in place is left alone.

    Raises:
        ConfigurationError: If there is no owner to do it, or the app's login is one that
            PostgreSQL could not keep out of an organization.
    """
    login = database.url.username
    if not login:
        raise ConfigurationError("the database URL names no user: the app needs its own login")
    with database.admin_engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        grants.check_login(connection, login)
        version = grants.server_version(connection)
        if database.has_citus:
            citus.keep_here(connection, REGISTRY_SCHEMA)
        grants.execute(
            connection,
            [
                sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(REGISTRY_SCHEMA)),
                *grants.enter_schema(REGISTRY_SCHEMA, None),
            ],
        )
        upgrade(connection, script_directory([_MIGRATIONS]))
        _take_name(connection, database.name)
        grants.prepare_database(connection, str(database.url.database), login)
        grants.prepare_control_role(connection, database.control_scope.role, login, version)
        if database.settings.isolation is IsolationLevel.ROLE:
            _grant_organizations(connection, login, version)


def _take_name(connection: Connection, name: str) -> None:
    """Note under which name the database is a placement.

    Raises:
        ConfigurationError: If it is one already, under another name.
    """
    given = insert(placements).values(name=name, is_self=True)
    connection.execute(given.on_conflict_do_nothing())
    known = connection.scalar(select(placements.c.name).where(placements.c.is_self))
    if known != name:
        raise ConfigurationError(
            f"the database of placement {name!r} is placement {known!r} already", placement=name
        )


def registry_heads() -> tuple[str, ...]:
    """Return the newest revisions of the registry itself."""
    return tuple(script_directory([_MIGRATIONS]).get_heads())


def _grant_organizations(connection: Connection, login: str, version: int) -> None:
    """Let a login that is new here take the roles of the organizations that are not."""
    known = union_all(select(organizations.c.role_name), select(spares.c.role_name)).subquery()
    missing = connection.scalars(
        select(known.c.role_name).where(
            text(
                "EXISTS (SELECT FROM pg_roles r WHERE r.rolname = role_name AND NOT EXISTS ("
                "SELECT FROM pg_auth_members m WHERE m.roleid = r.oid "
                "AND m.member = (SELECT oid FROM pg_roles WHERE rolname = :login)))"
            )
        ),
        {"login": login},
    ).all()
    if missing:
        grants.execute(connection, [grants.membership(role, login, version) for role in missing])
