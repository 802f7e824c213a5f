"""Remembering that an organization is one of Logto's."""

from __future__ import annotations

from sqlalchemy import Connection, func, update

from orgtenancy.identity.logto_sync.events import SOURCE
from orgtenancy.registry import audit, store
from orgtenancy.registry.tables import organizations


def link(connection: Connection, organization_id: str) -> bool:
    """Write that an organization which was made by hand is there at Logto too.

    A reconciliation archives only those that it knows to be Logto's. One that comes from
    another source stays so.

    Returns:
        Whether it was news.
    """
    changed = connection.execute(
        update(organizations)
        .where(organizations.c.id == organization_id, organizations.c.source.is_(None))
        .values(source=SOURCE, updated_at=func.now())
    )
    if changed.rowcount == 0:
        return False
    audit.record(connection, "linked", organization_id, details={"source": SOURCE})
    store.announce(connection, organization_id)
    return True
