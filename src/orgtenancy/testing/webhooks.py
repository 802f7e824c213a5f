"""Webhooks as Logto sends them: bodies of every shape, and their signatures."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

SIGNATURE_HEADER = "logto-signature-sha-256"


@dataclass(frozen=True, slots=True)
class SignedWebhook:
    """A delivery.

    Attributes:
        body: The raw body, as it was signed.
        headers: The headers to send with it.
    """

    body: bytes
    headers: Mapping[str, str]


def signed_webhook(body: Mapping[str, Any] | bytes, key: str) -> SignedWebhook:
    """Sign a body as Logto does.

    Args:
        body: The body, or the JSON object that it is.
        key: The webhook's signing key.
    """
    raw = body if isinstance(body, bytes) else _json(body)
    signature = hmac.new(key.encode(), raw, hashlib.sha256).hexdigest()
    headers = {"content-type": "application/json; charset=utf-8", SIGNATURE_HEADER: signature}
    return SignedWebhook(raw, headers)


def logto_webhook(
    kind: str,
    *,
    organization: str = "acme",
    user: str = "alice",
    at: datetime | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Return the body of a webhook, shaped as those of a running Logto 1.37.

    Args:
        kind: One of `WEBHOOKS`.
        organization: The organization's id.
        user: The user's id.
        at: When it happened; now if not given.
        **changes: Members of the body's `data` that are to be others, such as `name`.

    Raises:
        ValueError: If there is no such kind.
    """
    make = _MAKERS.get(kind)
    if make is None:
        raise ValueError(f"no webhook {kind!r}: there are {', '.join(WEBHOOKS)}")
    body = make(organization, user)
    if changes:
        body["data"] = {**body.get("data", {}), **changes}
    when = (datetime.now(UTC) if at is None else at.astimezone(UTC)).isoformat(
        timespec="milliseconds"
    )
    event = body.pop("event")
    common = {"userAgent": "management-api-client", "ip": "127.0.0.1"}
    created = {"event": event, "createdAt": when.replace("+00:00", "Z")}
    return {**created, **common, **body, "hookId": "hfn4gm3fuh55ypvdint6g"}


def _organization_created(organization: str, user: str) -> dict[str, Any]:
    return {
        "event": "Organization.Created",
        **_call("POST", 201, "/organizations"),
        "data": _organization(organization),
    }


def _organization_updated(organization: str, user: str) -> dict[str, Any]:
    return {
        "event": "Organization.Data.Updated",
        **_call("PATCH", 200, "/organizations/:id", id=organization),
        "data": _organization(organization),
    }


def _organization_deleted(organization: str, user: str) -> dict[str, Any]:
    return {
        "event": "Organization.Deleted",
        **_call("DELETE", 204, "/organizations/:id", id=organization),
    }


def _members_added(organization: str, user: str) -> dict[str, Any]:
    return {
        "event": "Organization.Membership.Updated",
        **_call("POST", 201, "/organizations/:id/users", id=organization),
        "organizationId": organization,
    }


def _applications_added(organization: str, user: str) -> dict[str, Any]:
    return {
        "event": "Organization.Membership.Updated",
        **_call("POST", 201, "/organizations/:id/applications", id=organization),
        "organizationId": organization,
    }


def _member_removed(organization: str, user: str) -> dict[str, Any]:
    route = "/organizations/:id/users/:userId"
    return {
        "event": "Organization.Membership.Updated",
        **_call("DELETE", 204, route, id=organization, userId=user),
        "organizationId": organization,
    }


def _user_suspended(organization: str, user: str) -> dict[str, Any]:
    return {
        "event": "User.SuspensionStatus.Updated",
        **_call("PATCH", 200, "/users/:userId/is-suspended", userId=user),
        "data": {**_user(user), "isSuspended": True},
    }


def _user_resumed(organization: str, user: str) -> dict[str, Any]:
    body = _user_suspended(organization, user)
    return {**body, "data": {**body["data"], "isSuspended": False}}


def _user_deleted(organization: str, user: str) -> dict[str, Any]:
    return {"event": "User.Deleted", **_call("DELETE", 204, "/users/:userId", userId=user)}


_MAKERS: Mapping[str, Callable[[str, str], dict[str, Any]]] = {
    "organization_created": _organization_created,
    "organization_updated": _organization_updated,
    "organization_deleted": _organization_deleted,
    "members_added": _members_added,
    "member_removed": _member_removed,
    "applications_added": _applications_added,
    "user_suspended": _user_suspended,
    "user_resumed": _user_resumed,
    # The only one that was not recorded, but read from Logto's documentation.
    "user_deleted": _user_deleted,
}

#: The kinds of webhooks that `logto_webhook` makes.
WEBHOOKS = tuple(_MAKERS)


def _call(method: str, status: int, route: str, **params: str) -> dict[str, Any]:
    path = route
    for name, value in params.items():
        path = path.replace(f":{name}", value)
    return {
        "path": path,
        "method": method,
        "status": status,
        "params": params,
        "matchedRoute": route,
    }


def _organization(organization: str) -> dict[str, Any]:
    return {
        "tenantId": "default",
        "id": organization,
        "name": organization,
        "description": None,
        "customData": {},
        "isMfaRequired": False,
        "color": {},
        "branding": {},
        "customCss": None,
        "createdAt": 1795408390885,
    }


def _user(user: str) -> dict[str, Any]:
    return {
        "id": user,
        "username": user,
        "primaryEmail": None,
        "primaryPhone": None,
        "name": None,
        "avatar": None,
        "customData": {},
        "identities": {},
        "lastSignInAt": None,
        "createdAt": 1795408391026,
        "updatedAt": 1795408402462,
        "profile": {},
        "applicationId": None,
        "isSuspended": False,
        "hasPassword": True,
    }


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
