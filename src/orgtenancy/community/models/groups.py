"""Groups and who belongs to them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, func, text
from sqlalchemy.orm import Mapped, mapped_column

from orgtenancy.community.models.base import (
    MAX_USER_ID_LENGTH,
    SEARCHED,
    Base,
    Key,
    Timestamps,
    UserId,
    length,
    not_negative,
    one_of,
    search,
)

#: `public` is open to join, `private` is visible and joined by request, `secret` is
#: invisible to those who were not invited.
Privacy = Literal["public", "private", "secret"]
Role = Literal["owner", "admin", "moderator", "member"]
MembershipStatus = Literal["active", "requested", "invited", "banned"]

MAX_GROUP_NAME_LENGTH = 120
MAX_SLUG_LENGTH = 80
MAX_DESCRIPTION_LENGTH = 5_000
MAX_RULES_LENGTH = 10_000
MAX_CATEGORY_LENGTH = 60

#: Unique without regard to case.
SLUG_INDEX = "uq_groups_slug"


class Group(Timestamps, Base):
    """A circle of people inside the organization."""

    __tablename__ = "groups"
    __table_args__ = (
        search(
            "to_tsvector('community_search'::regconfig, name || ' ' || COALESCE(description, ''))"
        ),
        length("name", 1, MAX_GROUP_NAME_LENGTH),
        length("slug", 1, MAX_SLUG_LENGTH),
        length("description", 1, MAX_DESCRIPTION_LENGTH),
        length("rules", 1, MAX_RULES_LENGTH),
        length("category", 1, MAX_CATEGORY_LENGTH),
        length("owner_id", 1, MAX_USER_ID_LENGTH),
        one_of("privacy", get_args(Privacy)),
        not_negative("member_count"),
        Index(SLUG_INDEX, func.lower(text("slug")), unique=True),
        Index("ix_groups_name", "name", "id"),
        Index("ix_groups_category", "category", "name", "id"),
        Index("ix_groups_search", "search", postgresql_using="gin"),
    )
    __mapper_args__ = SEARCHED

    id: Mapped[Key]
    name: Mapped[str]
    slug: Mapped[str]
    description: Mapped[str | None]
    privacy: Mapped[Privacy] = mapped_column(
        Text, default="public", server_default=text("'public'")
    )
    category: Mapped[str | None]
    rules: Mapped[str | None]
    member_count: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    owner_id: Mapped[UserId]
    archived_at: Mapped[datetime | None]


class GroupMember(Timestamps, Base):
    """One person in one group: a member, or on the way in, or banned."""

    __tablename__ = "group_members"
    __table_args__ = (
        length("user_id", 1, MAX_USER_ID_LENGTH),
        one_of("role", get_args(Role)),
        one_of("status", get_args(MembershipStatus)),
        CheckConstraint(text("(status = 'active') = (joined_at IS NOT NULL)"), name="joined"),
        Index(
            "ix_group_members_active",
            "user_id",
            "group_id",
            postgresql_where=text("status = 'active'"),
        ),
        Index(
            "ix_group_members_invited",
            "user_id",
            "group_id",
            postgresql_where=text("status = 'invited'"),
        ),
        Index("ix_group_members_listed", "group_id", "status", "user_id"),
        Index(
            "ix_group_members_owners",
            "group_id",
            "joined_at",
            postgresql_where=text("role = 'owner' AND status = 'active'"),
        ),
    )

    group_id: Mapped[UUID] = mapped_column(
        ForeignKey("groups.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[UserId] = mapped_column(primary_key=True)
    role: Mapped[Role] = mapped_column(Text, default="member", server_default=text("'member'"))
    status: Mapped[MembershipStatus] = mapped_column(
        Text, default="active", server_default=text("'active'")
    )
    invited_by: Mapped[UserId | None]
    joined_at: Mapped[datetime | None]
