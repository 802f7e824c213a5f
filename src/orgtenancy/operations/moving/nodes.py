"""Moving an organization to another node of the Citus cluster that it is on.

Citus does it: it copies the tables while they are written to, lets writers wait at the end, and
takes away what it had begun if it is killed. The registry has nothing to say of nodes.
"""

from __future__ import annotations

from psycopg import sql
from sqlalchemy import text

from orgtenancy.database.engines import Database
from orgtenancy.errors import MoveFailed
from orgtenancy.organizations import Organization
from orgtenancy.registry import audit

#: What a target starts with that is no placement, but a node: `@host:port`.
NODE = "@"

_NODE_OF = text("""
    SELECT DISTINCT s.nodename || ':' || s.nodeport
    FROM pg_dist_schema d
    JOIN pg_class c ON c.relnamespace = d.schemaid
    JOIN citus_shards s ON s.table_name = c.oid
    WHERE d.schemaid = to_regnamespace(:schema)
""")
_IS_NODE = text(
    "SELECT EXISTS (SELECT FROM pg_dist_node WHERE nodename = :host AND nodeport = :port "
    "AND noderole = 'primary' AND isactive)"
)
_MOVE = text("SELECT citus_schema_move(CAST(:schema AS regnamespace), :host, :port)")


def move_to_node(database: Database, organization: Organization, target: str) -> bool:
    """Move an organization to a node, and return whether it was on another.

    Args:
        database: The placement, a coordinator of Citus.
        organization: Which organization.
        target: `@host:port`, as the cluster knows the node.

    Raises:
        MoveFailed: If the placement is no Citus, or has no such node.
        sqlalchemy.exc.DBAPIError: What Citus says, for instance of a table without a primary
            key, which it cannot copy while it is written to.
    """
    host, _, port = target.removeprefix(NODE).rpartition(":")
    if not database.has_citus:
        raise _failed(organization, f"placement {database.name!r} is no Citus cluster")
    given = {"host": host, "port": int(port) if port.isdecimal() else 0}
    schema = {"schema": sql.Identifier(organization.schema_name).as_string(None)}
    with database.admin_engine.connect() as connection:
        with connection.begin():
            if not connection.scalar(_IS_NODE, given):
                raise _failed(organization, f"the cluster has no node {host}:{port}")
            before = connection.scalar(_NODE_OF, schema)
        if before is None or before == f"{host}:{port}":
            return False
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(_MOVE, schema | given)
    with database.admin_engine.begin() as connection:
        details = {"from": f"{NODE}{before}", "to": target}
        audit.record(connection, "moved", organization.id, details=details)
    return True


def _failed(organization: Organization, reason: str) -> MoveFailed:
    return MoveFailed(
        f"organization {organization.id!r} was not moved: {reason}",
        organization_id=organization.id,
        placement=organization.placement,
    )
