"""What pages and API show of the rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from orgtenancy import Page
from orgtenancy.community import (
    AsyncPostLikeRepository,
    CommentThread,
    Post,
    PostComment,
    UserProfile,
)


class View(BaseModel):
    """A value that is shown."""

    model_config = ConfigDict(frozen=True)


class PersonView(View):
    """A person beside what they wrote."""

    username: str
    name: str

    @classmethod
    def of(cls, profile: UserProfile | None) -> Self:
        """Return the view of a profile; content may outlive it."""
        if profile is None:
            return cls(username="", name="Former member")
        return cls(username=profile.username, name=profile.display_name or profile.username)


class PostView(View):
    """A post, as one person sees it."""

    id: UUID
    author: PersonView
    content: str
    tags: tuple[str, ...]
    likes_count: int
    comments_count: int
    liked: bool
    created_at: datetime

    @classmethod
    def of(cls, post: Post, *, liked: bool) -> Self:
        """Return the view of a post."""
        return cls(
            id=post.id,
            author=PersonView.of(post.author),
            content=post.content,
            tags=tuple(post.tags),
            likes_count=post.likes_count,
            comments_count=post.comments_count,
            liked=liked,
            created_at=post.created_at,
        )


class CommentView(View):
    """A comment with its replies; without content if it was deleted."""

    id: UUID
    author: PersonView
    content: str | None
    depth: int
    created_at: datetime
    replies: tuple[CommentView, ...] = ()
    has_more: bool = False

    @classmethod
    def of(cls, thread: CommentThread) -> Self:
        """Return the view of a thread, whose replies are a list, as a tree."""
        return cls._tree(thread.head, thread.replies, has_more=thread.has_more)

    @classmethod
    def _tree(
        cls, comment: PostComment, below: Iterable[PostComment], *, has_more: bool = False
    ) -> Self:
        below = tuple(below)
        return cls(
            id=comment.id,
            author=PersonView.of(comment.author),
            content=comment.content,
            depth=comment.depth,
            created_at=comment.created_at,
            replies=tuple(
                cls._tree(reply, below) for reply in below if reply.parent_comment_id == comment.id
            ),
            has_more=has_more,
        )


async def post_views(
    page: Page[Post], likes: AsyncPostLikeRepository, viewer: str
) -> Page[PostView]:
    """Return a page of posts, as a person sees them."""
    liked = await likes.liked_ids(viewer, [post.id for post in page.items])
    return page.map(lambda post: PostView.of(post, liked=post.id in liked))
