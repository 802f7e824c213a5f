"""Comments: threads below posts, and the exact number of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy import ARRAY, Integer, Select, Text, Uuid, func, literal, select, true, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from orgtenancy.community import inputs
from orgtenancy.community.keys import uuid7
from orgtenancy.community.models import Post, PostComment
from orgtenancy.community.models.posts import MAX_COMMENT_LENGTH
from orgtenancy.community.rows import FRESH, WRITES, load_authors, remember
from orgtenancy.community.settings import CommunitySettings
from orgtenancy.community.visibility import visible_to
from orgtenancy.errors import Conflict, Forbidden, Invalid, NotFound
from orgtenancy.pagination import Page, PageRequest
from orgtenancy.repository import (
    FIRST_PAGE,
    AsyncOrganizationAwareRepository,
    OrganizationAwareRepository,
    awaitable,
)

#: How many replies a thread brings along; `list_replies` has the others.
MAX_THREAD_REPLIES = 50

_LAST_KEY = UUID(int=(1 << 128) - 1)

# Tables, not classes: the statements that count go past the unit of work.
_posts: Any = Post.__table__
_comments: Any = PostComment.__table__


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


def insert_statement(comment: PostComment) -> Any:
    """Insert a comment if its author sees the post and it is not locked, and count it.

    One statement: the row lock of the UPDATE puts concurrent comments in a line, and a
    post that is locked or deleted meanwhile gets neither the comment nor the count.
    """
    counted = (
        update(_posts)
        .where(
            _posts.c.id == comment.post_id,
            _posts.c.locked_at.is_(None),
            visible_to(comment.user_id),
        )
        .values(comments_count=_posts.c.comments_count + 1)
        .returning(_posts.c.id, _posts.c.comments_count)
        .cte("counted")
    )
    values = {
        "id": literal(comment.id, Uuid),
        "post_id": counted.c.id,
        "user_id": literal(comment.user_id, Text),
        "parent_comment_id": literal(comment.parent_comment_id, Uuid),
        "depth": literal(comment.depth, Integer),
        "path": literal(comment.path, ARRAY(Uuid)),
        "content": literal(comment.content, Text),
    }
    return (
        insert(PostComment)
        .from_select(list(values), select(*values.values()))
        .returning(PostComment, select(counted.c.comments_count).scalar_subquery())
    )


def bury_statement(comment_id: UUID, author_id: str) -> Select[Any]:
    """Turn an author's comment into a tombstone, and count it off exactly once."""
    buried = (
        update(_comments)
        .where(
            _comments.c.id == comment_id,
            _comments.c.user_id == author_id,
            _comments.c.deleted_at.is_(None),
            _comments.c.removed_at.is_(None),
        )
        .values(content=None, deleted_at=func.now(), updated_at=func.now())
        .returning(_comments.c.post_id, _comments.c.deleted_at, _comments.c.updated_at)
        .cte("buried")
    )
    counted = (
        update(_posts)
        .where(_posts.c.id == buried.c.post_id)
        .values(comments_count=_posts.c.comments_count - 1)
        .returning(_posts.c.id, _posts.c.comments_count)
        .cte("counted")
    )
    return select(counted.c.comments_count, buried.c.deleted_at, buried.c.updated_at).join_from(
        counted, buried, counted.c.id == buried.c.post_id
    )


class PostCommentRepository(OrganizationAwareRepository[PostComment]):
    """The comments of the current organization's posts."""

    def create(
        self,
        *,
        post_id: UUID,
        user_id: str,
        content: str,
        parent_comment_id: UUID | None = None,
    ) -> PostComment:
        """Comment on a post or reply to a comment, and return the comment.

        Args:
            post_id: The post.
            user_id: The author.
            content: 1 to 5,000 characters.
            parent_comment_id: The comment of the same post that this replies to.

        Raises:
            NotFound: If the author does not see the post, or it has no such comment.
            Forbidden: If the post is locked.
            Conflict: If the comment replied to was deleted.
            Invalid: If a value breaks a rule, or the thread would get too deep.
        """
        key = uuid7()
        comment = PostComment(
            id=key,
            post_id=post_id,
            user_id=inputs.user_id(user_id),
            parent_comment_id=parent_comment_id,
            depth=0,
            path=[key],
            content=inputs.text("content", content, MAX_COMMENT_LENGTH),
        )
        if parent_comment_id is not None:
            parent = self._parent(post_id, parent_comment_id, user_id)
            comment.depth, comment.path = parent.depth + 1, [*parent.path, key]
        session = self.session
        row = session.execute(insert_statement(comment), execution_options=WRITES).one_or_none()
        if row is None:
            self._visible_post(post_id, user_id)
            raise Forbidden("the post is locked")
        created: PostComment = row[0]
        remember(session, Post, post_id, comments_count=row[1])
        load_authors(session, [created])
        return created

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

    def soft_delete(self, comment_id: UUID, actor_id: str) -> bool:
        """Leave a tombstone of one's own comment: the content is gone, the replies stay.

        Returns:
            Whether it was there: False if it was a tombstone already.

        Raises:
            NotFound: If there is no such comment, or the actor does not see its post.
            Forbidden: If it is somebody else's.
        """
        session = self.session
        comment = self._visible_comment(comment_id, actor_id)
        if comment.user_id != actor_id:
            raise Forbidden("only its author can delete a comment")
        row = session.execute(bury_statement(comment_id, actor_id)).one_or_none()
        if row is None:
            return False
        buried_at = {"deleted_at": row.deleted_at, "updated_at": row.updated_at}
        remember(session, PostComment, comment_id, content=None, **buried_at)
        remember(session, Post, comment.post_id, comments_count=row.comments_count)
        return True

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

    def _parent(self, post_id: UUID, comment_id: UUID, viewer: str) -> PostComment:
        parent = self._visible_comment(comment_id, viewer)
        if parent.post_id != post_id:
            raise NotFound("the post has no such comment")
        if parent.is_tombstone:
            raise Conflict("the comment was deleted")
        deepest = self.session.module_settings(CommunitySettings).max_comment_depth
        if parent.depth >= deepest:
            raise Invalid(f"a reply can be {deepest} levels deep at the most")
        return parent

    def _visible_comment(self, comment_id: UUID, viewer: str) -> PostComment:
        comment = self.session.scalar(
            select(PostComment)
            .join(Post, Post.id == PostComment.post_id)
            .where(PostComment.id == comment_id, visible_to(viewer)),
            execution_options=FRESH,
        )
        if comment is None:
            raise NotFound("no such comment")
        return comment

    def _visible_post(self, post_id: UUID, viewer: str) -> None:
        visible = select(Post.id).where(Post.id == post_id, visible_to(viewer))
        if not self.session.scalar(select(visible.exists())):
            raise NotFound("no such post")


class AsyncPostCommentRepository(
    AsyncOrganizationAwareRepository[PostComment], sync=PostCommentRepository
):
    """The async twin of `PostCommentRepository`."""

    create = awaitable(PostCommentRepository.create)
    list_tree = awaitable(PostCommentRepository.list_tree)
    list_replies = awaitable(PostCommentRepository.list_replies)
    soft_delete = awaitable(PostCommentRepository.soft_delete)
