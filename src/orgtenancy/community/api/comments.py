"""Comments over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field
from sqlalchemy.orm import Session

from orgtenancy.community.api.common import Body, PersonView, Text, View, is_moderator, record
from orgtenancy.community.comments import PostCommentRepository
from orgtenancy.community.models import PostComment
from orgtenancy.community.models.posts import MAX_COMMENT_LENGTH
from orgtenancy.community.threads import CommentThread
from orgtenancy.endpoints import Caller
from orgtenancy.pagination import Page, PageRequest

Content = Annotated[Text, Field(min_length=1, max_length=MAX_COMMENT_LENGTH)]


class CommentView(View):
    """A comment, or the place of one that is gone: a tombstone has no content."""

    id: UUID
    post_id: UUID
    parent_comment_id: UUID | None
    depth: int
    author: PersonView
    content: str | None
    tombstone: Literal["deleted", "removed"] | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, comment: PostComment) -> Self:
        """Return the view of a comment."""
        return cls(
            id=comment.id,
            post_id=comment.post_id,
            parent_comment_id=comment.parent_comment_id,
            depth=comment.depth,
            author=PersonView.of(comment.user_id, comment.author),
            content=comment.content,
            tombstone=_tombstone(comment),
            created_at=comment.created_at,
            updated_at=comment.updated_at,
        )


class ThreadView(View):
    """A comment and what was replied to it, each reply right behind what it replies to."""

    comment: CommentView
    replies: list[CommentView]
    has_more: bool

    @classmethod
    def of(cls, thread: CommentThread) -> Self:
        """Return the view of a thread."""
        return cls(
            comment=CommentView.of(thread.head),
            replies=[CommentView.of(reply) for reply in thread.replies],
            has_more=thread.has_more,
        )


class NewComment(Body):
    """A comment to write; with a parent, a reply."""

    content: Content
    parent_comment_id: UUID | None = None


class CommentEdit(Body):
    """What a comment shall say."""

    content: Content


def list_comments(
    session: Session, caller: Caller, *, post_id: UUID, query: PageRequest
) -> Page[ThreadView]:
    """List the threads below a post, oldest first, each with its first replies."""
    found = PostCommentRepository(session).list_tree(post_id, caller.id, query)
    return found.map(ThreadView.of)


def list_replies(
    session: Session, caller: Caller, *, comment_id: UUID, query: PageRequest
) -> Page[ThreadView]:
    """List the replies to a comment, oldest first, each with those below it."""
    found = PostCommentRepository(session).list_replies(comment_id, caller.id, query)
    return found.map(ThreadView.of)


def create_comment(
    session: Session, caller: Caller, *, post_id: UUID, body: NewComment
) -> CommentView:
    """Comment on a post, or reply to a comment."""
    comment = PostCommentRepository(session).create(
        post_id=post_id,
        user_id=caller.id,
        content=body.content,
        parent_comment_id=body.parent_comment_id,
    )
    record(session, caller, "comment.create", comment.id, {"post_id": str(post_id)})
    return CommentView.of(comment)


def update_comment(
    session: Session, caller: Caller, *, comment_id: UUID, body: CommentEdit
) -> CommentView:
    """Change one's own comment."""
    comment = PostCommentRepository(session).update(comment_id, caller.id, body.content)
    record(session, caller, "comment.update", comment_id)
    return CommentView.of(comment)


def delete_comment(session: Session, caller: Caller, *, comment_id: UUID) -> None:
    """Delete a comment: its author, a moderator of the post's group, or of the organization.

    A tombstone keeps the replies in their place.
    """
    comments = PostCommentRepository(session)
    comment = comments.get(comment_id)
    if comment is not None and comment.user_id == caller.id:
        action, changed = "comment.delete", comments.soft_delete(comment_id, caller.id)
    else:
        moderating = is_moderator(session, caller)
        changed = comments.remove(comment_id, caller.id, moderating=moderating)
        action = "comment.remove"
    if changed:
        record(session, caller, action, comment_id)


def _tombstone(comment: PostComment) -> Literal["deleted", "removed"] | None:
    if comment.removed_at is not None:
        return "removed"
    return "deleted" if comment.deleted_at is not None else None
