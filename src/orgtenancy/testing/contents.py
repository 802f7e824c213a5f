"""What is in schemas, told by fingerprints that cost little: the versions of the rows.

PostgreSQL never changes a row in place: what wrote a row left another `xmin` or `ctid`. So the
versions of the rows tell that something changed, without its being read; those of the
catalogs' rows tell the same of a definition. Vacuum and `ANALYZE` leave both alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from psycopg import sql
from sqlalchemy import Connection, text


class Kind(StrEnum):
    """What a relation is."""

    TABLE = "table"
    MATERIALIZED_VIEW = "materialized view"
    SEQUENCE = "sequence"


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, a materialized view or a sequence.

    Attributes:
        schema: Its schema.
        name: Its name.
        kind: Which of them it is.
        size: Bytes of a table or view: none where no row was ever written since it was made
            or truncated.
        last_value: A sequence's, or None if it was not used yet.
        has_triggers: Whether the host's own triggers would hear of a deletion.
    """

    schema: str
    name: str
    kind: Kind
    size: int
    last_value: int | None
    has_triggers: bool

    @property
    def identifier(self) -> sql.Identifier:
        """The qualified name."""
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a table.

    Attributes:
        count: How many there are.
        versions: A digest of their versions.
    """

    count: int
    versions: int


# By `pg_depend`, which has an index by schema; `pg_class` has none.
_RELATIONS = text("""
    SELECT n.nspname, c.relname,
        CASE c.relkind WHEN 'S' THEN 'sequence' WHEN 'm' THEN 'materialized view' ELSE 'table' END,
        CASE WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) ELSE 0 END,
        CASE WHEN c.relkind = 'S' THEN pg_sequence_last_value(c.oid) END,
        EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)
    FROM pg_namespace n
    JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
        AND d.classid = 'pg_class'::regclass
    JOIN pg_class c ON c.oid = d.objid
    WHERE n.nspname = ANY(:schemas) AND c.relkind IN ('r', 'm', 'S')
    ORDER BY n.nspname, c.oid
""")

# Without the schema's own row, which a claim renames: its rights are told by their value.
_DEFINITIONS = text("""
    SELECT n.nspname, (
        WITH objects AS MATERIALIZED (
            SELECT classid, objid AS oid FROM pg_depend
            WHERE refclassid = 'pg_namespace'::regclass AND refobjid = n.oid
        ), classes AS MATERIALIZED (
            SELECT oid FROM objects WHERE classid = 'pg_class'::regclass
        )
        SELECT count(*) || ':' || coalesce(sum(hashtextextended(version, 0)), 0)
        FROM (
            SELECT 'class ' || c.oid || ' ' || c.xmin AS version
                FROM classes JOIN pg_class c USING (oid)
            UNION ALL SELECT 'index ' || i.indexrelid || ' ' || i.xmin || ' ' || c.xmin
                FROM classes o JOIN pg_index i ON i.indrelid = o.oid
                JOIN pg_class c ON c.oid = i.indexrelid
            UNION ALL SELECT 'attribute ' || a.attrelid || ' ' || a.attnum || ' ' || a.xmin
                FROM classes o JOIN pg_attribute a ON a.attrelid = o.oid
            UNION ALL SELECT 'default ' || d.oid || ' ' || d.xmin
                FROM classes o JOIN pg_attrdef d ON d.adrelid = o.oid
            UNION ALL SELECT 'constraint ' || k.oid || ' ' || k.xmin
                FROM classes o JOIN pg_constraint k ON k.conrelid = o.oid
            UNION ALL SELECT 'trigger ' || t.oid || ' ' || t.xmin
                FROM classes o JOIN pg_trigger t ON t.tgrelid = o.oid
            UNION ALL SELECT 'policy ' || p.oid || ' ' || p.xmin
                FROM classes o JOIN pg_policy p ON p.polrelid = o.oid
            UNION ALL SELECT 'rule ' || r.oid || ' ' || r.xmin
                FROM classes o JOIN pg_rewrite r ON r.ev_class = o.oid
            UNION ALL SELECT 'type ' || t.oid || ' ' || t.xmin
                FROM objects JOIN pg_type t USING (oid) WHERE classid = 'pg_type'::regclass
            UNION ALL SELECT 'label ' || e.oid || ' ' || e.xmin
                FROM objects o JOIN pg_enum e ON e.enumtypid = o.oid
                WHERE classid = 'pg_type'::regclass
            UNION ALL SELECT 'function ' || p.oid || ' ' || p.xmin
                FROM objects JOIN pg_proc p USING (oid) WHERE classid = 'pg_proc'::regclass
            UNION ALL SELECT 'other ' || classid || ' ' || oid FROM objects
                WHERE classid NOT IN ('pg_class'::regclass, 'pg_type'::regclass,
                    'pg_proc'::regclass)
            UNION ALL SELECT 'rights ' || n.nspowner || ' ' || coalesce(n.nspacl::text, '')
        ) versions
    )
    FROM pg_namespace n WHERE n.nspname = ANY(:schemas)
