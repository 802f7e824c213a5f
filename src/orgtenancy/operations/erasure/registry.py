"""What the registry has of a person in an organization."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from psycopg import sql
from sqlalchemy import Connection, select

from orgtenancy.naming import REGISTRY_SCHEMA
from orgtenancy.operations.erasure.columns import PersonColumn, Shape
from orgtenancy.operations.erasure.sought import PERSON
from orgtenancy.operations.lifecycle.changing import ACTIONS
from orgtenancy.organizations import Organization
from orgtenancy.registry import members
from orgtenancy.registry.tables import audit
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

# When a line was written, in tables that keep those of former ids.
_TIMES = {"audit": "recorded_at", "job_items": "finished_at"}


def former_ids(
    connections: Sequence[Connection], organization: Organization
) -> Sequence[tuple[str, datetime]]:
    """Return the ids that an organization had, the last one first, and until when.

    It may have been on another placement then, so that the registries are asked in turn. They
    number their lines each for itself, and have the time in common.

    Args:
        connections: Connections of the owner, in a transaction, to all registries.
        organization: The organization.
    """
    former: list[tuple[str, datetime]] = []
    lines = (
        select(audit.c.recorded_at, audit.c.details["from"].astext)
        .where(audit.c.action == ACTIONS["change_id"], audit.c.result == "done")
        .where(audit.c.details.has_key("from"), audit.c.recorded_at >= organization.created_at)
    )
    changes = lines.where(audit.c.organization_id == organization.id)
    while found := [tuple(row) for one in connections for row in one.execute(changes)]:
        until, known_as = max(found)
        former.append((known_as, until))
        changes = lines.where(audit.c.organization_id == known_as, audit.c.recorded_at < until)
    return former


def registry_columns(
    organization_id: str, former: Iterable[tuple[str, datetime]] = ()
) -> list[PersonColumn]:
    """Return the columns of the registry that may hold a person's id, for one organization.

    Args:
        organization_id: The organization.
        former: The ids that it had, and until when: from then on they are another's.
    """
    return [
        PersonColumn(
            schema=REGISTRY_SCHEMA,
            table=table,
            name=name,
            type="jsonb" if shape is Shape.JSON else "text",
            shape=shape,
            is_declared=is_declared,
            condition=_condition(table, organization_id, former),
            prefix=f"{REGISTRY_SCHEMA}.",
        )
        for table, name, shape, is_declared in _COLUMNS
    ]


def _condition(
    table: str, organization_id: str, former: Iterable[tuple[str, datetime]]
) -> sql.Composable:
    """Return which rows of a table are an organization's."""
    key = sql.Identifier("id" if table == "organizations" else "organization_id")
    conditions = [sql.SQL("{} = {}").format(key, organization_id)]
    if table in _TIMES:
        time = sql.Identifier(_TIMES[table])
        before = sql.SQL("{} = {} AND {} <= {}")
        conditions += [before.format(key, one, time, until) for one, until in former]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(conditions))


def remove_member(connection: Connection, organization_id: str) -> None:
    """Forget that the person who is looked for is, or was, a member of an organization."""
    statement = sql.SQL("DELETE FROM {} WHERE organization_id = {} AND actor_id = {}").format(
        sql.Identifier(REGISTRY_SCHEMA, "members"), organization_id, PERSON
    )
    grants.execute(connection, [statement])
    members.announce(connection, [organization_id])
