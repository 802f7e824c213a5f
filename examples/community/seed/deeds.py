"""The activity log of what was seeded: the newest of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from examples.community.seed.maker import Maker, Row, Rows
from orgtenancy.community import Group, GroupMember, Message, Post, PostComment, PostLike

_NEWEST = 400


def deeds(maker: Maker, rows: Rows) -> list[Row]:
    """Return the records of what people did last, as the API would have written them."""
    found: list[tuple[datetime, str, str, UUID, dict[str, Any]]] = []
    for post in rows[Post]:
        found.append((post["created_at"], post["user_id"], "post.create", post["id"], {}))
    for like in rows[PostLike]:
        found.append((like["created_at"], like["user_id"], "post.like", like["post_id"], {}))
    for comment in rows[PostComment]:
        about = {"post_id": str(comment["post_id"])}
        found.append(
            (comment["created_at"], comment["user_id"], "comment.create", comment["id"], about)
        )
    for group in rows[Group]:
        found.append((group["created_at"], group["owner_id"], "group.create", group["id"], {}))
    for member in rows[GroupMember]:
        if member["joined_at"] is not None:
            joined = member["joined_at"]
            found.append((joined, member["user_id"], "group.join", member["group_id"], {}))
    for message in rows[Message]:
        for flag in message["flags"]:
            made = datetime.fromisoformat(flag["created_at"])
            found.append((made, flag["user_id"], "message.flag", message["id"], {}))
    found.sort(key=lambda deed: deed[0])
    return [
        {
            "id": maker.key(created),
            "user_id": user_id,
            "action": action,
            "entity_type": action.partition(".")[0],
            "entity_id": str(entity_id),
            "metadata_": metadata,
            "created_at": created,
        }
        for created, user_id, action, entity_id, metadata in found[-_NEWEST:]
    ]
