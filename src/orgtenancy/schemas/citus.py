"""What is different on Citus, whose coordinator puts each organization's schema on a worker.

Sharding by schema is a matter of the transaction that makes a schema, so it is said there, whatever
the server's own setting is. Citus takes one statement per message where it is to tell the workers,
which callers see to with `Database.has_citus`.
"""

from __future__ import annotations

from psycopg import sql
from sqlalchemy import Connection, text

from orgtenancy.schemas import grants

_SETTING = sql.SQL("SET LOCAL citus.enable_schema_based_sharding TO {}")
_IS_DISTRIBUTED = text(
    "SELECT EXISTS (SELECT FROM pg_dist_schema WHERE schemaid = to_regnamespace(:schema))"
)


def distribute() -> sql.Composable:
    """Return the statement that lets the schemas of a transaction be put on workers."""
    return _SETTING.format(sql.SQL("on"))


def keep_here(connection: Connection, schema: str) -> None:
    """Keep a schema, which may be there already, and all that the transaction makes, here.

    Triggers are not allowed in a schema that is on a worker, and the registry has some.
    """
    grants.execute(connection, [_SETTING.format(sql.SQL("off"))])
    quoted = sql.Identifier(schema).as_string(None)
    if connection.scalar(_IS_DISTRIBUTED, {"schema": quoted}):
        connection.execute(text("SELECT citus_schema_undistribute(:schema)"), {"schema": quoted})
