"""What a transaction is for: the role and path it starts with."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from psycopg import sql

from orgtenancy.organizations import Organization
from orgtenancy.settings import IsolationLevel, Settings


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """The role and `search_path` of one transaction.

    Attributes:
        role: The PostgreSQL role it takes, whose rights end at its own schema, or None
            where the connection's login is that role.
        path: Schemas that unqualified names are looked up in, in order.
        organization_id: The organization, or None for the registry.
        prelude: The statements that enter the scope, in the order they are sent.
    """

    role: str | None
    path: tuple[str, ...]
    organization_id: str | None = None
    prelude: tuple[bytes, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # pg_temp last: unless named, PostgreSQL searches it first, and a temporary
        # table made on this connection would stand in for an organization's own.
        path = sql.SQL(", ").join(map(sql.Identifier, (*self.path, "pg_temp")))
        statements = [sql.SQL("SET LOCAL search_path TO {}").format(path)]
        if self.role is not None:
            statements.insert(0, sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(self.role)))
        object.__setattr__(self, "prelude", tuple(s.as_bytes(None) for s in statements))


@lru_cache(maxsize=65_536)
def _organization_scope(
    organization_id: str, schema: str, role: str | None, extensions_schema: str | None
) -> Scope:
    path = (schema,) if extensions_schema is None else (schema, extensions_schema)
    return Scope(role=role, path=path, organization_id=organization_id)


def scope_of(organization: Organization, settings: Settings) -> Scope:
    """Return the scope of an organization's transactions."""
    takes_role = settings.isolation is IsolationLevel.ROLE
    return _organization_scope(
        organization.id,
        organization.schema_name,
        organization.role_name if takes_role else None,
        settings.extensions_schema,
    )


class ScopedBegin(bytes):
    """`BEGIN` and the statements that enter a scope, as one simple query.

    Attributes:
        parts: The same, one statement each.
        scope: The scope.
    """

    parts: tuple[bytes, ...]
    scope: Scope


@lru_cache(maxsize=65_536)
def scoped_begin(begin: bytes, scope: Scope) -> ScopedBegin:
    """Return the command that begins a transaction, in the way that `begin` says, in a scope."""
    parts = (begin, *scope.prelude)
    command = ScopedBegin(b"; ".join(parts))
    command.parts, command.scope = parts, scope
    return command
