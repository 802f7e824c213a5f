"""What the pages show of the rows, and what of it the one who looks may change."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from orgtenancy import Page
from orgtenancy.community import CommentThread, Group, GroupMember, Post, PostComment, UserProfile

MODERATORS = ("owner", "admin", "moderator")


class View(BaseModel):
    """A value that is shown."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)


class PersonView(View):
    """A person beside what they did."""

    id: str
    username: str
    name: str

    @classmethod
    def of(cls, profile: UserProfile | None, user_id: str = "") -> Self:
        """Return the view of a profile; content may outlive it."""
        if profile is None or profile.status == "anonymized":
            return cls(id=user_id, username="", name="Former member")
        name = profile.display_name or profile.username
        return cls(id=profile.user_id, username=profile.username, name=name)


class Viewer(View):
    """Who looks at something.

    Attributes:
        id: Who.
        is_moderator: Whether they moderate the whole organization.
    """

    id: str
    is_moderator: bool

    def moderates(self, membership: GroupMember | None) -> bool:
        """Return whether they moderate the organization, or the group of a membership."""
        return self.is_moderator or (
            membership is not None
            and membership.status == "active"
            and membership.role in MODERATORS
        )


class PostView(View):
    """A post, as one person sees it."""

    id: UUID
    author: PersonView
    group: Group | None
    content: str
    tags: tuple[str, ...]
    likes_count: int
    comments_count: int
    liked: bool
    is_mine: bool
    is_moderated: bool
    is_pinned: bool
    is_locked: bool
    version: int
    created_at: datetime

    @classmethod
    def of(
        cls,
        post: Post,
        viewer: Viewer,
        *,
        liked: bool = False,
        group: Group | None = None,
        membership: GroupMember | None = None,
    ) -> Self:
        """Return the view of a post."""
        return cls(
            id=post.id,
            author=PersonView.of(post.author, post.user_id),
            group=group,
            content=post.content,
            tags=tuple(post.tags),
            likes_count=post.likes_count,
            comments_count=post.comments_count,
            liked=liked,
            is_mine=post.user_id == viewer.id,
            is_moderated=viewer.moderates(membership),
            is_pinned=post.pinned_at is not None,
            is_locked=post.locked_at is not None,
            version=post.version,
            created_at=post.created_at,
        )


class CommentView(View):
    """A comment with its replies; without content where only its place is left."""

    id: UUID
    author: PersonView
    content: str | None
    was_removed: bool
    is_mine: bool
    depth: int
    created_at: datetime
    replies: tuple[CommentView, ...] = ()
    has_more: bool = False

    @classmethod
    def of(cls, thread: CommentThread, viewer: Viewer) -> Self:
        """Return the view of a thread, whose replies are a list, as a tree."""
        return cls._tree(thread.head, thread.replies, viewer, has_more=thread.has_more)

    @classmethod
    def _tree(
        cls,
        comment: PostComment,
        below: Iterable[PostComment],
        viewer: Viewer,
        *,
        has_more: bool = False,
    ) -> Self:
        below = tuple(below)
        return cls(
            id=comment.id,
            author=PersonView.of(comment.author, comment.user_id),
            content=comment.content,
            was_removed=comment.removed_at is not None,
            is_mine=comment.user_id == viewer.id,
            depth=comment.depth,
            created_at=comment.created_at,
            replies=tuple(
                cls._tree(reply, below, viewer)
                for reply in below
                if reply.parent_comment_id == comment.id
            ),
            has_more=has_more,
        )


class ConversationView(View):
    """A conversation in the list of those who take part."""

    id: UUID
    title: str
    people: tuple[PersonView, ...]
    last: str
    unread: int
    updated_at: datetime


def title_of(name: str | None, people: Iterable[PersonView]) -> str:
    """Return what a conversation is called: its name, or who takes part besides oneself."""
    names = [person.name for person in people]
    if name is not None or not names:
        return name or "Only you"
    if len(names) == 1:
        return names[0]
    first = [name.split()[0] for name in names]
    return ", ".join(first[:3]) + (f" and {len(first) - 3} more" if len(first) > 3 else "")


def tree(page: Page[CommentThread], viewer: Viewer) -> Page[CommentView]:
    """Return a page of threads as a person sees them."""
    return page.map(lambda thread: CommentView.of(thread, viewer))
