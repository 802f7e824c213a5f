"""The model's conversations and messages, and with them the whole of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from orgtenancy.errors import Conflict, Forbidden, NotFound
from tests.community.machine.base import Id, Plain, check, newest_first, optional, person, text, url
from tests.community.machine.posts import Posts

WITHOUT_END = datetime(9999, 12, 31, tzinfo=UTC)


class Model(Posts):
    """Everything that the community's rules say of one organization."""

    def __init__(self, home: int) -> None:
        super().__init__(home)
        self.conversations: dict[Id, Plain] = {}
        self.touched: dict[Id, tuple[int, int]] = {}
        self.places: dict[Id, dict[str, Plain]] = {}
        self.messages: dict[Id, Plain] = {}
        self.old: set[Id] = set()

    def takes_part(self, conversation_id: Id, user_id: str) -> bool:
        place = self.places.get(conversation_id, {}).get(user_id)
        return place is not None and not place["left"]

    def taking_part(self, conversation_id: Id, user_id: str) -> Plain:
        if not self.takes_part(conversation_id, user_id):
            raise NotFound("no such conversation")
        return self.conversations[conversation_id]

    # --- conversations

    def conversations_open_direct(self, user_id: str, other_id: str) -> Plain:
        person(user_id, other_id)
        check(user_id != other_id)
        for key, conversation in self.conversations.items():
            if conversation["type"] == "direct" and {*self.places[key]} == {user_id, other_id}:
                return conversation
        self.require_people([other_id])
        return self._begin("direct", None, [user_id, other_id])

    def conversations_create(
        self, creator_id: str, participant_ids: list[str], name: str | None
    ) -> Plain:
        person(creator_id, *participant_ids)
        name = optional(name, 120)
        others = [user for user in dict.fromkeys(participant_ids) if user != creator_id]
        check(1 <= len(others) < 100)
        self.require_people(others)
        return self._begin("group", name, [creator_id, *others])

    def conversations_get_visible(self, conversation_id: Id, user_id: str) -> Plain:
        return self.taking_part(conversation_id, user_id)

    def conversations_find_for(self, user_id: str) -> list[Plain]:
        mine = [key for key in self.conversations if self.takes_part(key, user_id)]
        newest = sorted(mine, key=lambda key: (self.touched[key], key), reverse=True)
        return [self.conversations[key] for key in newest]

    def conversations_rename(self, conversation_id: Id, user_id: str, name: str | None) -> Plain:
        person(user_id)
        name = optional(name, 120)
        conversation = self.taking_part(conversation_id, user_id)
        if conversation["type"] == "direct":
            raise Conflict("a direct conversation is not renamed")
        conversation["name"] = name
        self.touched[conversation_id] = self.clock
        return conversation

    def _begin(self, kind: str, name: str | None, people: list[str]) -> Plain:
        key = self.numbers.new("talk")
        self.conversations[key] = {
            "id": key,
            "type": kind,
            "name": name,
            "created_by": people[0],
            "last_sequence": 0,
        }
        self.touched[key] = self.now
        self.places[key] = {user: _place(key, user, 0) for user in people}
        return self.conversations[key]

    # --- participants

    def participants_find_present(self, conversation_id: Id, user_id: str) -> list[Plain]:
        self.taking_part(conversation_id, user_id)
        return self._present(conversation_id)

    def participants_present_in(self, conversation_ids: list[Id]) -> dict[Id, list[Plain]]:
        return {key: self._present(key)[:10] for key in conversation_ids}

    def participants_positions(self, user_id: str, conversation_ids: list[Id]) -> dict[Id, Plain]:
        return {
            key: self.places[key][user_id]
            for key in conversation_ids
            if self.takes_part(key, user_id)
        }

    def participants_invite(
        self, conversation_id: Id, user_id: str, invited_ids: list[str]
    ) -> list[Plain]:
        person(user_id, *invited_ids)
        check(invited_ids)
        conversation = self.taking_part(conversation_id, user_id)
        if conversation["type"] == "direct":
            raise Conflict("a direct conversation is not joined by others")
        wanted = list(dict.fromkeys(invited_ids))
        new = [user for user in wanted if not self.takes_part(conversation_id, user)]
        self.require_people(new)
        places = self.places[conversation_id]
        for user in new:
            muted = places[user]["muted_until"] if user in places else None
            places[user] = _place(conversation_id, user, conversation["last_sequence"], muted)
        return [places[user] for user in wanted]

    def participants_leave(self, conversation_id: Id, user_id: str) -> None:
        person(user_id)
        if self.taking_part(conversation_id, user_id)["type"] == "direct":
            raise Conflict("a direct conversation is not left")
        self.places[conversation_id][user_id]["left"] = True

    def participants_mute(self, conversation_id: Id, user_id: str, until: datetime | None) -> Plain:
        person(user_id)
        check(until is None or (until.tzinfo is not None and until.year > 2050))
        self.taking_part(conversation_id, user_id)
        place = self.places[conversation_id][user_id]
        place["muted_until"] = WITHOUT_END if until is None else until
        return place

    def participants_unmute(self, conversation_id: Id, user_id: str) -> Plain:
        person(user_id)
        self.taking_part(conversation_id, user_id)
        place = self.places[conversation_id][user_id]
        place["muted_until"] = None
        return place

    def participants_mark_read(self, conversation_id: Id, user_id: str, sequence: int) -> int:
        person(user_id)
        last = self.taking_part(conversation_id, user_id)["last_sequence"]
        place = self.places[conversation_id][user_id]
        reached = min(sequence, last)
        if reached > place["last_read_sequence"]:
            place |= {"last_read_sequence": reached, "read": True}
        return int(place["last_read_sequence"])

    def participants_unread_counts(self, user_id: str) -> dict[Id, int]:
        unread = {
            key: sum(
                message["sequence"] > self.places[key][user_id]["last_read_sequence"]
                and message["sender_id"] != user_id
                and not message["deleted"]
                for message in self._said(key)
            )
            for key in self.conversations
            if self.takes_part(key, user_id)
        }
        return {key: number for key, number in unread.items() if number}

    def _present(self, conversation_id: Id) -> list[Plain]:
        places = self.places.get(conversation_id, {})
        return [places[user] for user in sorted(places) if not places[user]["left"]]

    # --- messages

    def messages_send(
        self,
        conversation_id: Id,
        sender_id: str,
        content: str | None,
        media_url: str | None,
        client_key: str | None,
    ) -> Plain:
        person(sender_id)
        content, media_url = optional(content, 10_000), url(media_url)
        check(content is not None or media_url is not None)
        client_key = None if client_key is None else text(client_key, 100)
        conversation = self.taking_part(conversation_id, sender_id)
        if client_key is not None:
            for message in self._said(conversation_id):
                if (message["sender_id"], message["client_key"]) == (sender_id, client_key):
                    return message
        conversation["last_sequence"] += 1
        self.touched[conversation_id] = self.clock
        key = self.numbers.new("message")
        self.messages[key] = {
            "id": key,
            "conversation_id": conversation_id,
            "sender_id": sender_id,
            "sequence": conversation["last_sequence"],
            "type": "media" if content is None else "text",
            "content": content,
            "media_url": media_url,
            "client_key": client_key,
            "edited": False,
            "deleted": False,
            "flags": [],
        }
        return self.messages[key]

    def messages_get_visible(self, message_id: Id, user_id: str) -> Plain:
        message = self.messages.get(message_id)
        if message is None or not self.takes_part(message["conversation_id"], user_id):
            raise NotFound("no such message")
        return message

    def messages_list_before(
        self, conversation_id: Id, user_id: str, before: int | None
    ) -> list[Plain]:
        self.taking_part(conversation_id, user_id)
        said = self._said(conversation_id)[::-1]
        return [message for message in said if before is None or message["sequence"] < before]

    def messages_list_after(self, conversation_id: Id, user_id: str, after: int) -> list[Plain]:
        self.taking_part(conversation_id, user_id)
        return [message for message in self._said(conversation_id) if message["sequence"] > after]

    def messages_last_messages(self, conversation_ids: list[Id]) -> dict[Id, Plain]:
        return {
            key: self._said(key)[-1]
            for key in conversation_ids
            if key in self.conversations and self._said(key)
        }

    def messages_edit(self, message_id: Id, user_id: str, content: str) -> Plain:
        person(user_id)
        content = text(content, 10_000)
        message = self.messages_get_visible(message_id, user_id)
        if message["sender_id"] != user_id:
            raise Forbidden("only its sender edits a message")
        if message["deleted"]:
            raise Conflict("a deleted message is not edited")
        if message_id in self.old:
            raise Forbidden("the time to edit is over")
        message |= {"content": content, "type": "text", "edited": True}
        return message

    def messages_soft_delete(self, message_id: Id, user_id: str, moderating: bool) -> bool:
        person(user_id)
        if moderating:
            if message_id not in self.messages:
                raise NotFound("no such message")
        elif self.messages_get_visible(message_id, user_id)["sender_id"] != user_id:
            raise Forbidden("its sender, or a moderator")
        return _delete(self.messages[message_id])

    def messages_flag(self, message_id: Id, user_id: str, reason: str | None) -> bool:
        person(user_id)
        reason = optional(reason, 500)
        message = self.messages_get_visible(message_id, user_id)
        if message["sender_id"] == user_id:
            raise Forbidden("one does not flag one's own message")
        if message["deleted"]:
            raise Conflict("a deleted message is not flagged")
        if any(flag[0] == user_id for flag in message["flags"]):
            return False
        message["flags"].append((user_id, reason))
        return True

    def messages_find_flagged(self) -> list[Plain]:
        return [self.messages[key] for key in sorted(self.messages) if self.messages[key]["flags"]]

    def messages_resolve_flags(self, message_id: Id, remove: bool) -> Plain:
        if message_id not in self.messages:
            raise NotFound("no such message")
        message = self.messages[message_id]
        if not message["flags"]:
            raise Conflict("there is nothing to answer")
        message["flags"] = []
        if remove:
            _delete(message)
        return message

    def _said(self, conversation_id: Id) -> list[Plain]:
        said = [m for m in self.messages.values() if m["conversation_id"] == conversation_id]
        return sorted(said, key=lambda message: int(message["sequence"]))

    # --- all of it

    def rows(self) -> dict[str, Any]:
        """Return everything that is stored, in the order of its keys."""
        return {
            "profiles": [self.profiles[key] for key in sorted(self.profiles)],
            "groups": [self.shown(key) for key in sorted(self.groups)],
            "members": [
                self.members[key][user]
                for key in sorted(self.members)
                for user in sorted(self.members[key])
            ],
            "posts": [
                (self.shown_post(key), self.deleted_posts.get(key)) for key in sorted(self.posts)
            ],
            "likes": [
                (key, user) for key in sorted(self.likes) for user in sorted(self.likes[key])
            ],
            "comments": [self.shown_comment(key) for key in sorted(self.comments)],
            "conversations": [self.conversations[key] for key in sorted(self.conversations)],
            "places": [
                self.places[key][user]
                for key in sorted(self.places)
                for user in sorted(self.places[key])
            ],
            "messages": [self.messages[key] for key in sorted(self.messages)],
            "log": [self.log[key] for key in sorted(self.log)],
        }

    def insiders(self, about: Id | None) -> list[str]:
        """Return who has to do with something."""
        match about:
            case Id("post") if about in self.posts:
                author = self.posts[about]["user_id"]
                return [author, *self.insiders(self.posts[about]["group_id"])]
            case Id("comment") if about in self.comments:
                comment = self.comments[about]
                return [comment["user_id"], *self.insiders(comment["post_id"])]
            case Id("group"):
                return list(self.members.get(about, ()))
            case Id("talk"):
                return list(self.places.get(about, ()))
            case Id("message") if about in self.messages:
                message = self.messages[about]
                return [message["sender_id"], *self.places[message["conversation_id"]]]
        return []

    def everything(self, kind: str) -> list[Id]:
        """Return all ids of one kind, the newest first, with those of what was deleted."""
        tables: dict[str, Any] = {
            "group": self.groups,
            "post": self.posts,
            "comment": self.comments,
            "talk": self.conversations,
            "message": self.messages,
        }
        return newest_first(tables[kind])


def _place(key: Id, user_id: str, sequence: int, muted_until: datetime | None = None) -> Plain:
    return {
        "conversation_id": key,
        "user_id": user_id,
        "last_read_sequence": sequence,
        "read": False,
        "muted_until": muted_until,
        "left": False,
    }


def _delete(message: Plain) -> bool:
    was_there = not message["deleted"]
    if was_there:
        message |= {"content": None, "media_url": None, "flags": [], "deleted": True}
    return was_there
