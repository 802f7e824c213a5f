"""Who has been given rights in the organizations' schemas: one query over all of them."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from orgtenancy.operations.doctor.report import Finding, listed, ok, problem, warning
from orgtenancy.schemas import SchemaManager
from orgtenancy.settings import IsolationLevel

_KNOWN = """
    SELECT id, schema_name, role_name FROM orgtenancy.organizations
    UNION ALL SELECT NULL, schema_name, role_name FROM orgtenancy.spares
"""
# Everything that was granted to anybody but its owner and the schema's own role.
_FOREIGN_GRANTS = text(
    f"""
    WITH places AS (
        SELECT n.oid, n.nspname, n.nspowner, n.nspacl, r.oid AS role
        FROM ({_KNOWN}) known JOIN pg_namespace n ON n.nspname = known.schema_name
        LEFT JOIN pg_roles r ON r.rolname = known.role_name
    ), granted AS (
        SELECT p.oid, p.role, p.nspowner AS owner, 'schema' AS kind, '' AS name, p.nspacl AS acl
        FROM places p WHERE p.nspacl IS NOT NULL
      UNION ALL
        SELECT p.oid, p.role, c.relowner, CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END,
            c.relname, c.relacl
        FROM places p JOIN pg_class c ON c.relnamespace = p.oid WHERE c.relacl IS NOT NULL
      UNION ALL
        SELECT p.oid, p.role, c.relowner, 'column', c.relname || '.' || a.attname, a.attacl
        FROM places p JOIN pg_class c ON c.relnamespace = p.oid
        JOIN pg_attribute a ON a.attrelid = c.oid WHERE a.attacl IS NOT NULL
    )
    SELECT n.nspname AS schema, g.kind, g.name,
        coalesce(r.rolname, 'everybody') AS grantee,
        string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type) AS privileges
    FROM granted g CROSS JOIN LATERAL aclexplode(g.acl) a
    JOIN pg_namespace n ON n.oid = g.oid
    LEFT JOIN pg_roles r ON r.oid = a.grantee
    WHERE a.grantee <> g.owner AND a.grantee IS DISTINCT FROM g.role
        AND NOT (:without_roles AND r.rolname IS NOT DISTINCT FROM :login)
    GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
    """  # noqa: S608 - made of constants
)
# Who may take an organization's role, other than its login and those that administer it.
_FOREIGN_MEMBERS = text(
    f"""
    SELECT r.rolname AS role, m.rolname AS member,
        EXISTS (SELECT FROM ({_KNOWN}) other WHERE other.role_name = m.rolname) AS is_organization
    FROM ({_KNOWN}) known JOIN pg_roles r ON r.rolname = known.role_name
    JOIN pg_auth_members a ON a.roleid = r.oid JOIN pg_roles m ON m.oid = a.member
    WHERE NOT m.rolsuper AND m.rolname <> current_user
        AND (m.rolname <> :login OR :has_logins)
    ORDER BY 1, 2
    """  # noqa: S608 - made of constants
)


def check_grants(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Look for rights that were given to anybody but an organization's own role."""
    database = schemas.builder.database
    without_roles = database.settings.isolation is IsolationLevel.SEARCH_PATH
    rows = connection.execute(
        _FOREIGN_GRANTS, {"login": database.url.username, "without_roles": without_roles}
    ).all()
    for row in rows:
        name = ".".join(filter(None, [row.schema, row.name]))
        yield problem(
            "grants",
            f"{row.grantee} has {row.privileges} on {row.kind} {name}",
            f"REVOKE {row.privileges} ON {name} FROM {row.grantee}",
        )
    if not rows:
        yield ok("grants", "each schema is open to its own role only")


def check_memberships(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Look for roles that may take an organization's role, and should not."""
    database = schemas.builder.database
    rows = connection.execute(
        _FOREIGN_MEMBERS, {"login": database.url.username, "has_logins": database.has_logins}
    ).all()
    organizations = [f"{row.member} that of {row.role}" for row in rows if row.is_organization]
    others = sorted({row.member for row in rows if not row.is_organization})
    if organizations:
        yield problem(
            "memberships of roles",
            f"organizations' roles may take those of others: {listed(organizations)}",
            "REVOKE the one role from the other",
        )
    if others:
        yield warning(
            "memberships of roles",
            f"{listed(others)} may take the roles of organizations too",
            "REVOKE them, unless these are other logins of the app",
        )
    if not rows:
        yield ok("memberships of roles", "nobody else may take an organization's role")
