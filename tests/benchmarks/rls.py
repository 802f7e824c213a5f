"""The tables and roles that sqlalchemy-tenants works with.

It keeps all organizations in one set of tables and lets row-level security tell them
apart, by a `tenant` column and a role for each organization. Its own `create_tenant` makes
the roles one by one; the statements here are the same, sent in batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Column, MetaData, Text
from sqlalchemy.orm import registry

from orgtenancy import Organization
from orgtenancy.community import ActivityLog, UserProfile

LOGIN = "bench_rls"
SCHEMA = "rls"

_metadata = MetaData()


class TenantProfile:
    """`UserProfile` with the organization in a column."""

    bio: str


class TenantLog:
    """`ActivityLog` with the organization in a column."""

    def __init__(self, tenant: str, user_id: str, action: str) -> None:
        self.tenant, self.user_id, self.action = tenant, user_id, action


def _map() -> None:
    mapped = registry(metadata=_metadata)
    for model, original in ((TenantProfile, UserProfile), (TenantLog, ActivityLog)):
        table: Any = original.__table__
        copy = table.to_metadata(_metadata)
        copy.append_column(Column("tenant", Text, nullable=False))
        mapped.map_imperatively(
            model, copy, properties={"metadata_": copy.c.metadata}, eager_defaults=True
        )


_map()


def prepare(
    connection: psycopg.Connection[tuple[object, ...]],
    password: str,
    plain: Organization,
    organizations: Sequence[Organization],
) -> None:
    """Make the tables, the roles and the rows, unless they are there."""
    from sqlalchemy_tenants import core

    login, schema = sql.Identifier(LOGIN), sql.Identifier(SCHEMA)
    if connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", [SCHEMA]).fetchone() != (True,):
        parts: list[sql.Composable] = [
            sql.SQL("CREATE SCHEMA {}").format(schema),
            sql.SQL("CREATE ROLE {} LOGIN NOINHERIT PASSWORD {}").format(login, password),
            sql.SQL("ALTER ROLE {} SET search_path TO {}").format(login, schema),
            sql.SQL("SET LOCAL search_path TO {}").format(schema),
            sql.SQL(
                f"CREATE FUNCTION {core.GET_TENANT_FUNCTION_NAME}() RETURNS text LANGUAGE sql "
                "SECURITY INVOKER STABLE AS "
                f"$$SELECT replace(current_user, '{core.TENANT_ROLE_PREFIX}', '')$$"
            ),
        ]
        for table in _metadata.tables:
            parts += [
                sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL, tenant varchar NOT NULL)").format(
                    sql.Identifier(table), sql.Identifier(plain.schema_name, table)
                ),
                sql.SQL("ALTER TABLE {} ENABLE ROW LEVEL SECURITY").format(sql.Identifier(table)),
                sql.SQL(core.get_table_policy(table_name=table, column_type=str)),
            ]
        parts.append(
            sql.SQL(
                "INSERT INTO user_profiles (user_id, username, display_name, bio, tenant) "
                "SELECT user_id, username, display_name, bio, "
                "'b' || split_part(user_id, '-', 2) FROM {}"
            ).format(sql.Identifier(plain.schema_name, "user_profiles"))
        )
        _execute(connection, parts)
    for first in range(0, len(organizations), 50):
        _execute(
            connection,
            [
                sql.SQL(
                    "CREATE ROLE {0}; GRANT {0} TO {1}; GRANT USAGE ON SCHEMA {2} TO {0}; "
                    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {2} TO {0}"
                ).format(sql.Identifier(role), login, schema)
                for organization in organizations[first : first + 50]
                if not _exists(connection, role := f"{core.TENANT_ROLE_PREFIX}{organization.id}")
            ],
        )


def _execute(
    connection: psycopg.Connection[tuple[object, ...]], parts: Sequence[sql.Composable]
) -> None:
    connection.execute(sql.SQL("; ").join(parts))


def _exists(connection: psycopg.Connection[tuple[object, ...]], role: str) -> bool:
    found = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role])
    return found.fetchone() is not None
