"""Who is a member of which organization: comparing, and writing it down.

A member is put out only when Logto, asked for this very membership, says that there is none.
What is known here is read before Logto is asked: that is older than Logto's answer, and what is
heard from then on may be newer.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select

from orgtenancy.errors import IdentityProviderRefused, IdentityProviderUnavailable
from orgtenancy.identity.logto_sync.api.management import LogtoUser, ManagementApi
from orgtenancy.identity.logto_sync.host import Host
from orgtenancy.identity.logto_sync.reconciliation.planning import clock_of, read
from orgtenancy.identity.logto_sync.reconciliation.plans import LeftAlone, SyncFailure, SyncItem
from orgtenancy.identity.logto_sync.settings import CLOCK_SKEW
from orgtenancy.registry import audit, members
from orgtenancy.registry.tables import actors
from orgtenancy.registry.tables import members as members_table

_MAX_UNANSWERED = 3  # organizations in a row, until Logto counts as down

logger = logging.getLogger("orgtenancy.logto")


class MemberReading:
    """The members of many organizations, Logto's beside the registry's.

    Args:
        host: The tenancy.
        api: Asks Logto.

    Attributes:
        items: What is to be done, so far.
        users: Who is a member, by organization.
        left_alone: The organizations whose members stay as they are.
        failures: Why, where Logto was asked.
    """

    def __init__(self, host: Host, api: ManagementApi) -> None:
        self._host = host
        self._api = api
        self.items: list[SyncItem] = []
        self.users: dict[str, tuple[LogtoUser, ...]] = {}
        self.left_alone: list[LeftAlone] = []
        self.failures: list[SyncFailure] = []

    def run(self, organization_ids: Iterable[str]) -> None:
        """Compare the members of organizations: what fails for one of them stops no other.

        If Logto gives no answer for several in a row, it is not asked for the rest.
        """
        known = _known_actors(self._host)
        unanswered = 0
        for organization_id in organization_ids:
            if unanswered == _MAX_UNANSWERED:
                self._leave(organization_id, "its members were not asked for: Logto is down")
                continue
            try:
                items, users = plan_members(self._host, self._api, organization_id)
            except IdentityProviderUnavailable as error:
                unanswered += 1
                self._fail(organization_id, error)
            except IdentityProviderRefused as error:
                unanswered = 0
                self._fail(organization_id, error)
            else:
                unanswered = 0
                self.items += items
                self.users[organization_id] = tuple(users.values())
        everyone = (user for users in self.users.values() for user in users)
        self.items += _plan_actors(known, everyone)

    def _fail(
        self, organization_id: str, error: IdentityProviderUnavailable | IdentityProviderRefused
    ) -> None:
        logger.warning("the members of %r cannot be read: %s", organization_id, error)
        self._leave(organization_id, "its members cannot be read")
        failure = SyncFailure(
            organization_id=organization_id,
            action="read_members",
            code=error.code,
            message=str(error),
        )
        self.failures.append(failure)

    def _leave(self, organization_id: str, reason: str) -> None:
        self.left_alone.append(LeftAlone(organization_id=organization_id, reason=reason))


def plan_members(
    host: Host, api: ManagementApi, organization_id: str
) -> tuple[list[SyncItem], Mapping[str, LogtoUser]]:
    """Return what to write of an organization's members, and who they are, by id."""

    def find(user_id: str) -> LogtoUser | None:
        is_member = api.is_member(organization_id, user_id, patience=math.inf)
        return api.user(user_id) if is_member else None

    known = _known_members(host, organization_id)
    active = {user_id for user_id, row in known.items() if row.status == "active"}
    users = read(lambda: api.members(organization_id), find).items
    items = [
        SyncItem(
            action="add_member",
            organization_id=organization_id,
            actor_id=user_id,
            known_at=_changed_at(known.get(user_id)),
        )
        for user_id in sorted(users.keys() - active)
    ]
    items += [
        SyncItem(
            action="remove_member",
            organization_id=organization_id,
            actor_id=user_id,
            known_at=_changed_at(known[user_id]),
            asked_at=clock_of(host),
        )
        for user_id in sorted(active - users.keys())
        if not api.is_member(organization_id, user_id, patience=math.inf)
    ]
    return items, users


def write_item(connection: Connection, item: SyncItem, started_at: datetime) -> bool:
    """Write what became of a member or an actor, unless something newer is known.

    Args:
        connection: A connection of the owner, in a transaction.
        item: What to write.
        started_at: When Logto was about to be read.

    Returns:
        Whether it was news.
    """
    organization_id, actor_id = item.organization_id, str(item.actor_id)
    at = _at(item, started_at)
    match item.action:
        case "add_member" | "remove_member":
            is_new = item.action == "add_member"
            done, details = "member_added" if is_new else "member_removed", {"member": actor_id}
            status: members.MemberStatus = "active" if is_new else "removed"
            is_news = members.set_member(
                connection, str(organization_id), actor_id, status, at, removed_at=item.asked_at
            )
        case "suspend_actor":
            done, details = "actor_suspended", {"actor": actor_id}
            is_news = members.set_actor(connection, actor_id, "suspended", at)
        case _:
            done, details = "actor_resumed", {"actor": actor_id}
            is_news = members.set_actor(connection, actor_id, "active", at)
    if is_news:
        audit.record(connection, done, organization_id, details=details)
    return is_news


def _at(item: SyncItem, started_at: datetime) -> datetime:
    """Return since when something is so, for the order among all that is heard.

    A webhook has Logto's time, which may be behind ours. So who is let in is so a while before
    Logto was asked: a removal or suspension that is heard of later counts, at worst an older one
    too, until the next reconciliation. Who is shut out is so since Logto was about to be asked,
    and not since it answered: what is heard meanwhile may be newer. Either is newer than what
    was known before, whichever clock that was by.
    """
    is_let_in = item.action in ("add_member", "resume_actor")
    at = started_at - CLOCK_SKEW if is_let_in else started_at
    return at if item.known_at is None else max(at, item.known_at + timedelta.resolution)


def _plan_actors(known: Mapping[str, Row[Any]], users: Iterable[LogtoUser]) -> list[SyncItem]:
    """Return which users were suspended, or let in again, and the registry does not know."""
    items = []
    for user in sorted({user.id: user for user in users}.values(), key=lambda user: user.id):
        row = known.get(user.id)
        status, known_at = None if row is None else row.status, _changed_at(row)
        if user.is_suspended and status in (None, "active"):
            items.append(SyncItem(action="suspend_actor", actor_id=user.id, known_at=known_at))
        elif not user.is_suspended and status == "suspended":
            items.append(SyncItem(action="resume_actor", actor_id=user.id, known_at=known_at))
    return items


def _known_members(host: Host, organization_id: str) -> dict[str, Row[Any]]:
    statement = select(members_table).where(members_table.c.organization_id == organization_id)
    with host.control_session() as session:
        return {row.actor_id: row for row in session.execute(statement)}


def _known_actors(host: Host) -> dict[str, Row[Any]]:
    with host.control_session() as session:
        return {row.id: row for row in session.execute(select(actors))}


def _changed_at(row: Row[Any] | None) -> datetime | None:
    return None if row is None else row.changed_at
