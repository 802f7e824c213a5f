"""Who and what a large organization has for the operations to be about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final
from uuid import UUID

import psycopg
from psycopg import sql

from tests.benchmarks import community_data as data


@dataclass(frozen=True)
class Cast:
    """Who and what the operations are about; each field is found by the query beside it."""

    joiner: str  # of the most groups
    loner: str  # of the fewest
    post: UUID  # the most discussed one
    author: str
    group_post: UUID
    thread: UUID  # the longest
    commenter: str
    comment: UUID
    group: UUID  # the largest private one
    owner: str
    member: str
    asking: str
    invited: str
    banned: str
    stranger: str
    open_group: UUID  # the largest public one
    opener: str
    outsider: str
    talk: UUID  # the largest conversation of the busiest person
    talker: str
    direct: UUID
    partner: str
    silent: str  # in none of them
    message: UUID
    sender: str
    flagged: UUID


_MEMBERS = "SELECT user_id FROM group_members WHERE group_id = '{group}'"
_DISCUSSED = "posts WHERE visibility = 'public' AND locked_at IS NULL AND deleted_at IS NULL"
_STRANGER = (
    "SELECT user_id FROM user_profiles p WHERE status = 'active' AND NOT EXISTS "
    "(SELECT FROM group_members m WHERE m.user_id = p.user_id AND group_id = '{}') LIMIT 1"
)
_LARGEST = "SELECT id FROM groups WHERE privacy = '{}' ORDER BY member_count DESC LIMIT 1"
_BY_GROUPS = "SELECT user_id FROM group_members GROUP BY 1 ORDER BY count(*) {}, 1 LIMIT 1"

_QUERIES: Final[Mapping[str, str]] = {
    "joiner": _BY_GROUPS.format("DESC"),
    "loner": _BY_GROUPS.format("ASC"),
    "post": f"SELECT id FROM {_DISCUSSED} ORDER BY comments_count DESC LIMIT 1",
    "author": "SELECT user_id FROM posts WHERE id = '{post}'",
    "thread": "SELECT path[1] FROM post_comments WHERE depth > 0 GROUP BY 1 "
    "ORDER BY count(*) DESC LIMIT 1",
    "comment": "SELECT id FROM post_comments WHERE post_id = '{post}' AND content IS NOT NULL "
    "AND depth = 1 ORDER BY id DESC LIMIT 1",
    "commenter": "SELECT user_id FROM post_comments WHERE id = '{comment}'",
    "group": _LARGEST.format("private"),
    "group_post": "SELECT id FROM posts WHERE group_id = '{group}' AND deleted_at IS NULL "
    "ORDER BY id DESC LIMIT 1",
    "owner": "SELECT owner_id FROM groups WHERE id = '{group}'",
    "member": f"{_MEMBERS} AND status = 'active' AND role = 'member' LIMIT 1",
    "asking": f"{_MEMBERS} AND status = 'requested' LIMIT 1",
    "invited": f"{_MEMBERS} AND status = 'invited' LIMIT 1",
    "banned": f"{_MEMBERS} AND status = 'banned' LIMIT 1",
    "stranger": _STRANGER.format("{group}"),
    "open_group": _LARGEST.format("public"),
    "opener": "SELECT owner_id FROM groups WHERE id = '{open_group}'",
    "outsider": _STRANGER.format("{open_group}"),
    "talk": "SELECT conversation_id FROM conversation_participants "
    "JOIN conversations ON id = conversation_id AND type = 'group' AND user_id = '{heavy}' "
    "ORDER BY last_sequence DESC LIMIT 1",
    "talker": "SELECT user_id FROM conversation_participants WHERE conversation_id = '{talk}' "
    "AND left_at IS NULL AND user_id <> '{heavy}' LIMIT 1",
    "silent": "SELECT user_id FROM user_profiles p WHERE status = 'active' AND NOT EXISTS "
    "(SELECT FROM conversation_participants c WHERE c.user_id = p.user_id "
    "AND conversation_id IN ('{talk}', '{direct}')) ORDER BY 1 DESC LIMIT 1",
    "direct": "SELECT conversation_id FROM conversation_participants "
    "JOIN conversations ON id = conversation_id AND type = 'direct' AND user_id = '{heavy}' "
    "ORDER BY last_sequence DESC LIMIT 1",
    "partner": "SELECT user_id FROM conversation_participants "
    "WHERE conversation_id = '{direct}' AND user_id <> '{heavy}'",
    "message": "SELECT id FROM messages WHERE conversation_id = '{talk}' AND deleted_at IS NULL "
    "AND sender_id <> '{heavy}' AND flags = '[]' ORDER BY sequence DESC LIMIT 1",
    "sender": "SELECT sender_id FROM messages WHERE id = '{message}'",
    "flagged": "SELECT id FROM messages WHERE flags <> '[]' ORDER BY id LIMIT 1",
}


def find_cast(connection: psycopg.Connection[Any]) -> Cast:
    """Look for them, as the owner."""
    found: dict[str, Any] = {"heavy": data.HEAVY}
    waiting = dict(_QUERIES)
    while waiting:
        for name, query in list(waiting.items()):
            try:
                statement = query.format_map(found)
            except KeyError:
                continue  # its turn comes
            row = connection.execute(sql.SQL(statement)).fetchone()
            assert row is not None, name
            found[name] = row[0]
            del waiting[name]
    return Cast(**{field.name: found[field.name] for field in fields(Cast)})
