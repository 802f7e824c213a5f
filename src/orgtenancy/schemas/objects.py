"""What a schema holds, in an order in which it can be dropped a little at a time.

`DROP ... CASCADE` locks everything that it takes along: the tables that refer to a table,
the views on it, the partitions of it. So what would be taken along goes first, by itself:
foreign keys, views from the newest to the oldest, partitions and heirs before their parents.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql
from sqlalchemy import Connection, text

from orgtenancy.schemas import grants

_OBJECTS = text(
    """
    WITH relations AS (
        SELECT c.oid, c.relname AS name, c.relkind::text AS kind, c.relispartition AS heir
        FROM pg_class c
        WHERE c.relnamespace = to_regnamespace(:schema)
            AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                AND d.objid = c.oid AND d.deptype = 'e')
    )
    SELECT kind, name, owner FROM (
        SELECT 1 AS step, k.oid, 'foreign key' AS kind, k.conname AS name, r.name AS owner
        FROM pg_constraint k JOIN relations r ON r.oid = k.conrelid
        WHERE k.contype = 'f' AND k.conparentid = 0 AND r.kind = 'r' AND NOT r.heir
      UNION ALL
        SELECT 2, oid, kind, name, NULL FROM relations WHERE kind IN ('v', 'm')
      UNION ALL
        SELECT CASE WHEN EXISTS (SELECT FROM pg_inherits WHERE inhparent = oid) THEN 4 ELSE 3 END,
            oid, kind, name, NULL
        FROM relations WHERE kind IN ('r', 'p', 'f')
      UNION ALL
        SELECT 5, oid, kind, name, NULL FROM relations WHERE kind = 'S'
      UNION ALL
        SELECT 6, p.oid, 'routine', p.oid::regprocedure::text, NULL
        FROM pg_proc p
        WHERE p.pronamespace = to_regnamespace(:schema) AND p.prokind IN ('f', 'p', 'w')
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
                AND d.objid = p.oid AND d.deptype IN ('e', 'i'))
      UNION ALL
        SELECT 7, t.oid, 'type', t.typname, NULL
        FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
        WHERE t.typnamespace = to_regnamespace(:schema)
            AND (t.typtype IN ('d', 'e') OR c.relkind = 'c')
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass
                AND d.objid = t.oid AND d.deptype = 'e')
    ) AS objects
    ORDER BY step, oid DESC
    LIMIT :limit
    """
)
_WORDS = {
    "r": sql.SQL("TABLE"),
    "p": sql.SQL("TABLE"),
    "v": sql.SQL("VIEW"),
    "m": sql.SQL("MATERIALIZED VIEW"),
    "f": sql.SQL("FOREIGN TABLE"),
    "S": sql.SQL("SEQUENCE"),
    "type": sql.SQL("TYPE"),
}


def drop_statements(connection: Connection, schema: str, limit: int) -> list[sql.Composable]:
    """Return the statements that drop the next objects of a schema.

    Args:
        connection: A connection of the schemas' owner.
        schema: The schema; it need not exist.
        limit: How many objects at the most.

    Returns:
        No statement when what is left, if anything, can go with the schema itself.
    """
    quoted = sql.Identifier(schema).as_string(None)
    rows = connection.execute(_OBJECTS, {"schema": quoted, "limit": limit}).all()
    return [_drop_statement(schema, row) for row in rows]


def final_drop_statements(connection: Connection, schema: str, role: str) -> list[sql.Composable]:
    """Return the statements that drop what is left of a schema, and its role."""
    statements: list[sql.Composable] = [
        sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema))
    ]
    if grants.role_exists(connection, role):
        # An owner that is no superuser needs the role's rights to take them away.
        version = grants.server_version(connection)
        statements.append(grants.inherit(role, version))
        statements.append(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
        statements.append(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
    return statements


def _drop_statement(schema: str, row: Sequence[str]) -> sql.Composable:
    kind, name, owner = row
    if kind == "foreign key":
        return sql.SQL("ALTER TABLE IF EXISTS {} DROP CONSTRAINT IF EXISTS {} CASCADE").format(
            sql.Identifier(schema, owner), sql.Identifier(name)
        )
    if kind == "routine":
        # The server wrote and quoted this signature.
        return sql.SQL("DROP ROUTINE IF EXISTS {} CASCADE").format(sql.SQL(name))
    return sql.SQL("DROP {} IF EXISTS {} CASCADE").format(
        _WORDS[kind], sql.Identifier(schema, name)
    )