""")

# Its members, and what it may do, in whichever way a version of PostgreSQL tells it.
_ROLE = text("""
    SELECT to_jsonb(r) - 'rolpassword' || jsonb_build_object('members', (
        SELECT jsonb_agg(m.member || ' ' || m.xmin ORDER BY m.member, m.xmin::text)
        FROM pg_auth_members m WHERE m.roleid = r.oid
    ))
    FROM pg_roles r WHERE r.rolname = :role
""")


def relations(connection: Connection, schemas: Sequence[str]) -> list[Relation]:
    """Return the tables, materialized views and sequences of some schemas, the oldest first.

    Args:
        connection: A connection of the owner, in a transaction.
        schemas: Their names; those that are not there are left out.
    """
    found = connection.execute(_RELATIONS, {"schemas": list(schemas)})
    return [Relation(schema, name, Kind(kind), *rest) for schema, name, kind, *rest in found]


def definitions(connection: Connection, schemas: Sequence[str]) -> dict[str, str]:
    """Return a digest of how each schema and what is in it is defined, by the schema's name.

    Args:
        connection: A connection of the owner, in a transaction.
        schemas: Their names; those that are not there are left out.
    """
    found = connection.execute(_DEFINITIONS, {"schemas": list(schemas)})
    return {row[0]: row[1] for row in found}


def role_definition(connection: Connection, role: str) -> object:
    """Return what a role is, and who may become it; None where there is none.

    Args:
        connection: A connection of the owner, in a transaction.
        role: Its name.
    """
    found: object = connection.scalar(_ROLE, {"role": role})
    return found


def rows(
    connection: Connection,
    tables: Sequence[Relation],
    filters: Sequence[sql.Composable | None] = (),
) -> list[Rows]:
    """Return the rows of some tables and materialized views, in the same order.

    Args:
        connection: A connection of the owner, in a transaction.
        tables: Which; one of no size may not be readable yet.
        filters: For each table a condition that its rows are to meet, or None; all are none
            if not given.
    """
    if not tables:
        return []
    conditions = filters or [None] * len(tables)
    union = sql.SQL(" UNION ALL ").join(
        sql.SQL(
            "SELECT {}, count(*), coalesce(sum(hashtextextended(ctid::text || '/' || xmin::text, "
            "0)), 0) FROM {}{}"
        ).format(
            sql.Literal(number),
            table.identifier,
            sql.SQL("") if condition is None else sql.SQL(" WHERE {}").format(condition),
        )
        for number, (table, condition) in enumerate(zip(tables, conditions, strict=True))
    )
    found = connection.exec_driver_sql(driver_text(union))
    return [Rows(count, int(versions)) for _, count, versions in sorted(map(tuple, found))]


def driver_text(statement: sql.Composable) -> str:
    """Return a statement as `exec_driver_sql` takes it, to which a `%` begins a parameter."""
    return statement.as_string(None).replace("%", "%%")
