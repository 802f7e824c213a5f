"""Rows that the tests begin with, written past the repositories."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from orgtenancy.community import Group, GroupMember, Post, PostRepository, UserProfile

Privacy = Literal["public", "private", "secret"]


def add_person(
    session: Session,
    user_id: str,
    status: Literal["active", "deactivated", "anonymized"] = "active",
) -> UserProfile:
    profile = UserProfile(user_id=user_id, username=user_id, status=status)
    session.add(profile)
    session.flush()
    return profile


def add_group(
    session: Session,
    *,
    privacy: Privacy = "public",
    members: tuple[str, ...] = (),
    moderators: tuple[str, ...] = (),
    invited: tuple[str, ...] = (),
    archived: bool = False,
) -> UUID:
    now = datetime.now(UTC)
    group = Group(
        name="Group",
        slug=uuid4().hex,
        privacy=privacy,
        owner_id="owner",
        archived_at=now if archived else None,
    )
    session.add(group)
    session.flush()
    for user_id in members:
        session.add(GroupMember(group_id=group.id, user_id=user_id, joined_at=now))
    for user_id in moderators:
        session.add(
            GroupMember(group_id=group.id, user_id=user_id, role="moderator", joined_at=now)
        )
    for user_id in invited:
        session.add(GroupMember(group_id=group.id, user_id=user_id, status="invited"))
    session.flush()
    return group.id


def add_post(session: Session, user_id: str = "author", content: str = "Hello") -> UUID:
    return PostRepository(session).create(user_id=user_id, content=content).id


def counter(session: Session, post_id: UUID, name: Literal["likes_count", "comments_count"]) -> int:
    post = session.get_one(Post, post_id, populate_existing=True)
    return int(getattr(post, name))
