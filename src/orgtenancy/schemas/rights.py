"""Opening and shutting a schema: whether an organization's role may use it.

One right decides: `USAGE` on the schema. It is one row of one catalog, withdrawn and given
back in a fraction of a millisecond, and touches no membership, which would cost every
backend of the server. What is granted on the tables stays as it is, for the way back.
"""

from __future__ import annotations

from psycopg import sql
from sqlalchemy import Connection, text

from orgtenancy.database.engines import Database
from orgtenancy.organizations import Organization
from orgtenancy.schemas import grants
from orgtenancy.settings import IsolationLevel

_SCHEMA_EXISTS = text("SELECT to_regnamespace(:schema) IS NOT NULL")


def grantee_of(database: Database, role: str) -> str:
    """Return who has the rights in a schema: its role, or the app's login without roles."""
    without_roles = database.settings.isolation is IsolationLevel.SEARCH_PATH
    return str(database.url.username) if without_roles else role


def set_rights(
    connection: Connection, database: Database, organization: Organization, *, is_open: bool
) -> None:
    """Let an organization's role into its schema, or shut it out, in the caller's transaction.

    The organization's row must be locked: PostgreSQL refuses two changes of the rights in one
    schema at once, instead of letting one wait.
    """
    schema, grantee = organization.schema_name, grantee_of(database, organization.role_name)
    quoted = sql.Identifier(schema).as_string(None)
    if not connection.scalar(_SCHEMA_EXISTS, {"schema": quoted}):
        return
    if grants.role_exists(connection, grantee):
        change = grants.return_schema if is_open else grants.withdraw_schema
        grants.execute(connection, change(schema, grantee))
