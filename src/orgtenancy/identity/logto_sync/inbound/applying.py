"""Doing what an event says; doing it again changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import func, select

from orgtenancy.context import acting
from orgtenancy.errors import OrganizationNotFound, OrganizationUnavailable, TransitionRefused
from orgtenancy.identity.logto_sync.host import Host
from orgtenancy.identity.logto_sync.inbound.events import (
    Action,
    ArchiveOrganization,
    Ignore,
    ProvisionOrganization,
    RefreshMembers,
    RemoveMember,
    SetActor,
    Unusable,
)
from orgtenancy.identity.logto_sync.inbound.refreshing import MembersReader
from orgtenancy.identity.logto_sync.names import SOURCE
from orgtenancy.naming import validate_organization_id
from orgtenancy.organizations import Organization, OrganizationStatus
from orgtenancy.registry import audit, members, store
from orgtenancy.registry.inbox import InboxItem, Outcome
from orgtenancy.registry.tables import organizations

#: What the audit says of where a change came from.
ORIGIN = "logto:webhook"

#: Returns the labels of an organization, from what Logto says of it.
Labels: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]

_ENDED = (OrganizationStatus.ARCHIVED, OrganizationStatus.PURGED)

# Whoever reserves an id locks its row soon. One that nobody holds after this was left by a
# process that died.
_ABANDONED_AFTER = timedelta(seconds=60)


class Applier:
    """Does what events say.

    Args:
        host: The tenancy.
        attributes: Returns labels from Logto's organization, such as from its `customData`;
            labels that it does not return stay as they are. None takes over no labels.
        refresh_members: Reads anew who is a member of an organization, where a webhook does not
            say it.
    """

    def __init__(
        self,
        host: Host,
        *,
        attributes: Labels | None = None,
        refresh_members: Callable[[str], object] | None = None,
    ) -> None:
        self._host = host
        self._database = host.schemas.builder.database
        self._attributes = attributes
        self._reader = (
            None if refresh_members is None else MembersReader(self._database, refresh_members)
        )

    def apply(self, action: Action, item: InboxItem) -> tuple[Outcome, str | None]:
        """Do what an event says.

        Args:
            action: What is to be done.
            item: The event.

        Returns:
            What became of the event, and why if it was not done.

        Raises:
            InvalidOrganizationId: If the organization cannot be one here.
            TransitionRefused: If its status does not allow it for the time being.
            Exception: What else goes wrong; it may be tried again.
        """
        at = item.occurred_at
        with acting(None, ORIGIN):
            match action:
                case ProvisionOrganization():
                    return self._provision(action)
                case ArchiveOrganization(organization_id=organization_id):
                    return self._archive(organization_id)
                case RemoveMember():
                    return self._remove_member(action, at)
                case RefreshMembers(organization_id=organization_id):
                    return self._members_changed(organization_id, item)
                case SetActor():
                    return self._set_actor(action, at)
                case Ignore():
                    return "ignored", None
                case Unusable(reason=reason):
                    return "failed", reason

    def _provision(self, action: ProvisionOrganization) -> tuple[Outcome, str | None]:
        organization_id = action.organization_id
        labels = {} if self._attributes is None else dict(self._attributes(action.data))
        try:
            organization = self._find(organization_id)
            if organization is None or organization.status is OrganizationStatus.PROVISIONING:
                organization = self._host.schemas.provision(
                    organization_id, name=action.name, attributes=labels, source=SOURCE
                )
            if organization.status is OrganizationStatus.PURGED:
                return "superseded", "it was purged"
            self._adjust(organization, action.name, labels)
        except (OrganizationUnavailable, TransitionRefused) as error:
            if error.status not in _ENDED:
                raise
            return "superseded", f"it is {error.status}"
        return "done", None

    def _adjust(
        self, organization: Organization, name: str | None, labels: Mapping[str, Any]
    ) -> None:
        if organization.source is None:
            self._host.organizations.link(organization.id, source=SOURCE)
        if name is not None and organization.name != name:
            self._host.organizations.rename(organization.id, name)
        wanted = {**organization.attributes, **labels}
        if wanted != organization.attributes:
            self._host.organizations.set_attributes(organization.id, wanted)

    def _archive(self, organization_id: str) -> tuple[Outcome, str | None]:
        # Where there is none, its row in the inbox says that there is to be none.
        organization = self._find(organization_id)
        if organization is None or organization.status in _ENDED:
            return "done", None
        if not self._take_back(organization_id):
            self._host.organizations.archive(
                organization_id, reason="deleted at Logto", source=SOURCE
            )
        return "done", None

    def _take_back(self, organization_id: str) -> bool:
        """Remove a reservation that nobody fills any more, and return whether there was one."""
        known = organizations.c
        statement = (
            select(known.id)
            .where(
                known.id == organization_id,
                known.status == OrganizationStatus.PROVISIONING,
                known.created_at < func.now() - _ABANDONED_AFTER,
            )
            # Whoever fills it has it locked.
            .with_for_update(skip_locked=True)
        )
        locations = self._host.schemas.locations
        with locations.database_of(organization_id).admin_engine.begin() as connection:
            if connection.execute(statement).first() is None:
                return False
            store.remove(connection, organization_id, OrganizationStatus.PROVISIONING)
            details = {"from": OrganizationStatus.PROVISIONING}
            audit.record(connection, "dropped", organization_id, details=details)
        locations.release(organization_id)
        return True

    def _remove_member(self, action: RemoveMember, at: datetime) -> tuple[Outcome, str | None]:
        organization_id, actor_id = action.organization_id, action.actor_id
        validate_organization_id(organization_id)
        with self._database.admin_engine.begin() as connection:
            if not members.set_member(connection, organization_id, actor_id, "removed", at):
                return "superseded", None
            details = {"member": actor_id}
            audit.record(connection, "member_removed", organization_id, details=details)
        return "done", None

    def _members_changed(self, organization_id: str, item: InboxItem) -> tuple[Outcome, str | None]:
        validate_organization_id(organization_id)
        if self._reader is not None:
            self._reader.read_for(item)
        with self._database.admin_engine.begin() as connection:
            members.announce(connection, [organization_id])
        return "done", None

    def _set_actor(self, action: SetActor, at: datetime) -> tuple[Outcome, str | None]:
        done = "resumed" if action.status == "active" else action.status
        with self._database.admin_engine.begin() as connection:
            if not members.set_actor(connection, action.actor_id, action.status, at):
                return "superseded", None
            audit.record(connection, f"actor_{done}", None, details={"actor": action.actor_id})
        return "done", None

    def _find(self, organization_id: str) -> Organization | None:
        try:
            return self._host.schemas.get(organization_id)
        except OrganizationNotFound:
            return None
