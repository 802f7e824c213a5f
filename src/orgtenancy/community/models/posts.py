"""Posts, their likes and their comments."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, foreign, mapped_column, relationship

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
from orgtenancy.community.models.profiles import UserProfile

#: `public` is for everyone in the organization, `group` for the active members of the
#: post's group, `private` for the author.
Visibility = Literal["public", "group", "private"]

MAX_POST_LENGTH = 10_000
MAX_COMMENT_LENGTH = 5_000
MAX_TAGS = 20
MAX_MEDIA = 10


class Post(Timestamps, Base):
    """Something a person published."""

    __tablename__ = "posts"
    __table_args__ = (
        search("to_tsvector('community_search'::regconfig, content)"),
        length("user_id", 1, MAX_USER_ID_LENGTH),
        length("content", 1, MAX_POST_LENGTH),
        one_of("visibility", get_args(Visibility)),
        CheckConstraint(text("(visibility = 'group') = (group_id IS NOT NULL)"), name="group"),
        CheckConstraint(text("jsonb_typeof(media) = 'array'"), name="media_is_array"),
        CheckConstraint(func.cardinality(text("tags")) <= MAX_TAGS, name="tags_number"),
        not_negative("likes_count"),
        not_negative("comments_count"),
        CheckConstraint(text("version > 0"), name="version_positive"),
        # The feed, newest first, reads the primary key backwards.
        Index("ix_posts_author", "user_id", "id", postgresql_where=text("deleted_at IS NULL")),
        Index("ix_posts_group", "group_id", "id", postgresql_where=text("group_id IS NOT NULL")),
        Index(
            "ix_posts_pinned",
            "group_id",
            "id",
            postgresql_where=text("pinned_at IS NOT NULL AND deleted_at IS NULL"),
        ),
        Index("ix_posts_tags", "tags", postgresql_using="gin"),
        Index("ix_posts_search", "search", postgresql_using="gin"),
    )
    __mapper_args__ = SEARCHED

    id: Mapped[Key]
    user_id: Mapped[UserId]
    group_id: Mapped[UUID | None] = mapped_column(ForeignKey("groups.id", ondelete="CASCADE"))
    content: Mapped[str]
    visibility: Mapped[Visibility] = mapped_column(
        Text, default="public", server_default=text("'public'")
    )
    media: Mapped[list[dict[str, Any]]] = mapped_column(
        JSONB, default=list, server_default=text("'[]'")
    )
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), default=list, server_default=text("'{}'"))
    likes_count: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    comments_count: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))
    pinned_at: Mapped[datetime | None]
    locked_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
    deleted_by: Mapped[UserId | None]

    author: Mapped[UserProfile | None] = relationship(
        primaryjoin=lambda: foreign(Post.user_id) == UserProfile.user_id,
        lazy="joined",
        viewonly=True,
    )


class PostLike(Base):
    """One person's like of one post."""

    __tablename__ = "post_likes"
    __table_args__ = (
        length("user_id", 1, MAX_USER_ID_LENGTH),
        Index("ix_post_likes_newest", "post_id", "created_at", "user_id"),
        Index("ix_post_likes_user_id", "user_id", "created_at"),
    )

    post_id: Mapped[UUID] = mapped_column(
        ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[UserId] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    user: Mapped[UserProfile | None] = relationship(
        primaryjoin=lambda: foreign(PostLike.user_id) == UserProfile.user_id,
        lazy="joined",
        viewonly=True,
    )


class PostComment(Timestamps, Base):
    """A comment on a post, or a reply to another comment.

    One that was deleted by its author or removed by a moderator stays as a tombstone
    without content, so that the replies keep their place.
    """

    __tablename__ = "post_comments"
    __table_args__ = (
        length("user_id", 1, MAX_USER_ID_LENGTH),
        length("content", 1, MAX_COMMENT_LENGTH),
        CheckConstraint(
            text("(content IS NULL) = (deleted_at IS NOT NULL OR removed_at IS NOT NULL)"),
            name="tombstone",
        ),
        not_negative("depth"),
        CheckConstraint(text("(depth = 0) = (parent_comment_id IS NULL)"), name="parent"),
        CheckConstraint(
            text("cardinality(path) = depth + 1 AND path[depth + 1] = id"), name="path"
        ),
        # A comment and all below it lie side by side, in the order they are read.
        Index("ix_post_comments_path", "post_id", "path"),
        Index(
            "ix_post_comments_roots",
            "post_id",
            "id",
            postgresql_where=text("parent_comment_id IS NULL"),
        ),
        Index(
            "ix_post_comments_replies",
            "parent_comment_id",
            "id",
            postgresql_where=text("parent_comment_id IS NOT NULL"),
        ),
        Index("ix_post_comments_author", "user_id", "id"),
    )

    id: Mapped[Key]
    post_id: Mapped[UUID] = mapped_column(ForeignKey("posts.id", ondelete="CASCADE"))
    user_id: Mapped[UserId]
    parent_comment_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("post_comments.id", ondelete="CASCADE")
    )
    depth: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    #: The keys from the root comment down to this one.
    path: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    content: Mapped[str | None]
    deleted_at: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]
    removed_by: Mapped[UserId | None]

    author: Mapped[UserProfile | None] = relationship(
        primaryjoin=lambda: foreign(PostComment.user_id) == UserProfile.user_id,
        lazy="joined",
        viewonly=True,
    )

    @property
    def is_tombstone(self) -> bool:
        """Whether only the place of the comment is left."""
        return self.deleted_at is not None or self.removed_at is not None
