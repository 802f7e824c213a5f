"""What a test's Logto holds, and the webhooks that tell of each change to it.

The shapes are those of a running server: what it answers, and what it posts.
"""

from __future__ import annotations

import secrets
import string
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

_ALPHABET = string.digits + string.ascii_lowercase


class LogtoData:
    """Organizations, users and who is a member of what. Threads share it.

    Attributes:
        events: The bodies of the webhooks so far, the oldest first; nobody sends them.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._organizations: dict[str, dict[str, Any]] = {}
        self._users: dict[str, dict[str, Any]] = {}
        self._members: dict[str, dict[str, None]] = {}
        self._last_millisecond = 0
        self.events: list[dict[str, Any]] = []

    def organizations(self) -> list[dict[str, Any]]:
        """Return the organizations, the newest first."""
        with self._lock:
            return [dict(one) for one in reversed(self._organizations.values())]

    def organization(self, organization_id: str) -> dict[str, Any] | None:
        """Return an organization, or None."""
        with self._lock:
            found = self._organizations.get(organization_id)
            return None if found is None else dict(found)

    def members(self, organization_id: str) -> list[dict[str, Any]]:
        """Return the members of an organization, by id; none if there is no such one."""
        with self._lock:
            ids = sorted(self._members.get(organization_id, ()))
            return [{**self._users[user_id], "organizationRoles": []} for user_id in ids]

    def user(self, user_id: str) -> dict[str, Any] | None:
        """Return a user, or None."""
        with self._lock:
            found = self._users.get(user_id)
            return None if found is None else dict(found)

    def create_organization(
        self,
        name: str,
        *,
        organization_id: str | None = None,
        custom_data: Mapping[str, Any] | None = None,
    ) -> str:
        """Make an organization, and return its id.

        Args:
            name: The display name.
            organization_id: Its id; a random one if not given.
            custom_data: What is kept with it.
        """
        with self._lock:
            key = _new_id() if organization_id is None else organization_id
            entry = {
                "tenantId": "default",
                "id": key,
                "name": name,
                "description": None,
                "customData": dict(custom_data or {}),
                "isMfaRequired": False,
                "color": {},
                "branding": {},
                "customCss": None,
                "createdAt": self._now(),
            }
            self._organizations[key] = entry
            self._members[key] = {}
            self._tell("Organization.Created", "POST", "/organizations", {}, 201, data=dict(entry))
            return key

    def update_organization(
        self,
        organization_id: str,
        *,
        name: str | None = None,
        custom_data: Mapping[str, Any] | None = None,
    ) -> None:
        """Change the name of an organization, or what is kept with it.

        Raises:
            KeyError: If there is no such organization.
        """
        with self._lock:
            entry = self._organizations[organization_id]
            if name is not None:
                entry["name"] = name
            if custom_data is not None:
                entry["customData"] = dict(custom_data)
            route, params = "/organizations/:id", {"id": organization_id}
            self._tell("Organization.Data.Updated", "PATCH", route, params, 200, data=dict(entry))

    def delete_organization(self, organization_id: str) -> None:
        """Delete an organization, with its memberships.

        Raises:
            KeyError: If there is no such organization.
        """
        with self._lock:
            del self._organizations[organization_id]
            del self._members[organization_id]
            route, params = "/organizations/:id", {"id": organization_id}
            self._tell("Organization.Deleted", "DELETE", route, params, 204)

    def create_user(
        self, username: str, *, user_id: str | None = None, name: str | None = None
    ) -> str:
        """Make a user, and return the id.

        Args:
            username: The user name.
            user_id: The id; a random one if not given.
            name: The display name.
        """
        with self._lock:
            key, now = _new_id() if user_id is None else user_id, self._now()
            self._users[key] = {
                "id": key,
                "username": username,
                "primaryEmail": None,
                "primaryPhone": None,
                "name": name,
                "avatar": None,
                "customData": {},
                "identities": {},
                "lastSignInAt": None,
                "createdAt": now,
                "updatedAt": now,
                "profile": {},
                "applicationId": None,
                "isSuspended": False,
            }
            self._tell("User.Created", "POST", "/users", {}, 200, data=dict(self._users[key]))
            return key

    def suspend_user(self, user_id: str, *, suspended: bool = True) -> None:
        """Shut a user out of everything, or let one in again.

        Raises:
            KeyError: If there is no such user.
        """
        with self._lock:
            entry = self._users[user_id]
            entry.update(isSuspended=suspended, updatedAt=self._now())
            event, route = "User.SuspensionStatus.Updated", "/users/:userId/is-suspended"
            data = {**entry, "hasPassword": True}
            self._tell(event, "PATCH", route, {"userId": user_id}, 200, data=data)

    def delete_user(self, user_id: str) -> None:
        """Delete a user, with all memberships.

        Raises:
            KeyError: If there is no such user.
        """
        with self._lock:
            del self._users[user_id]
            for members in self._members.values():
                members.pop(user_id, None)
            self._tell("User.Deleted", "DELETE", "/users/:userId", {"userId": user_id}, 204)

    def add_members(self, organization_id: str, user_ids: Iterable[str]) -> None:
        """Make users members of an organization; those who are ones stay ones.

        Raises:
            KeyError: If there is no such organization, or no such user.
        """
        with self._lock:
            found = {user_id: None for user_id in user_ids if self._users[user_id]}
            self._members[organization_id].update(found)
            self._tell_members(organization_id, "POST", "/organizations/:id/users", 201)

    def remove_member(self, organization_id: str, user_id: str) -> None:
        """End a membership.

        Raises:
            KeyError: If there is no such membership.
        """
        with self._lock:
            del self._members[organization_id][user_id]
            route = "/organizations/:id/users/:userId"
            self._tell_members(organization_id, "DELETE", route, 204, userId=user_id)

    def is_member(self, organization_id: str, user_id: str) -> bool:
        """Return whether a user is a member of an organization."""
        with self._lock:
            return user_id in self._members.get(organization_id, ())

    def webhook(
        self,
        event: str,
        method: str,
        route: str,
        params: Mapping[str, str],
        status: int,
        *,
        at: datetime | None = None,
        **content: Any,
    ) -> dict[str, Any]:
        """Return the body of a webhook, as the server would post it; it is not in `events`.

        Args:
            event: Its name.
            method: How the Management API was called.
            route: Which path of it, with names for what varies.
            params: What these names stood for.
            status: What the call was answered with.
            at: When it happened; now if not given.
            **content: What is told besides, such as `data`.
        """
        if at is None:
            at = datetime.fromtimestamp(self._now() / 1000, UTC)
        path = "/".join(params.get(part[1:], part) for part in route.split("/"))
        return {
            "event": event,
            "createdAt": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "userAgent": "management-api-client",
            "ip": "127.0.0.1",
            "path": path,
            "method": method,
            "status": status,
            "params": dict(params),
            "matchedRoute": route,
            **content,
            "hookId": "orgtenancy-tests",
        }

    def _tell_members(
        self, organization_id: str, method: str, route: str, status: int, **params: str
    ) -> None:
        self._tell(
            "Organization.Membership.Updated",
            method,
            route,
            {"id": organization_id, **params},
            status,
            organizationId=organization_id,
        )

    def _tell(self, *args: Any, **content: Any) -> None:
        self.events.append(self.webhook(*args, **content))

    def _now(self) -> int:
        """Return milliseconds, never the same twice: the order of events is theirs."""
        with self._lock:
            self._last_millisecond = max(self._last_millisecond + 1, time.time_ns() // 1_000_000)
            return self._last_millisecond


def _new_id() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(12))
