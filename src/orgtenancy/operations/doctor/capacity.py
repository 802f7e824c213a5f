"""Sizes: what so many organizations ask of one server, as it was measured."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from orgtenancy.operations.doctor.report import Finding, ok, problem, warning
from orgtenancy.schemas import SchemaManager
from orgtenancy.schemas.grants import server_version
from orgtenancy.settings import IsolationLevel

# A change to roles makes every backend expand the memberships of its login anew: with
# 10,000 of them that takes 280 ms on PostgreSQL 15, and 30 ms on 18.
_MEMBERSHIPS, _MEMBERSHIPS_FROM_18 = 3_000, 10_000
_RELATIONS = 350_000  # about 5,000 organizations of ten tables
_RELATIONS_TO_FSYNC = 50_000  # files that a crashed server opens one by one
_RELATION_MEMORY = 3_000  # bytes that a backend keeps of each relation it touched
_POOL_MEMORY = 2 << 30
# Measured with ten tables and 35 indexes, 68 relations: 127 locks to provision, 212 to drop.
_LOCKS_TO_PROVISION, _LOCKS_TO_DROP = 127 / 68, 212 / 68
_AT_ONCE = 8  # provisioning calls and workers at the same time
# With the tables and indexes in which PostgreSQL keeps long values.
_RELATIONS_PER_ORGANIZATION = text(
    "SELECT coalesce(max(found.number), 0) FROM ("
    "SELECT count(*) + 2 * count(nullif(c.reltoastrelid, 0)) AS number "
    "FROM (SELECT schema_name FROM orgtenancy.organizations LIMIT 20) sample "
    "JOIN pg_namespace n ON n.nspname = sample.schema_name "
    "JOIN pg_class c ON c.relnamespace = n.oid GROUP BY n.oid) found"
)


def check_memberships(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Count the roles that the app's login may take."""
    if schemas.builder.database.settings.isolation is not IsolationLevel.ROLE:
        return
    number = connection.scalar(
        text(
            "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member "
            "WHERE r.rolname = :login"
        ),
        {"login": schemas.builder.database.url.username},
    )
    limit = _MEMBERSHIPS_FROM_18 if server_version(connection) >= 18 else _MEMBERSHIPS
    if number > limit:
        yield warning(
            "memberships per login",
            f"{number}: after each change to roles, every backend looks through them all",
            "keep spares, so that roles are made in batches; or spread over servers",
        )
    else:
        yield ok("memberships per login", f"{number}, of {limit} before it is felt")


def check_relations(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Count the relations of the database."""
    number = _relations(connection)
    if number > _RELATIONS:
        yield warning(
            "relations",
            f"{number} in this database: pg_dump, vacuum and crash recovery become slow",
            "spread the organizations over several servers",
        )
    else:
        yield ok("relations", f"{number} in this database")


def check_memory(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Estimate what the catalog caches of the app's connections take."""
    settings = schemas.builder.database.settings
    organizations = connection.scalar(text("SELECT count(*) FROM orgtenancy.organizations"))
    served = min(int(organizations or 0), settings.organizations_per_connection)
    backend = served * _relations_per_organization(connection) * _RELATION_MEMORY
    connections = settings.pool_size + settings.max_overflow
    message = (
        f"about {_megabytes(backend)} of catalog caches in a backend that served {served} "
        f"organizations, {_megabytes(backend * connections)} in the {connections} of a process"
    )
    if backend * connections > _POOL_MEMORY:
        yield warning("memory", message, "lower organizations_per_connection or the pool's size")
    else:
        yield ok("memory", message)


def check_locks(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Compare the server's locks with what is needed at once."""
    per_transaction = _setting(connection, "max_locks_per_transaction")
    total = per_transaction * (
        _setting(connection, "max_connections") + _setting(connection, "max_prepared_transactions")
    )
    relations = _relations_per_organization(connection)
    needed = round(relations * max(_LOCKS_TO_PROVISION, _LOCKS_TO_DROP))
    tables = connection.scalar(text("SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p')"))
    remedy = "raise max_locks_per_transaction, and restart the server"
    message = f"room for {total}, one organization takes up to {needed} as it is made or dropped"
    if needed > total:
        yield problem("locks", message, remedy)
    elif needed * _AT_ONCE > total:
        yield warning("locks", f"{message}: {_AT_ONCE} at once are too many", remedy)
    elif tables > total:
        yield warning(
            "locks",
            f"room for {total}, and a pg_dump of the whole database takes {tables}",
            f"{remedy}; or dump organizations one by one",
        )
    else:
        yield ok("locks", message)


def check_connections(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Compare the server's connections with the size of the pools."""
    database = schemas.builder.database
    settings = database.settings
    if database.has_logins:
        pools, size = settings.login_pools, settings.login_pool_size
        in_use = pools * (size + settings.max_overflow)
    else:
        in_use = settings.pool_size + settings.max_overflow
    in_use += settings.listen
    limit = connection.scalar(
        text(
            "SELECT least(nullif(r.rolconnlimit, -1), nullif(d.datconnlimit, -1)) "
            "FROM pg_roles r, pg_database d "
            "WHERE r.rolname = :login AND d.datname = current_database()"
        ),
        {"login": database.url.username},
    )
    room = _setting(connection, "max_connections") - _setting(
        connection, "superuser_reserved_connections"
    )
    room = room if limit is None else min(room, int(limit))
    message = f"room for {room}, one process opens up to {in_use} in an engine, sync or async"
    remedy = "lower pool_size or max_overflow, raise max_connections, or use a pooler"
    if in_use > room:
        yield problem("connections", message, remedy)
    elif in_use * 2 > room:
        yield warning("connections", f"{message}: two are too many", remedy)
    else:
        yield ok("connections", f"{message}: {room // in_use} such engines fit")


def check_recovery(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Look how long the server would take to start after a crash."""
    method = connection.scalar(text("SHOW recovery_init_sync_method"))
    number = _relations(connection)
    if method == "fsync" and number > _RELATIONS_TO_FSYNC:
        yield warning(
            "crash recovery",
            f"recovery_init_sync_method is fsync: after a crash, {number} files are opened one "
            "by one before the server answers",
            "ALTER SYSTEM SET recovery_init_sync_method = 'syncfs' (on Linux)",
        )
    else:
        yield ok("crash recovery", f"recovery_init_sync_method is {method}, {number} relations")


def _relations(connection: Connection) -> int:
    return int(connection.scalar(text("SELECT count(*) FROM pg_class")) or 0)


def _relations_per_organization(connection: Connection) -> int:
    return int(connection.scalar(_RELATIONS_PER_ORGANIZATION) or 0)


def _setting(connection: Connection, name: str) -> int:
    return int(connection.scalar(text("SELECT current_setting(:name)"), {"name": name}) or 0)


def _megabytes(number: float) -> str:
    return f"{number / (1 << 20):.0f} MB"
