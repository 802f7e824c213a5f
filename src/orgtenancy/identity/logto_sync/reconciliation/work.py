"""Doing what a reconciliation planned: what fails for one organization stops no other."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeAlias

import psycopg
from sqlalchemy.orm import Session

from orgtenancy.errors import OrganizationNotFound, OrganizationUnavailable, OrgTenancyError
from orgtenancy.identity.logto_sync.api.management import LogtoUser
from orgtenancy.identity.logto_sync.failures import message_of
from orgtenancy.identity.logto_sync.host import Host
from orgtenancy.identity.logto_sync.inbound.events import DELETED
from orgtenancy.identity.logto_sync.names import SOURCE
from orgtenancy.identity.logto_sync.reconciliation.members import write_item
from orgtenancy.identity.logto_sync.reconciliation.plans import LeftAlone, SyncFailure, SyncItem
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import inbox

#: Called with a session of an organization for each member of it.
OnMember: TypeAlias = Callable[[Session, Organization, LogtoUser], object]

_ABOUT_MEMBERS = ("add_member", "remove_member", "suspend_actor", "resume_actor")
_OPENING = ("provision", "restore")

logger = logging.getLogger("orgtenancy.logto")


class Work:
    """The work on a plan, and what became of it so far.

    Args:
        host: The tenancy, with an `admin_url`.
        started_at: When the plan was begun.

    Attributes:
        done: How often each action was done.
        failures: What could not be done.
        left_alone: What changed since the plan was begun.
    """

    def __init__(self, host: Host, started_at: datetime) -> None:
        self._host = host
        self._database = host.schemas.builder.database
        self._started_at = started_at
        self.done: Counter[str] = Counter()
        self.failures: list[SyncFailure] = []
        self.left_alone: list[LeftAlone] = []

    def do(self, organization_id: str | None, items: Sequence[SyncItem]) -> None:
        """Do what is planned for one organization, or for actors."""
        about_members = [item for item in items if item.action in _ABOUT_MEMBERS]
        others = [item for item in items if item.action not in _ABOUT_MEMBERS]
        if organization_id is not None and others:
            self._change_as_planned(organization_id, others)
        if about_members:
            with self._failures_of(organization_id, about_members[0].action):
                self.write_members(about_members)

    def write_members(self, items: Sequence[SyncItem]) -> None:
        """Write members or actors down, in one transaction."""
        news: Counter[str] = Counter()
        with self._database.admin_engine.begin() as connection:
            for item in items:
                news[item.action] += write_item(connection, item, self._started_at)
        self.done += news

    def tell(self, organization_id: str, users: Sequence[LogtoUser], on_member: OnMember) -> None:
        """Call the host's function for the members of an organization, if it is open."""
        try:
            with self._host.session(organization_id) as session:
                organization = self._host.schemas.get(organization_id)
                for user in users:
                    on_member(session, organization, user)
        except (OrganizationNotFound, OrganizationUnavailable):
            return
        except Exception as error:  # noqa: BLE001 - the host's own function may raise anything
            self._fail(organization_id, "on_member", error)

    def _change_as_planned(self, organization_id: str, items: Sequence[SyncItem]) -> None:
        if not self._is_as_planned(organization_id, items[0]):
            left = LeftAlone(organization_id=organization_id, reason="it changed meanwhile")
            self.left_alone.append(left)
            return
        is_opened = False
        for item in items:
            with self._failures_of(organization_id, item.action):
                self._change(organization_id, item)
                self.done[item.action] += 1
                is_opened = is_opened or item.action in _OPENING
        # Its webhook may have found nothing to archive, a moment before there was something.
        if is_opened and self._was_deleted(organization_id):
            with self._failures_of(organization_id, "archive"):
                archive = SyncItem(action="archive", organization_id=organization_id)
                self._change(organization_id, archive)
                self.done["archive"] += 1

    def _is_as_planned(self, organization_id: str, first: SyncItem) -> bool:
        if first.action in _OPENING and self._was_deleted(organization_id):
            return False
        try:
            found = self._host.schemas.get(organization_id)
        except OrganizationNotFound:
            return first.action == "provision"
        if found.status is OrganizationStatus.PROVISIONING:
            return first.action == "provision"
        return first.action != "provision" and found.updated_at <= self._started_at

    def _was_deleted(self, organization_id: str) -> bool:
        """Return whether Logto told, since it was about to be read, of an organization's end.

        What it told before is older than the reading, which found the organization there. No id
        is used again, so the order among what was told since does not matter.
        """
        with self._database.admin_engine.begin() as connection:
            return inbox.has_event(
                connection, SOURCE, event=DELETED, subject=organization_id, since=self._started_at
            )

    def _change(self, organization_id: str, item: SyncItem) -> None:
        organizations = self._host.organizations
        given: Mapping[str, Any] = item.attributes or {}
        match item.action:
            case "provision":
                self._host.schemas.provision(
                    organization_id, name=item.name, attributes=given, source=SOURCE
                )
            case "restore":
                organizations.restore(organization_id)
            case "link":
                organizations.link(organization_id, source=SOURCE)
            case "rename":
                organizations.rename(organization_id, str(item.name))
            case "set_attributes":
                organizations.set_attributes(organization_id, given)
            case "archive":
                organizations.archive(organization_id, reason="it is gone in Logto", source=SOURCE)

    @contextmanager
    def _failures_of(self, organization_id: str | None, action: str) -> Iterator[None]:
        """Note what fails in a block; a database that is gone ends the work."""
        try:
            yield
        except Exception as error:
            if _is_gone(error):
                raise
            self._fail(organization_id, action, error)

    def _fail(self, organization_id: str | None, action: str, error: Exception) -> None:
        code = error.code if isinstance(error, OrgTenancyError) else "failed"
        message = message_of(error)
        logger.warning("%s of %r failed: %s", action, organization_id, message)
        failure = SyncFailure(
            organization_id=organization_id, action=action, code=code, message=message
        )
        self.failures.append(failure)


def _is_gone(error: BaseException | None) -> bool:
    """Return whether the reason of an error is that there is no connection to the database."""
    while error is not None:
        if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
            return True
        error = error.__cause__
    return False
