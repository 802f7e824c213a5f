"""The model's groups, and who stands where in them."""

from __future__ import annotations

import re
from typing import Any

from orgtenancy.errors import Conflict, Forbidden, NotFound
from tests.community.machine.base import (
    Id,
    Plain,
    check,
    finds,
    newest_first,
    optional,
    person,
    text,
)
from tests.community.machine.people import People

ROLES = ("member", "moderator", "admin", "owner")
PRIVACIES = ("public", "private", "secret")

_is_slug = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}").fullmatch


class Groups(People):
    def __init__(self, home: int) -> None:
        super().__init__(home)
        self.groups: dict[Id, Plain] = {}
        self.members: dict[Id, dict[str, Plain]] = {}
        self.joined: dict[tuple[Id, str], tuple[int, int]] = {}

    # --- what others ask

    def status(self, group_id: Id, user_id: str) -> str | None:
        found = self.members.get(group_id, {}).get(user_id)
        return None if found is None else str(found["status"])

    def is_member(self, group_id: Id | None, user_id: str) -> bool:
        return group_id is not None and self.status(group_id, user_id) == "active"

    def role(self, group_id: Id | None, user_id: str) -> str | None:
        """Return the role of an active member."""
        if group_id is None or not self.is_member(group_id, user_id):
            return None
        return str(self.members[group_id][user_id]["role"])

    def moderates(self, group_id: Id | None, user_id: str) -> bool:
        return self.role(group_id, user_id) in ("moderator", "admin", "owner")

    def knows(self, group_id: Id, user_id: str) -> bool:
        group = self.groups.get(group_id)
        inside = self.status(group_id, user_id) in ("active", "invited")
        return group is not None and (group["privacy"] != "secret" or inside)

    def known(self, group_id: Id, user_id: str) -> Plain:
        if not self.knows(group_id, user_id):
            raise NotFound("no such group")
        return self.groups[group_id]

    def shown(self, group_id: Id) -> Plain:
        places = self.members[group_id].values()
        return {
            **self.groups[group_id],
            "member_count": sum(place["status"] == "active" for place in places),
        }

    # --- groups

    def groups_create(
        self,
        creator_id: str,
        name: str,
        slug: str | None,
        description: str | None,
        privacy: str,
        category: str | None,
    ) -> Plain:
        person(creator_id)
        values = _checked(
            {"name": name, "description": description, "privacy": privacy, "category": category}
        )
        if slug is None:
            slug = self._free_slug(re.sub("[^a-z0-9]+", "-", values["name"].lower()).strip("-"))
        else:
            check(_is_slug(slug))
            if self._by_slug(slug) is not None:
                raise Conflict("a slug is unique without regard to case")
        group_id = self.numbers.new("group")
        self.groups[group_id] = {
            "id": group_id,
            "slug": slug,
            "rules": None,
            **values,
            "owner_id": creator_id,
            "archived": False,
        }
        self.members[group_id] = {}
        self._place(group_id, creator_id, "active", role="owner")
        return self.shown(group_id)

    def groups_get_visible(self, group_id: Id, viewer: str) -> Plain:
        self.known(group_id, viewer)
        return self.shown(group_id)

    def groups_get_by_slug(self, slug: str, viewer: str) -> Plain:
        found = self._by_slug(slug)
        if found is None:
            raise NotFound("no such group")
        return self.groups_get_visible(found, viewer)

    def groups_find_visible(self, viewer: str, category: str | None) -> list[Plain]:
        category = optional(category, 60)
        return [
            self.shown(group_id)
            for group_id in self._by_name()
            if self.knows(group_id, viewer)
            and category in (None, self.groups[group_id]["category"])
        ]

    def groups_find_joined(self, user_id: str) -> list[Plain]:
        return [self.shown(key) for key in self._by_name() if self.is_member(key, user_id)]

    def groups_search(self, query: str, viewer: str) -> list[Plain]:
        finds(query, "")
        return [
            self.shown(key)
            for key in newest_first(self.groups)
            if self.knows(key, viewer)
            and finds(query, f"{self.groups[key]['name']} {self.groups[key]['description'] or ''}")
        ]

    def groups_update(self, group_id: Id, actor_id: str, **changes: Any) -> Plain:
        person(actor_id)
        values = _checked(changes)
        self._rank(group_id, actor_id, "admin")
        self._open(group_id)
        if "slug" in values and self._by_slug(values["slug"]) not in (None, group_id):
            raise Conflict("a slug is unique without regard to case")
        self.groups[group_id].update(values)
        return self.shown(group_id)

    def groups_archive(self, group_id: Id, actor_id: str) -> Plain:
        return self._archive(group_id, actor_id, archived=True)

    def groups_unarchive(self, group_id: Id, actor_id: str) -> Plain:
        return self._archive(group_id, actor_id, archived=False)

    # --- lists of members

    def members_find_members(self, group_id: Id, viewer: str) -> list[Plain]:
        group = self.known(group_id, viewer)
        if group["privacy"] != "public" and not self.is_member(group_id, viewer):
            raise Forbidden("its members see its members")
        return self._listed(group_id, "active")

    def members_find_requests(self, group_id: Id, actor_id: str) -> list[Plain]:
        self._rank(group_id, actor_id, "moderator")
        return self._listed(group_id, "requested")

    def members_find_invited(self, group_id: Id, actor_id: str) -> list[Plain]:
        self._rank(group_id, actor_id, "moderator")
        return self._listed(group_id, "invited")

    def members_find_banned(self, group_id: Id, actor_id: str) -> list[Plain]:
        self._rank(group_id, actor_id, "moderator")
        return self._listed(group_id, "banned")

    def members_find_invitations(self, user_id: str) -> list[Plain]:
        return [
            self.members[key][user_id]
            for key in sorted(self.groups)
            if self.status(key, user_id) == "invited"
        ]

    def members_memberships(self, user_id: str, group_ids: list[Id]) -> dict[Id, Plain]:
        return {
            key: self.members[key][user_id]
            for key in group_ids
            if user_id in self.members.get(key, {})
        }

    # --- the way in and out

    def members_join(self, group_id: Id, user_id: str) -> Plain:
        group = self._enter(group_id, user_id)
        status = self.status(group_id, user_id)
        if status == "active":
            return self.members[group_id][user_id]
        if group["privacy"] != "public" and status != "invited":
            raise Forbidden("one asks, or is invited")
        return self._place(group_id, user_id, "active")

    def members_request(self, group_id: Id, user_id: str) -> Plain:
        group = self._enter(group_id, user_id)
        status = self.status(group_id, user_id)
        if group["privacy"] == "public" or status == "active":
            raise Conflict("there is nothing to ask for")
        if status == "invited":
            return self._place(group_id, user_id, "active")
        return self._place(group_id, user_id, "requested")

    def members_accept(self, group_id: Id, user_id: str) -> Plain:
        person(user_id)
        self.known(group_id, user_id)
        self._open(group_id)  # told before there is no invitation
        self._require(group_id, user_id, "invited")
        return self._place(group_id, user_id, "active")

    def members_leave(self, group_id: Id, user_id: str) -> None:
        person(user_id)
        self.known(group_id, user_id)
        self._require(group_id, user_id, "active", "requested", "invited")
        self._keep_an_owner(group_id, user_id)
        del self.members[group_id][user_id]

    def members_approve(self, group_id: Id, actor_id: str, user_id: str) -> Plain:
        person(actor_id, user_id)
        self._rank(group_id, actor_id, "moderator")
        self._open(group_id)  # told before there is no request
        self._require(group_id, user_id, "requested")
        return self._place(group_id, user_id, "active")

    def members_reject(self, group_id: Id, actor_id: str, user_id: str) -> None:
        person(actor_id, user_id)
        self._rank(group_id, actor_id, "moderator")
        self._require(group_id, user_id, "requested")
        del self.members[group_id][user_id]

    def members_invite(self, group_id: Id, actor_id: str, user_id: str) -> Plain:
        person(actor_id, user_id)
        self._rank(group_id, actor_id, "moderator")
        self._open(group_id)
        status = self.status(group_id, user_id)
        if status in ("active", "banned"):
            raise Conflict("this person cannot be invited")
        if status == "invited":
            return self.members[group_id][user_id]
        self.require_people([user_id])
        wanted = "active" if status == "requested" else "invited"
        return self._place(group_id, user_id, wanted, invited_by=actor_id)

    def members_remove(self, group_id: Id, actor_id: str, user_id: str) -> None:
        check(actor_id != user_id)
        person(actor_id, user_id)
        self._rank(group_id, actor_id, "moderator")
        self._require(group_id, user_id, "active", "invited")
        self._command(group_id, actor_id, user_id)
        self._keep_an_owner(group_id, user_id)
        del self.members[group_id][user_id]

    def members_ban(self, group_id: Id, actor_id: str, user_id: str) -> Plain:
        check(actor_id != user_id)
        person(actor_id, user_id)
        self._rank(group_id, actor_id, "moderator")
        if user_id in self.members[group_id]:
            self._command(group_id, actor_id, user_id)
            self._keep_an_owner(group_id, user_id)
            del self.members[group_id][user_id]
        return self._place(group_id, user_id, "banned")

    def members_unban(self, group_id: Id, actor_id: str, user_id: str) -> None:
        person(actor_id, user_id)
        self._rank(group_id, actor_id, "moderator")
        self._require(group_id, user_id, "banned")
        del self.members[group_id][user_id]

    # --- roles

    def members_set_role(self, group_id: Id, actor_id: str, user_id: str, role: str) -> Plain:
        person(actor_id, user_id)
        check(role in ROLES)
        own = self._rank(group_id, actor_id, "admin")
        self._open(group_id)
        member = self._require(group_id, user_id, "active")
        steps_down = user_id == actor_id and ROLES.index(role) <= ROLES.index(own)
        if not steps_down:
            self._command(group_id, actor_id, user_id)
            if own != "owner" and ROLES.index(role) >= ROLES.index(own):
                raise Forbidden("one gives roles below one's own")
        if member["role"] == "owner" and role != "owner":
            self._keep_an_owner(group_id, user_id)
        member["role"] = role
        return member

    def members_transfer_ownership(self, group_id: Id, actor_id: str, user_id: str) -> Plain:
        check(actor_id != user_id)
        person(actor_id, user_id)
        self._rank(group_id, actor_id, "owner")
        self._open(group_id)
        member = self._require(group_id, user_id, "active")
        self.members[group_id][actor_id]["role"] = "admin"
        member["role"] = "owner"
        self.groups[group_id]["owner_id"] = user_id
        return member

    # --- the rules

    def _by_name(self) -> list[Id]:
        return sorted(self.groups, key=lambda key: (self.groups[key]["name"], key))

    def _by_slug(self, slug: str) -> Id | None:
        for key, group in self.groups.items():
            if group["slug"].lower() == slug.lower():
                return key
        return None

    def _free_slug(self, base: str) -> str:
        if self._by_slug(base) is None:
            return base
        chosen = self.adopted("slug")
        taken = self._by_slug(chosen) is not None
        return f"{base}-?" if taken or not re.fullmatch(f"{base}-[0-9a-f]+", chosen) else chosen

    def _archive(self, group_id: Id, actor_id: str, *, archived: bool) -> Plain:
        person(actor_id)
        self._rank(group_id, actor_id, "owner")
        self.groups[group_id]["archived"] = archived
        return self.shown(group_id)

    def _listed(self, group_id: Id, status: str) -> list[Plain]:
        places = self.members[group_id]
        return [places[user] for user in sorted(places) if places[user]["status"] == status]

    def _rank(self, group_id: Id, actor_id: str, least: str) -> str:
        self.known(group_id, actor_id)
        role = self.role(group_id, actor_id)
        if role is None or ROLES.index(role) < ROLES.index(least):
            raise Forbidden(f"not from {least} up")
        return role

    def _command(self, group_id: Id, actor_id: str, user_id: str) -> None:
        own = self.role(group_id, actor_id) or "member"
        other = self.members[group_id][user_id]["role"]
        if own != "owner" and ROLES.index(other) >= ROLES.index(own):
            raise Forbidden("one acts on members of a lower role than one's own")

    def _enter(self, group_id: Id, user_id: str) -> Plain:
        person(user_id)
        group = self.known(group_id, user_id)
        if self.status(group_id, user_id) == "banned":
            raise Forbidden("who is banned neither joins nor asks")
        self._open(group_id)
        return group

    def _open(self, group_id: Id) -> None:
        if self.groups[group_id]["archived"]:
            raise Conflict("the group is archived")

    def _require(self, group_id: Id, user_id: str, *statuses: str) -> Plain:
        if self.status(group_id, user_id) not in statuses:
            raise NotFound("no such member, request, invitation or ban")
        return self.members[group_id][user_id]

    def _keep_an_owner(self, group_id: Id, leaving: str) -> None:
        """Name another owner for one that leaves; the one who has been in for longest."""
        if self.role(group_id, leaving) != "owner":
            return
        places = self.members[group_id]
        others = [
            user for user in places if user != leaving and self.role(group_id, user) == "owner"
        ]
        if not others:
            raise Conflict("a group keeps an owner")
        if self.groups[group_id]["owner_id"] == leaving:
            heir = min(others, key=lambda user: (self.joined[group_id, user], user))
            self.groups[group_id]["owner_id"] = heir

    def _place(
        self,
        group_id: Id,
        user_id: str,
        status: str,
        *,
        role: str | None = None,
        invited_by: str | None = None,
    ) -> Plain:
        place = self.members[group_id].get(user_id)
        if place is None:
            place = self.members[group_id][user_id] = {
                "group_id": group_id,
                "user_id": user_id,
                "role": role or "member",
                "status": status,
                "invited_by": invited_by,
            }
        else:
            place |= {"status": status, "invited_by": invited_by or place["invited_by"]}
        if status == "active":
            self.joined[group_id, user_id] = self.now
        return place


def _checked(changes: dict[str, Any]) -> Plain:
    limits = {"description": 5000, "category": 60, "rules": 10_000}
    values: Plain = {}
    for field, value in changes.items():
        if field == "privacy":
            check(value in PRIVACIES)
        elif field == "slug":
            check(_is_slug(value))
        elif field == "name":
            value = text(value, 120)
        else:
            value = optional(value, limits[field])
        values[field] = value
    return values
