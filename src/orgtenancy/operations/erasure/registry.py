"""What the registry has of a person in an organization."""

from __future__ import annotations

from psycopg import sql
from sqlalchemy import Connection

from orgtenancy.naming import REGISTRY_SCHEMA
from orgtenancy.operations.erasure.columns import PersonColumn, Shape
from orgtenancy.operations.erasure.sought import PERSON
from orgtenancy.registry import members
from orgtenancy.schemas import grants

# Table, column, and whether it is one for ids.
_COLUMNS = (
    ("audit", "actor_id", Shape.TEXT, True),
    ("audit", "details", Shape.JSON, True),
    ("audit", "origin", Shape.TEXT, False),
    ("job_items", "error", Shape.TEXT, False),
    ("organizations", "attributes", Shape.JSON, True),
    ("organizations", "name", Shape.TEXT, False),
    ("organizations", "status_reason", Shape.TEXT, False),
)


def registry_columns(organization_id: str) -> list[PersonColumn]:
    """Return the columns of the registry that may hold a person's id, for one organization."""
    return [
        PersonColumn(
            schema=REGISTRY_SCHEMA,
            table=table,
            name=name,
            type="jsonb" if shape is Shape.JSON else "text",
            shape=shape,
            is_declared=is_declared,
            condition=sql.SQL("{} = {}").format(
                sql.Identifier("id" if table == "organizations" else "organization_id"),
                organization_id,
            ),
            prefix=f"{REGISTRY_SCHEMA}.",
        )
        for table, name, shape, is_declared in _COLUMNS
    ]


def remove_member(connection: Connection, organization_id: str) -> None:
    """Forget that the person who is looked for is, or was, a member of an organization."""
    statement = sql.SQL("DELETE FROM {} WHERE organization_id = {} AND actor_id = {}").format(
        sql.Identifier(REGISTRY_SCHEMA, "members"), organization_id, PERSON
    )
    grants.execute(connection, [statement])
    members.announce(connection, [organization_id])
