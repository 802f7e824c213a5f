"""Who is a member of which organization: comparing, and writing it down.

A member is put out only when Logto, asked for this very membership, says that there is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime

from sqlalchemy import Connection, select

from orgtenancy.identity.logto_sync.api.management import LogtoUser, ManagementApi
from orgtenancy.identity.logto_sync.host import Host
from orgtenancy.identity.logto_sync.reconciliation.planning import read
from orgtenancy.identity.logto_sync.reconciliation.plans import SyncItem
from orgtenancy.registry import audit, members
from orgtenancy.registry.tables import actors
from orgtenancy.registry.tables import members as members_table


def plan_members(
    host: Host, api: ManagementApi, organization_id: str
) -> tuple[list[SyncItem], Mapping[str, LogtoUser]]:
    """Return what to write of an organization's members, and who they are, by id."""

    def find(user_id: str) -> LogtoUser | None:
        is_member = api.is_member(organization_id, user_id, patience=math.inf)
        return api.user(user_id) if is_member else None

    users = read(lambda: api.members(organization_id), find).items
    known = _registered(host, organization_id)
    items = [
        SyncItem(action="add_member", organization_id=organization_id, actor_id=user_id)
        for user_id in sorted(users.keys() - known)
    ]
    items += [
        SyncItem(action="remove_member", organization_id=organization_id, actor_id=user_id)
        for user_id in sorted(known - users.keys())
        if not api.is_member(organization_id, user_id, patience=math.inf)
    ]
    return items, users


def plan_actors(host: Host, users: Iterable[LogtoUser]) -> list[SyncItem]:
    """Return which users were suspended, or let in again, and the registry does not know."""
    with host.control_session() as session:
        found = session.execute(select(actors.c.id, actors.c.status)).all()
    known: dict[str, str] = {row.id: row.status for row in found}
    items = []
    for user in sorted({user.id: user for user in users}.values(), key=lambda user: user.id):
        status = known.get(user.id)
        if user.is_suspended and status in (None, "active"):
            items.append(SyncItem(action="suspend_actor", actor_id=user.id))
        elif not user.is_suspended and status == "suspended":
            items.append(SyncItem(action="resume_actor", actor_id=user.id))
    return items


def write_item(connection: Connection, item: SyncItem, at: datetime) -> bool:
    """Write what became of a member or an actor, unless something newer is known.

    Args:
        connection: A connection of the owner, in a transaction.
        item: What to write.
        at: When it was so.

    Returns:
        Whether it was news.
    """
    organization_id, actor_id = item.organization_id, str(item.actor_id)
    match item.action:
        case "add_member" | "remove_member":
            is_new = item.action == "add_member"
            done, details = "member_added" if is_new else "member_removed", {"member": actor_id}
            status: members.MemberStatus = "active" if is_new else "removed"
            is_news = members.set_member(connection, str(organization_id), actor_id, status, at)
        case "suspend_actor":
            done, details = "actor_suspended", {"actor": actor_id}
            is_news = members.set_actor(connection, actor_id, "suspended", at)
        case _:
            done, details = "actor_resumed", {"actor": actor_id}
            is_news = members.set_actor(connection, actor_id, "active", at)
    if is_news:
        audit.record(connection, done, organization_id, details=details)
    return is_news


def _registered(host: Host, organization_id: str) -> set[str]:
    statement = select(members_table.c.actor_id).where(
        members_table.c.organization_id == organization_id, members_table.c.status == "active"
    )
    with host.control_session() as session:
        return set(session.scalars(statement))
