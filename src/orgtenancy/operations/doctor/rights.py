"""The rights of both logins, and what is open to everybody."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, text

from orgtenancy.operations.doctor.report import Finding, listed, ok, problem
from orgtenancy.schemas import SchemaManager
from orgtenancy.schemas.grants import dangerous_roles, server_version
from orgtenancy.settings import IsolationLevel

_NO_INIT = "run `orgtenancy init`"

_LOGIN = text(
    "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolinherit, "
    "rolcanlogin, rolname = current_user AS is_owner FROM pg_roles WHERE rolname = :login"
)
_POWERS = {
    "rolsuper": "is a superuser",
    "rolcreaterole": "may create roles",
    "rolcreatedb": "may create databases",
    "rolreplication": "may replicate the whole server",
    "rolbypassrls": "bypasses row security",
    "is_owner": "is also the owner of the schemas",
}
_INHERITED = text(
    "SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid "
    "WHERE m.member = CAST(CAST(:login AS text) AS regrole) AND m.inherit_option ORDER BY 1"
)
_NOT_ADMINISTERED = text(
    "SELECT r.rolname FROM pg_roles r JOIN (SELECT role_name FROM orgtenancy.organizations "
    "UNION ALL SELECT role_name FROM orgtenancy.spares) known ON known.role_name = r.rolname "
    "WHERE NOT pg_has_role(current_user, r.oid, 'MEMBER WITH ADMIN OPTION') ORDER BY 1"
)
_NOT_OWNED = text(
    "SELECT n.nspname FROM pg_namespace n JOIN (SELECT schema_name FROM orgtenancy.organizations "
    "UNION ALL SELECT schema_name FROM orgtenancy.spares) known ON known.schema_name = n.nspname "
    "WHERE NOT pg_has_role(current_user, n.nspowner, 'USAGE') ORDER BY 1"
)


def check_owner(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Look whether the owner may make, change and drop organizations."""
    row = connection.execute(
        text(
            "SELECT current_user AS name, rolsuper, rolcreaterole, "
            "has_database_privilege(current_database(), 'CREATE') AS may_create_schemas "
            "FROM pg_roles WHERE rolname = current_user"
        )
    ).one()
    without_roles = schemas.builder.database.settings.isolation is IsolationLevel.SEARCH_PATH
    findings = []
    if not (row.rolcreaterole or row.rolsuper or without_roles):
        findings.append(
            problem(
                "owner",
                f"{row.name} may not create roles: no organization can be provisioned",
                f"ALTER ROLE {row.name} CREATEROLE, by a superuser",
            )
        )
    if not row.may_create_schemas:
        findings.append(
            problem(
                "owner",
                f"{row.name} may not create schemas in this database",
                f"GRANT CREATE ON DATABASE ... TO {row.name}",
            )
        )
    what = "a superuser; CREATEROLE and CREATE on the database would do" if row.rolsuper else ""
    told = f"{row.name}: {what or 'CREATEROLE, CREATE on the database'}"
    yield from findings or [ok("owner", told)]


def check_ownership(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Look whether the owner may change all the schemas and roles that there are."""
    name = connection.scalar(text("SELECT current_user"))
    without_roles = schemas.builder.database.settings.isolation is IsolationLevel.SEARCH_PATH
    roles = [] if without_roles else list(connection.scalars(_NOT_ADMINISTERED))
    if roles:
        yield problem(
            "ownership",
            f"{name} has no ADMIN option on {listed(roles)}: it cannot drop them",
            f"GRANT ... TO {name} WITH ADMIN OPTION",
        )
    foreign = list(connection.scalars(_NOT_OWNED))
    if foreign:
        yield problem(
            "ownership",
            f"{listed(foreign)} belong to somebody else: migrations of them fail",
            f"REASSIGN OWNED BY their owner TO {name}",
        )
    if not roles and not foreign:
        yield ok("ownership", f"{name} administers every role, and owns every schema")


def check_login(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Look whether PostgreSQL can keep the app's login out of an organization."""
    login = str(schemas.builder.database.url.username)
    row = connection.execute(_LOGIN, {"login": login}).one_or_none()
    if row is None:
        yield problem("app's login", f"there is no login {login!r}", _NO_INIT)
        return
    findings = [
        problem("app's login", f"{login} {told}", f"ALTER ROLE {login}, or use another login")
        for power, told in _POWERS.items()
        if row._mapping[power]
    ]
    findings += [
        problem(
            "app's login",
            f"{login} may become {role}, which reaches past any schema",
            f"REVOKE {role} FROM {login}",
        )
        for role in dangerous_roles(connection, login)
    ]
    # From 16 on, whether a login inherits is said by each membership.
    if server_version(connection) >= 16:
        inherited = list(connection.scalars(_INHERITED, {"login": login}))
    else:
        inherited = ["all its roles"] if row.rolinherit else []
    if inherited:
        findings.append(
            problem(
                "app's login",
                f"{login} inherits the rights of {listed(inherited)}, also outside of any "
                "organization",
                f"ALTER ROLE {login} NOINHERIT, and GRANT ... TO {login} WITH INHERIT FALSE",
            )
        )
    yield from findings or [ok("app's login", f"{login} has no rights of its own")]


def check_public(schemas: SchemaManager, connection: Connection) -> Iterator[Finding]:
    """Look for what PostgreSQL leaves open to everybody."""
    login = str(schemas.builder.database.url.username)
    row = connection.execute(
        text(
            "SELECT has_database_privilege(:login, current_database(), 'TEMP') AS temp, "
            "has_database_privilege(:login, current_database(), 'CREATE') AS schemas, "
            "coalesce(has_schema_privilege(:login, to_regnamespace('public')::oid, 'CREATE'), "
            "false) AS public"
        ),
        {"login": login},
    ).one()
    told = {
        "temporary tables, which outlive a transaction": row.temp,
        "schemas in this database": row.schemas,
        "tables in the schema public": row.public,
    }
    if found := [what for what, has_it in told.items() if has_it]:
        yield problem("open to everybody", f"{login} may create {', '.join(found)}", _NO_INIT)
    else:
        yield ok("open to everybody", "no temporary tables, nothing in public")
