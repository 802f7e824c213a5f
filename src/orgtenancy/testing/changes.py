"""Work that may change one organization, and nothing beside it.

The database is looked at before and after, as its owner: all schemas but those of the
organizations named, the registry's rows of others, and what lies on pooled connections.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from psycopg import sql
from sqlalchemy import Connection, text

from orgtenancy import Organization, Tenancy
from orgtenancy.context import organization_var
from orgtenancy.naming import REGISTRY_SCHEMA, SCHEMA_PREFIX, SPARE_PREFIX
from orgtenancy.testing.contents import Kind, Relation, Rows, definitions, relations, rows
from orgtenancy.testing.pooled import idle_connections, watch_pools

#: What is at a place, by a name of the place for people.
_Found: TypeAlias = Mapping[str, object]

_SCHEMAS = text(
    "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' "
    "AND nspname <> 'information_schema' AND NOT starts_with(nspname, :spares)"
)

# Who may become which organization's role.
_MEMBERSHIPS = text("""
    SELECT o.id, string_agg(m.member::regrole || ' ' || m.xmin, ', ' ORDER BY m.member)
    FROM orgtenancy.organizations o JOIN pg_roles r ON r.rolname = o.role_name
    JOIN pg_auth_members m ON m.roleid = r.oid
    WHERE o.id <> ALL(:named) GROUP BY o.id
""")

_PREPARED = text("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")

# The column with the organization, in the registry's tables. Jobs, spares and the inbox belong
# to nobody.
_REGISTRY = {
    "organizations": "id",
    "members": "organization_id",
    "audit": "organization_id",
    "job_items": "organization_id",
    "actors": None,
}

# Run as the app's login, outside any organization. PostgreSQL does not list custom settings.
_LEFT_BEHIND = b"""
    SELECT 'setting ' || name || ' = ' || setting FROM pg_settings WHERE source = 'session'
    UNION ALL SELECT 'role ' || current_user WHERE current_user <> session_user
    UNION ALL SELECT 'advisory lock ' || classid || ' ' || objid FROM pg_locks
        WHERE locktype = 'advisory' AND pid = pg_backend_pid()
    UNION ALL SELECT 'cursor ' || name FROM pg_cursors WHERE is_holdable
    UNION ALL SELECT 'channel ' || name FROM pg_listening_channels() AS channels (name)
    UNION ALL SELECT 'prepared statement ' || name FROM pg_prepared_statements WHERE from_sql
    UNION ALL SELECT 'temporary table ' || relname FROM pg_class
        WHERE relnamespace = pg_my_temp_schema() AND relkind = 'r'
"""


class NotIsolated(AssertionError):
    """Work has changed more than the organizations that it was for.

    Attributes:
        changes: What was changed where, a line each.
    """

    def __init__(self, organizations: Sequence[str], changes: Sequence[str]) -> None:
        self.changes = tuple(changes)
        whose = ", ".join(repr(one) for one in organizations) or "no organization"
        super().__init__("\n  ".join([f"work of {whose} has changed more:", *changes]))


@contextmanager
def isolated(tenancy: Tenancy, *organizations: Organization | str) -> Iterator[None]:
    """Return a block in which only some organizations may be changed.

    What counts is what was committed when the block ends, so work has to end before it.
    Reading is no change. It takes some milliseconds, and more the more organizations there
    are: it is for databases of tests.

    Args:
        tenancy: A tenancy with an `admin_url`.
        *organizations: Those that may be changed; none means that nothing may.

    Raises:
        NotIsolated: If something else was changed, also where the work failed.
    """
    watch_pools()
    named = [one if isinstance(one, str) else one.id for one in organizations]
    before = _look(tenancy, named)
    failure: BaseException | None = None
    try:
        yield
    except BaseException as error:
        failure = error
        raise
    finally:
        if changes := _changes(before, _look(tenancy, named)):
            told = NotIsolated(named, changes)
            if failure is not None and not isinstance(failure, Exception):
                failure.add_note(str(told))  # Ctrl-C goes on to whom it is for
            else:
                raise told from failure


def _look(tenancy: Tenancy, named: Sequence[str]) -> _Found:
    found: dict[str, object] = {}
    with tenancy._database.admin_engine.begin() as connection:
        schemas = list(connection.scalars(_SCHEMAS, {"spares": SPARE_PREFIX}))
        own = {SCHEMA_PREFIX + organization for organization in named}
        others = [name for name in schemas if name not in own and name != REGISTRY_SCHEMA]
        found |= _definitions(connection, [*others, REGISTRY_SCHEMA])
        found |= _contents(connection, others)
        found |= _registry(connection, named)
        for organization, members in connection.execute(_MEMBERSHIPS, {"named": list(named)}):
            found[f"organization {organization!r}: who may take its role"] = members
        for gid in connection.scalars(_PREPARED):
            found[f"prepared transaction {gid!r}"] = True
    bound = organization_var.get()
    found["the context's organization"] = None if bound is None else bound.id
    found |= _pooled()
    return found


def _definitions(connection: Connection, schemas: Sequence[str]) -> _Found:
    return {
        f"{_place(schema)}: how it is defined": digest
        for schema, digest in definitions(connection, schemas).items()
    }


def _contents(connection: Connection, schemas: Sequence[str]) -> _Found:
    listed = relations(connection, schemas)
    written = [one for one in listed if one.size]
    counted = dict(zip(written, rows(connection, written), strict=True))
    found: dict[str, object] = {}
    for one in listed:
        state = one.last_value if one.kind is Kind.SEQUENCE else counted.get(one, Rows(0, 0))
        found[f"{_place(one.schema)}: {one.kind} {one.name!r}"] = state
    return found


def _registry(connection: Connection, named: Sequence[str]) -> _Found:
    tables = [one for one in relations(connection, [REGISTRY_SCHEMA]) if one.name in _REGISTRY]
    counted = rows(connection, tables, [_others(one, named) for one in tables])
    return {
        f"registry: others' rows of {one.name!r}": its
        for one, its in zip(tables, counted, strict=True)
    }


def _others(table: Relation, named: Sequence[str]) -> sql.Composable | None:
    column = _REGISTRY[table.name]
    if column is None:
        return None
    return sql.SQL("{} <> ALL({}::text[])").format(sql.Identifier(column), list(named))


def _pooled() -> _Found:
    found = {}
    for connection in idle_connections():
        result = connection.pgconn.exec_(_LEFT_BEHIND)
        for row in range(result.ntuples):
            what = (result.get_value(row, 0) or b"").decode("utf-8", "replace")
            found[f"pooled connection {connection.pgconn.backend_pid}: {what}"] = True
    return found


def _place(schema: str) -> str:
    if schema.startswith(SCHEMA_PREFIX):
        return f"organization {schema.removeprefix(SCHEMA_PREFIX)!r}"
    return "registry" if schema == REGISTRY_SCHEMA else f"schema {schema!r}"


def _changes(before: _Found, after: _Found) -> list[str]:
    changes = []
    for place in sorted({**before, **after}):
        if place not in before:
            changes.append(f"{place} is new")
        elif place not in after:
            changes.append(f"{place} is gone")
        elif before[place] != after[place]:
            changes.append(f"{place} {_difference(before[place], after[place])}")
    return changes


def _difference(before: object, after: object) -> str:
    if not isinstance(before, Rows) or not isinstance(after, Rows):
        return f"was {before}, is {after}"
    if before.count == after.count:
        return f"has {_counted(after)} as before, but not the same"
    return f"had {_counted(before)}, has {after.count}"


def _counted(found: Rows) -> str:
    return "1 row" if found.count == 1 else f"{found.count} rows"
