"""The model's people, and the log of what they did."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from orgtenancy.errors import Conflict, Forbidden, Invalid, NotFound
from tests.community.machine.base import Base, Id, Plain, check, optional, person, storable, text
from tests.community.machine.base import url as checked_url

_is_username = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}").fullmatch
_is_action = re.compile(r"[a-z0-9_.]{1,100}").fullmatch


class People(Base):
    def __init__(self, home: int) -> None:
        super().__init__(home)
        self.profiles: dict[str, Plain] = {}
        self.log: dict[Id, Plain] = {}
        self.logged_at: dict[Id, tuple[int, int]] = {}

    # --- what others ask

    def is_active(self, user_id: str) -> bool:
        return self.profiles.get(user_id, {}).get("status") == "active"

    def is_deactivated(self, user_id: str) -> bool:
        return self.profiles.get(user_id, {}).get("status") == "deactivated"

    def name_of(self, user_id: str) -> str | None:
        profile = self.profiles.get(user_id)
        return None if profile is None else profile["username"]

    def require_people(self, user_ids: list[str]) -> None:
        if not all(map(self.is_active, user_ids)):
            raise NotFound("a person without an active profile")

    # --- profiles

    def profiles_get(self, key: str) -> Plain | None:
        return self.profiles.get(key)

    def profiles_get_many(self, keys: list[str]) -> list[Plain]:
        return [self.profiles[key] for key in dict.fromkeys(keys) if key in self.profiles]

    def profiles_exists(self, key: str) -> bool:
        return key in self.profiles

    def profiles_get_by_username(self, username: str) -> Plain | None:
        return self._by_username(username)

    def profiles_list(self) -> list[Plain]:
        return [self.profiles[key] for key in sorted(self.profiles)]

    def profiles_search(self, query: str) -> list[Plain]:
        wanted = re.findall(r"\w+", text(query, 200).lower())
        check(wanted)
        found = []
        for profile in self.profiles.values():
            shown = f"{profile['username']} {profile['display_name'] or ''}".lower()
            words = re.findall(r"[a-z0-9]+", shown)
            if profile["status"] == "active" and all(
                any(word.startswith(begin) for word in words) for begin in wanted
            ):
                found.append(profile)
        return sorted(found, key=lambda profile: str(profile["username"]))

    def profiles_upsert_from_claims(self, claims: Mapping[str, Any]) -> Plain:
        user_id = claims.get("sub", "")
        person(user_id)
        name, picture = claims.get("name"), claims.get("picture")
        known = {
            "display_name": name.strip() if isinstance(name, str) and name.strip() else None,
            "avatar_url": picture if str(picture).startswith("https://") else None,
        }
        profile = self.profiles.get(user_id)
        if profile is None:
            names = [claims.get("username"), claims.get("name")]
            claimed = next((n.strip() for n in names if isinstance(n, str) and n.strip()), "user")
            profile = {
                "user_id": user_id,
                "username": self._free(claimed.replace(" ", "-")),
                "display_name": None,
                "bio": None,
                "avatar_url": None,
                "metadata": {},
                "status": "active",
            }
            self.profiles[user_id] = profile
        if profile["status"] == "active":
            for field, value in known.items():
                profile[field] = profile[field] if profile[field] is not None else value
        return profile

    def profiles_update(self, user_id: str, **changes: Any) -> Plain:
        person(user_id)
        checks: dict[str, Callable[[Any], Any]] = {
            "username": _username,
            "display_name": lambda value: optional(value, 120),
            "bio": lambda value: optional(value, 2000),
            "avatar_url": checked_url,
            "metadata": dict,
        }
        values = {field: checks[field](value) for field, value in changes.items()}
        profile = self._known(user_id)
        if profile["status"] != "active":
            raise Forbidden("only an active profile changes")
        holder = self._by_username(values["username"]) if "username" in values else None
        if holder is not None and holder is not profile:
            raise Conflict("a user name is unique without regard to case")
        profile.update(values)
        return profile

    def profiles_deactivate(self, user_id: str) -> Plain:
        return self._set_status(user_id, "deactivated")

    def profiles_reactivate(self, user_id: str) -> Plain:
        return self._set_status(user_id, "active")

    def profiles_anonymize(self, user_id: str) -> Plain:
        person(user_id)
        profile = self._known(user_id)
        if profile["status"] != "anonymized":
            chosen = self.adopted("username")
            profile |= {
                "username": chosen if chosen.startswith("former-") else "former-?",
                "display_name": None,
                "bio": None,
                "avatar_url": None,
                "metadata": {},
                "status": "anonymized",
            }
        for record in self.log.values():
            if record["user_id"] == user_id:
                record |= {"ip_address": None, "metadata": {}}
        return profile

    def _known(self, user_id: str) -> Plain:
        if user_id not in self.profiles:
            raise NotFound("no such profile")
        return self.profiles[user_id]

    def _set_status(self, user_id: str, status: str) -> Plain:
        person(user_id)
        profile = self._known(user_id)
        if profile["status"] == "anonymized":
            raise Conflict("an anonymized profile does not come back")
        profile["status"] = status
        return profile

    def _by_username(self, username: str) -> Plain | None:
        for profile in self.profiles.values():
            if profile["username"].lower() == username.lower():
                return profile
        return None

    def _free(self, base: str) -> str:
        if self._by_username(base) is None:
            return base
        chosen = self.adopted("username")
        taken = self._by_username(chosen) is not None
        return f"{base}-?" if taken or not re.fullmatch(f"{base}-[0-9a-f]+", chosen) else chosen

    # --- the log

    def activity_record(
        self,
        action: str,
        user_id: str | None,
        entity_type: str | None,
        entity_id: str | None,
        metadata: dict[str, Any],
        ip_address: str | None,
    ) -> Plain:
        check(_is_action(action))
        if user_id is not None:
            person(user_id)
        for value in (entity_type, entity_id):
            check(value is None or (storable(value) and 1 <= len(value) <= 255))
        check(ip_address is None or ip_address[0].isdigit())
        record = {
            "id": self.numbers.new("log"),
            "user_id": user_id,
            "action": action,
            "entity_type": entity_type,
            "entity_id": entity_id,
            "metadata": metadata,
            "ip_address": ip_address,
        }
        self.log[record["id"]] = record  # type: ignore[index]
        self.logged_at[record["id"]] = self.now  # type: ignore[index]
        return record

    def activity_find(self, user_id: str | None, action: str | None) -> list[Plain]:
        return [
            record
            for key, record in sorted(self.log.items(), reverse=True)
            if user_id in (None, record["user_id"]) and action in (None, record["action"])
        ]

    def activity_for_target(self, entity_type: str, entity_id: str) -> list[Plain]:
        return [
            record
            for key, record in sorted(self.log.items(), reverse=True)
            if (record["entity_type"], record["entity_id"]) == (entity_type, entity_id)
        ]

    def activity_purge(self, before: datetime, batch: int) -> int:
        check(before.tzinfo is not None and 1 <= batch <= 10_000)
        past = before.year < 2020
        doomed = [] if past else sorted(self.log, key=self.logged_at.__getitem__)[:batch]
        for key in doomed:
            del self.log[key]
        return len(doomed)


def _username(value: str) -> str:
    if not _is_username(value):
        raise Invalid("no user name")
    return value
