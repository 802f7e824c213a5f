"""Threads: what was said below a post, in the order it is read."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Select, Uuid, func, literal, select, true
from sqlalchemy.orm import aliased

from orgtenancy.community import inputs
from orgtenancy.community.models import Post, PostComment
from orgtenancy.community.rows import FRESH
from orgtenancy.community.visibility import visible_to
from orgtenancy.errors import NotFound
from orgtenancy.pagination import Page, PageRequest
from orgtenancy.repository import FIRST_PAGE, OrganizationAwareRepository

#: How many replies a thread brings along; `list_replies` has the others.
MAX_THREAD_REPLIES = 50

_LAST_KEY = UUID(int=(1 << 128) - 1)


class CommentThread(BaseModel):
    """A comment and what was replied to it.

    Attributes:
        head: The comment that the thread begins with.
        replies: All below it, each right behind what it replies to, oldest first; their
            `depth` and `parent_comment_id` tell the shape.
        has_more: Whether there are more replies than these: `list_replies` of the head.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    head: PostComment
    replies: tuple[PostComment, ...] = ()
    has_more: bool = False


def replies_below(heads: Sequence[PostComment]) -> Select[PostComment]:
    """Select the first replies below each of some comments, in reading order."""
    head, reply = aliased(PostComment), aliased(PostComment)
    # Paths sort like the threads are read, so all below a comment is one range of the
    # index, and a beginning of it never holds a reply without its parents.
    below = (
        select(reply.id)
        .where(
            reply.post_id == head.post_id,
            reply.path > head.path,
            reply.path < func.array_append(head.path, literal(_LAST_KEY, Uuid)),
        )
        .order_by(reply.path)
        .limit(MAX_THREAD_REPLIES + 1)
        .lateral("below")
    )
    return (
        select(PostComment)
        .select_from(head)
        .join(below, true())
        .join(PostComment, PostComment.id == below.c.id)
        .where(head.id.in_([comment.id for comment in heads]))
        .order_by(PostComment.path)
        .execution_options(**FRESH)
    )


class ThreadReader(OrganizationAwareRepository[PostComment]):
    """The comments of the current organization's posts, as people read them."""

    def list_tree(
        self, post_id: UUID, viewer: str, page: PageRequest = FIRST_PAGE
    ) -> Page[CommentThread]:
        """Return a page of a post's threads, oldest first.

        Raises:
            NotFound: If the viewer does not see the post.
            InvalidCursor: If the cursor is not one of this list.
        """
        self._visible_post(post_id, viewer)
        heads = select(PostComment).where(
            PostComment.post_id == post_id, PostComment.parent_comment_id.is_(None)
        )
        return self._threads(heads, page, order="tree")

    def list_replies(
        self, comment_id: UUID, viewer: str, page: PageRequest = FIRST_PAGE
    ) -> Page[CommentThread]:
        """Return a page of the replies to a comment, each with those below it, oldest first.

        Raises:
            NotFound: If there is no such comment, or the viewer does not see its post.
            InvalidCursor: If the cursor is not one of this list.
        """
        self._visible_comment(comment_id, viewer)
        heads = select(PostComment).where(PostComment.parent_comment_id == comment_id)
        return self._threads(heads, page, order="replies")

    def _threads(
        self, heads: Select[PostComment], page: PageRequest, *, order: str
    ) -> Page[CommentThread]:
        found = self.select_page(
            heads.execution_options(**FRESH), (PostComment.id,), page, order=order
        )
        if not found.items:
            return Page(items=())
        replies: dict[UUID, list[PostComment]] = {head.id: [] for head in found.items}
        depth = found.items[0].depth
        for reply in self.session.scalars(replies_below(found.items)):
            replies[reply.path[depth]].append(reply)

        def thread(head: PostComment) -> CommentThread:
            below = replies[head.id]
            return CommentThread(
                head=head,
                replies=tuple(below[:MAX_THREAD_REPLIES]),
                has_more=len(below) > MAX_THREAD_REPLIES,
            )

        return found.map(thread)

    def _visible_comment(self, comment_id: UUID, viewer: str) -> PostComment:
        comment = self.session.scalar(
            select(PostComment)
            .join(Post, Post.id == PostComment.post_id)
            .where(PostComment.id == comment_id, visible_to(inputs.reader(viewer))),
            execution_options=FRESH,
        )
        if comment is None:
            raise NotFound("no such comment")
        return comment

    def _visible_post(self, post_id: UUID, viewer: str) -> None:
        visible = select(Post.id).where(Post.id == post_id, visible_to(inputs.reader(viewer)))
        if not self.session.scalar(select(visible.exists())):
            raise NotFound("no such post")
