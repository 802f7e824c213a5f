"""Comments: threads below posts, and the exact number of them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    Select,
    Text,
    Uuid,
    func,
    literal,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from orgtenancy.community import inputs
from orgtenancy.community.keys import uuid7
from orgtenancy.community.models import Post, PostComment
from orgtenancy.community.models.posts import MAX_COMMENT_LENGTH
from orgtenancy.community.rows import WRITES, load_authors, recount, remember
from orgtenancy.community.settings import CommunitySettings
from orgtenancy.community.threads import ThreadReader
from orgtenancy.community.visibility import moderated_by, visible_to
from orgtenancy.errors import Conflict, Forbidden, Invalid, NotFound
from orgtenancy.repository import AsyncOrganizationAwareRepository, awaitable

# Tables, not classes: the statements that count go past the unit of work.
_posts: Any = Post.__table__
_comments: Any = PostComment.__table__


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
    # Not the INSERT itself with RETURNING: of one that selects, Citus loses what stands before it.
    made = (
        insert(_comments)
        .from_select(list(values), select(*values.values()))
        .returning(*PostComment.__mapper__.columns)
        .cte("made")
    )
    return select(aliased(PostComment, made), counted.c.comments_count).join_from(
        made, counted, true()
    )


def bury_statement(comment_id: UUID, allowed: ColumnElement[bool], **marks: Any) -> Select[Any]:
    """Turn a comment into a tombstone, if that is allowed, and count it off exactly once."""
    buried = (
        update(_comments)
        .where(_comments.c.id == comment_id, _living(), allowed)
        .values(content=None, updated_at=func.now(), **marks)
        .returning(
            _comments.c.post_id,
            _comments.c.content,
            _comments.c.deleted_at,
            _comments.c.removed_at,
            _comments.c.removed_by,
            _comments.c.updated_at,
        )
        .cte("buried")
    )
    counted = (
        update(_posts)
        .where(_posts.c.id == buried.c.post_id)
        .values(comments_count=_posts.c.comments_count - 1)
        .returning(_posts.c.id, _posts.c.comments_count)
        .cte("counted")
    )
    return select(counted.c.comments_count, buried).join_from(
        counted, buried, counted.c.id == buried.c.post_id
    )


def _living() -> ColumnElement[bool]:
    living: ColumnElement[bool] = _comments.c.content.is_not(None)  # a check of the table
    return living


def _on_post(viewer: str, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that a person sees the post of a comment, and what else it is."""
    seen = select(Post.id).where(Post.id == _comments.c.post_id, visible_to(viewer), *conditions)
    return seen.exists()


class PostCommentRepository(ThreadReader):
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

    def update(self, comment_id: UUID, actor_id: str, content: str) -> PostComment:
        """Change what one's own comment says, and return the comment.

        Args:
            comment_id: Which comment.
            actor_id: Who changes it: its author.
            content: 1 to 5,000 characters.

        Raises:
            NotFound: If there is no such comment, or the actor does not see its post.
            Forbidden: If it is somebody else's, or the post is locked.
            Conflict: If the comment was deleted.
            Invalid: If a value breaks a rule.
        """
        actor_id = inputs.user_id(actor_id)
        statement = (
            update(PostComment)
            .where(
                PostComment.id == comment_id,
                PostComment.user_id == actor_id,
                _living(),
                _on_post(actor_id, Post.locked_at.is_(None)),
            )
            .values(
                content=inputs.text("content", content, MAX_COMMENT_LENGTH), updated_at=func.now()
            )
            .returning(PostComment)
        )
        comment = self.session.scalar(statement, execution_options=WRITES)
        if comment is None:
            found = self._visible_comment(comment_id, actor_id)
            if found.user_id != actor_id:
                raise Forbidden("only its author can change a comment")
            if found.is_tombstone:
                raise Conflict("the comment was deleted")
            raise Forbidden("the post is locked")
        load_authors(self.session, [comment])
        return comment

    def soft_delete(self, comment_id: UUID, actor_id: str) -> bool:
        """Leave a tombstone of one's own comment: the content is gone, the replies stay.

        Returns:
            Whether it was there: False if it was a tombstone already.

        Raises:
            NotFound: If there is no such comment, or the actor does not see its post.
            Forbidden: If it is somebody else's.
            Invalid: If the actor's id breaks a rule.
        """
        actor_id = inputs.user_id(actor_id)
        own = _on_post(actor_id, _comments.c.user_id == actor_id)
        if self._bury(comment_id, own, deleted_at=func.now()):
            return True
        if self._visible_comment(comment_id, actor_id).user_id != actor_id:
            raise Forbidden("only its author can delete a comment")
        return False

    def remove(self, comment_id: UUID, actor_id: str, *, moderating: bool = False) -> bool:
        """Leave a tombstone of a comment that breaks the rules: its replies stay.

        Args:
            comment_id: Which comment.
            actor_id: Who removes it: a moderator of the post's group.
            moderating: Whether the actor moderates the whole organization.

        Returns:
            Whether it was there: False if it was a tombstone already.

        Raises:
            NotFound: If there is no such comment, or the actor does not see its post.
            Forbidden: If it is not the actor's to remove.
            Invalid: If the actor's id breaks a rule.
        """
        actor_id = inputs.user_id(actor_id)
        allowed = _on_post(actor_id, true() if moderating else moderated_by(actor_id))
        if self._bury(comment_id, allowed, removed_at=func.now(), removed_by=actor_id):
            return True
        comment = self._visible_comment(comment_id, actor_id)
        moderates = select(Post.id).where(Post.id == comment.post_id, moderated_by(actor_id))
        if not moderating and not self.session.scalar(select(moderates.exists())):
            raise Forbidden("only a moderator can remove a comment")
        return False

    def recount(self, post_id: UUID) -> int:
        """Set the number of a post's comments to what it truly is, and return it.

        Comments keep it exact by themselves: this is for rows that came in past them. It
        waits for those that are being written, and those to come wait for the transaction's
        end. Tombstones do not count.

        Raises:
            NotFound: If there is no such post.
        """
        living = select(func.count()).where(_comments.c.post_id == post_id, _living())
        return recount(self.session, post_id, "comments_count", living)

    def _bury(self, comment_id: UUID, allowed: ColumnElement[bool], **marks: Any) -> bool:
        session = self.session
        session.flush()  # a statement on tables does not flush by itself
        row = session.execute(bury_statement(comment_id, allowed, **marks)).one_or_none()
        if row is None:
            return False
        values = dict(row._mapping)
        post_id, comments_count = values.pop("post_id"), values.pop("comments_count")
        remember(session, PostComment, comment_id, **values)
        remember(session, Post, post_id, comments_count=comments_count)
        return True

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


class AsyncPostCommentRepository(
    AsyncOrganizationAwareRepository[PostComment], sync=PostCommentRepository
):
    """The async twin of `PostCommentRepository`."""

    create = awaitable(PostCommentRepository.create)
    list_tree = awaitable(PostCommentRepository.list_tree)
    list_replies = awaitable(PostCommentRepository.list_replies)
    update = awaitable(PostCommentRepository.update)
    soft_delete = awaitable(PostCommentRepository.soft_delete)
    remove = awaitable(PostCommentRepository.remove)
    recount = awaitable(PostCommentRepository.recount)
