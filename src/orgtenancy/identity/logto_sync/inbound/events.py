"""What Logto's webhooks say: a body, and what is to be done for it.

The shapes are those of a running server, Logto 1.37. Bodies are read once they are known to be
signed, so what is odd here is a version that nobody has seen yet: nothing raises for it but a
body that says neither what happened nor when.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from orgtenancy.registry.members import ActorStatus

CREATED: Final = "Organization.Created"
UPDATED: Final = "Organization.Data.Updated"
DELETED: Final = "Organization.Deleted"
MEMBERSHIP: Final = "Organization.Membership.Updated"
SUSPENSION: Final = "User.SuspensionStatus.Updated"
USER_DELETED: Final = "User.Deleted"

# What is the same after the newest of them, whichever came before. Logto gives no id twice,
# so a deletion counts whatever its time.
_NEWER_ONES: Mapping[str, bool] = {CREATED: False, UPDATED: False, DELETED: True}

#: By event, the events of the same subject that leave nothing to be done for it: those that
#: happened later, and where it says True also those that happened earlier.
SUPERSEDED_BY: Mapping[str, Mapping[str, bool]] = {CREATED: _NEWER_ONES, UPDATED: _NEWER_ONES}

#: What a body has that says who was removed from an organization.
REMOVAL: Mapping[str, str] = {
    "method": "DELETE",
    "matchedRoute": "/organizations/:id/users/:userId",
}

# Longer ones are none of Logto's, and might not fit into an index.
_MAX_NAME = 256  # characters


@dataclass(frozen=True, slots=True)
class ProvisionOrganization:
    """An organization is to be there, under this name.

    Attributes:
        organization_id: Its id.
        name: Its display name, or None if the body has none.
        data: All that Logto said of it.
    """

    organization_id: str
    name: str | None
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ArchiveOrganization:
    """An organization was deleted at Logto."""

    organization_id: str


@dataclass(frozen=True, slots=True)
class RemoveMember:
    """Somebody is no member of an organization any more."""

    organization_id: str
    actor_id: str


@dataclass(frozen=True, slots=True)
class RefreshMembers:
    """The members of an organization changed; the body does not say how."""

    organization_id: str


@dataclass(frozen=True, slots=True)
class SetActor:
    """Somebody was suspended, let in again, or deleted, whatever the organization."""

    actor_id: str
    status: ActorStatus


@dataclass(frozen=True, slots=True)
class Ignore:
    """Nothing is to be done."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """The event is one that matters, but its body lacks what it takes.

    Attributes:
        reason: What it lacks, for people.
    """

    reason: str


Action: TypeAlias = (
    ProvisionOrganization
    | ArchiveOrganization
    | RemoveMember
    | RefreshMembers
    | SetActor
    | Ignore
    | Unusable
)


@dataclass(frozen=True, slots=True)
class LogtoEvent:
    """What a body says.

    Attributes:
        name: Logto's name of what happened.
        subject: The organization, or the user, that it is about; empty if nothing is to be done.
        occurred_at: When it happened.
    """

    name: str
    subject: str
    occurred_at: datetime


def read_event(body: Mapping[str, Any]) -> LogtoEvent:
    """Return what a body is about.

    Raises:
        ValueError: If it does not say what happened, or when.
    """
    name, when = _text(body.get("event")), body.get("createdAt")
    if name is None:
        raise ValueError("the body has no text `event`")
    try:
        occurred_at = datetime.fromisoformat(when) if isinstance(when, str) else None
    except ValueError:
        occurred_at = None
    if occurred_at is None or occurred_at.tzinfo is None:
        raise ValueError("the body has no ISO time with a zone in `createdAt`")
    return LogtoEvent(name, _subject(action_of(body)), occurred_at)


def action_of(body: Mapping[str, Any]) -> Action:
    """Return what is to be done for a body."""
    match body.get("event"):
        case "Organization.Created" | "Organization.Data.Updated":
            return _provisioning(_mapping(body.get("data")))
        case "Organization.Deleted":
            # It has no `data`.
            organization_id = _text(_mapping(body.get("params")).get("id"))
            if organization_id is None:
                return Unusable("no params.id")
            return ArchiveOrganization(organization_id)
        case "Organization.Membership.Updated":
            return _membership(body)
        case "User.SuspensionStatus.Updated":
            return _suspension(_mapping(body.get("data")))
        case "User.Deleted":
            params, data = _mapping(body.get("params")), _mapping(body.get("data"))
            actor_id = _text(params.get("userId")) or _text(data.get("id"))
            return (
                Unusable("no params.userId") if actor_id is None else SetActor(actor_id, "deleted")
            )
        case _:
            return Ignore()


def _provisioning(data: Mapping[str, Any]) -> Action:
    organization_id, name = _text(data.get("id")), data.get("name")
    if organization_id is None:
        return Unusable("no data.id")
    return ProvisionOrganization(
        organization_id, name if isinstance(name, str) and name else None, data
    )


def _membership(body: Mapping[str, Any]) -> Action:
    params = _mapping(body.get("params"))
    organization_id = _text(body.get("organizationId")) or _text(params.get("id"))
    if organization_id is None:
        return Unusable("no organizationId")
    actor_id = _text(params.get("userId"))
    if actor_id is not None and REMOVAL.items() <= body.items():
        return RemoveMember(organization_id, actor_id)
    return RefreshMembers(organization_id)


def _suspension(data: Mapping[str, Any]) -> Action:
    actor_id, is_suspended = _text(data.get("id")), data.get("isSuspended")
    if actor_id is None or not isinstance(is_suspended, bool):
        return Unusable("no data.id, or no data.isSuspended")
    return SetActor(actor_id, "suspended" if is_suspended else "active")


def _subject(action: Action) -> str:
    match action:
        case SetActor(actor_id=subject):
            return subject
        case Ignore() | Unusable():
            return ""
        case _:
            return action.organization_id


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    """Return a value if it can be an id or a name of Logto's, and be stored as one."""
    is_one = isinstance(value, str) and 0 < len(value) <= _MAX_NAME and value.isprintable()
    return value if is_one else None
