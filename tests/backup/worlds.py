"""Organizations with rows, and whether two of them are the same."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql

from orgtenancy import Organization, Tenancy
from orgtenancy.operations.backup.encryption import Key
from orgtenancy.operations.backup.manifest import Manifest
from tests.schemas.databases import FreshDatabase, dsn

SECRET = "not a secret: made for a test, 32 characters long"
LEVELS: dict[str, dict[str, Any]] = {
    "role": {},
    "login": {"isolation": "login", "login_secret": SECRET},
    "search_path": {"isolation": "search_path"},
}


def new_id() -> str:
    return f"t{uuid4().hex[:12]}"


def with_notes(tenancy: Tenancy, database: FreshDatabase, number: int = 20) -> Organization:
    """Make an organization of the module `notes` with so many rows."""
    made = tenancy.schemas.provision(new_id(), name="Acme", attributes={"plan": "paid"})
    database.ask(
        f'INSERT INTO "{made.schema_name}".notes (id, body, parent_id) '
        "SELECT n, 'note ' || n, nullif(n - 1, 0) FROM generate_series(1, %s) n",
        number,
    )
    return made


def backup_of(tenancy: Tenancy, organization_id: str, key: Key | None = None) -> bytes:
    """Return a backup as its bytes."""
    stream = io.BytesIO()
    tenancy.backups.write(organization_id, stream, key=key)
    return stream.getvalue()


def restored(tenancy: Tenancy, backup: bytes, **options: Any) -> Organization:
    """Restore a backup under a new id."""
    return tenancy.backups.restore(io.BytesIO(backup), organization_id=new_id(), **options)


def manifest_of(tenancy: Tenancy, backup: bytes, key: Key | None = None) -> Manifest:
    return tenancy.backups.verify(io.BytesIO(backup), key=key)


def rows_in(database: FreshDatabase, schema: str, table: str) -> list[Any]:
    """Return the rows of a table as texts, generated columns included, in their order."""
    query = sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(schema, table))
    with psycopg.connect(dsn(database.admin_url)) as connection:
        path = sql.SQL("SET search_path TO {}").format(sql.Identifier(schema))
        connection.execute(path)
        return sorted(row[0] for row in connection.execute(query))


def state_of(database: FreshDatabase) -> tuple[Any, ...]:
    """Return what a refused restore must leave as it is: schemas, roles, and the registry."""
    registry = database.ask("SELECT o::text FROM orgtenancy.organizations o ORDER BY 1")
    return database.schemas(), database.roles(), registry


def insert(connection: psycopg.Connection[Any], table: str, rows: Iterable[dict[str, Any]]) -> None:
    """Insert rows whose values are the texts of them."""
    for row in rows:
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(map(sql.Literal, row.values())),
        )
        connection.execute(statement)
