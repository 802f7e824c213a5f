"""Versions, encoding, registry and revisions."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version

import psycopg
from psycopg import pq
from sqlalchemy import Connection, text

from orgtenancy.operations.doctor.report import Finding, ok, problem, warning
from orgtenancy.schemas import SchemaManager
from orgtenancy.schemas.grants import server_version
from orgtenancy.schemas.installation import registry_heads

OLDEST_SERVER = 15
_TESTED_DRIVER = "3.3."
_INIT = "run `orgtenancy init`"


def check_libraries() -> Iterator[Finding]:
    """Tell the versions of what runs here."""
    names = ("orgtenancy", "psycopg", "sqlalchemy", "alembic", "pydantic")
    found = ", ".join(f"{name} {version(name)}" for name in names)
    libpq = pq.version()
    message = (
        f"Python {platform.python_version()}, {found}, libpq {libpq // 10_000}.{libpq % 10_000} "
        f"({pq.__impl__})"
    )
    if not psycopg.__version__.startswith(_TESTED_DRIVER):
        yield warning(
            "libraries",
            f"{message}: the request path was tested with psycopg {_TESTED_DRIVER}x only",
            f"install psycopg {_TESTED_DRIVER}x",
        )
    else:
        yield ok("libraries", message)


def check_version(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Look at the server's version."""
    shown, major = connection.scalar(text("SHOW server_version")), server_version(connection)
    if major < OLDEST_SERVER:
        yield problem(
            "server version",
            f"PostgreSQL {shown} is older than {OLDEST_SERVER}",
            f"use PostgreSQL {OLDEST_SERVER} or newer",
        )
    else:
        yield ok("server version", f"PostgreSQL {shown}")


def check_encoding(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Look at the database's encoding."""
    encoding = connection.scalar(text("SHOW server_encoding"))
    if encoding == "UTF8":
        yield ok("encoding", "UTF8")
    else:
        yield warning(
            "encoding",
            f"{encoding}: text outside of it is refused",
            "make the database with ENCODING 'UTF8'",
        )


def check_collation(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Compare the collation's version with the one that the indexes were made with."""
    name, made_with, now = connection.execute(
        text(
            "SELECT coalesce(datcollate, '?'), datcollversion, "
            "pg_database_collation_actual_version(oid) "
            "FROM pg_database WHERE datname = current_database()"
        )
    ).one()
    if made_with != now:
        yield warning(
            "collation",
            f"{name} is of version {now} now, and indexes were made with {made_with}: they may "
            "miss rows",
            "REINDEX the database, then ALTER DATABASE ... REFRESH COLLATION VERSION",
        )
    else:
        yield ok("collation", f"{name}" + (f", version {now}" if now else ""))


def check_extensions_schema(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Look whether the schema with extensions is there, where one is set."""
    name = schemas.builder.database.settings.extensions_schema
    if name is None:
        return
    found = connection.scalar(
        text("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = :name)"), {"name": name}
    )
    if found:
        yield ok("extensions", f"in the schema {name!r}")
    else:
        yield problem(
            "extensions",
            f"there is no schema {name!r}, which extensions_schema names",
            "CREATE SCHEMA, and install the extensions into it",
        )


def check_registry(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Look whether the registry is there, and at its newest revision."""
    if connection.scalar(text("SELECT to_regclass('orgtenancy.alembic_version') IS NULL")):
        yield problem("registry", "this database has no registry", _INIT)
        return
    stamps = set(connection.scalars(text("SELECT version_num FROM orgtenancy.alembic_version")))
    heads = set(registry_heads())
    if stamps == heads:
        yield ok("registry", f"at {', '.join(sorted(heads))}")
    else:
        yield problem(
            "registry",
            f"at {', '.join(sorted(stamps)) or 'nothing'}, and this release needs "
            f"{', '.join(sorted(heads))}",
            _INIT,
        )


def check_revisions(schemas: SchemaManager) -> Iterator[Finding]:
    """Look whether the organizations are at the newest revisions."""
    status = schemas.fleet.status()
    if status.behind:
        yield warning(
            "revisions",
            f"{status.behind} of {status.organizations} organizations are not at the heads"
            + (f", and {status.fenced} of those are fenced" if status.fenced else ""),
            "run `orgtenancy migrate up`"
            + (", and again after unfencing the others" if status.fenced else ""),
        )
    else:
        yield ok("revisions", f"{status.organizations} organizations are at the heads")
