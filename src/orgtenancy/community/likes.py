"""Likes: who likes which post, and the exact number of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import CTE, Select, Text, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from orgtenancy.community import inputs
from orgtenancy.community.models import Post, PostLike
from orgtenancy.community.rows import FRESH, recount, remember
from orgtenancy.community.visibility import visible_to
from orgtenancy.errors import NotFound
from orgtenancy.pagination import Page, PageRequest
from orgtenancy.repository import (
    FIRST_PAGE,
    AsyncOrganizationAwareRepository,
    OrganizationAwareRepository,
    awaitable,
)

# Tables, not classes: these statements go past the unit of work.
_posts: Any = Post.__table__
_likes: Any = PostLike.__table__


def like_statement(post_id: UUID, user_id: str) -> Select[Any]:
    """Insert a like of a visible post, unless it is there, and count it."""
    visible = _visible(post_id, user_id)
    inserted = (
        insert(_likes)
        .from_select(["post_id", "user_id"], select(visible.c.id, literal(user_id, Text)))
        .on_conflict_do_nothing()
        .returning(_likes.c.post_id)
    )
    return _counted(visible, inserted.cte("change"), 1)


def unlike_statement(post_id: UUID, user_id: str) -> Select[Any]:
    """Delete a like of a visible post, if it is there, and count it off."""
    visible = _visible(post_id, user_id)
    deleted = (
        delete(_likes)
        .where(_likes.c.post_id == visible.c.id, _likes.c.user_id == user_id)
        .returning(_likes.c.post_id)
    )
    return _counted(visible, deleted.cte("change"), -1)


def _visible(post_id: UUID, viewer: str) -> CTE:
    return select(Post.id).where(Post.id == post_id, visible_to(viewer)).cte("visible")


def _counted(visible: CTE, change: CTE, step: int) -> Select[Any]:
    # One statement: the counter moves by what really changed, and the row lock of its
    # UPDATE puts concurrent likes in a line. A `count(*)` would lose some of them.
    counted = (
        update(_posts)
        .where(_posts.c.id == change.c.post_id)
        .values(likes_count=_posts.c.likes_count + step)
        .returning(_posts.c.likes_count)
        .cte("counted")
    )
    return select(
        select(visible.c.id).exists().label("visible"),
        select(counted.c.likes_count).scalar_subquery().label("likes_count"),
    )


class PostLikeRepository(OrganizationAwareRepository[PostLike]):
    """The likes of the current organization's posts."""

    def like(self, post_id: UUID, user_id: str) -> bool:
        """Like a post, and return whether it was not liked before.

        Raises:
            NotFound: If the person does not see the post.
            Invalid: If the user id breaks a rule.
        """
        return self._run(like_statement(post_id, inputs.user_id(user_id)), post_id)

    def unlike(self, post_id: UUID, user_id: str) -> bool:
        """Take a like back, and return whether there was one.

        Raises:
            NotFound: If the person does not see the post.
            Invalid: If the user id breaks a rule.
        """
        return self._run(unlike_statement(post_id, inputs.user_id(user_id)), post_id)

    def liked_ids(self, user_id: str, post_ids: Iterable[UUID]) -> frozenset[UUID]:
        """Return which of some posts a person likes, in one query."""
        wanted = tuple(dict.fromkeys(post_ids))
        if not wanted:
            return frozenset()
        statement = select(PostLike.post_id).where(
            PostLike.user_id == inputs.reader(user_id), PostLike.post_id.in_(wanted)
        )
        return frozenset(self.session.scalars(statement))

    def list_likers(
        self, post_id: UUID, viewer: str, page: PageRequest = FIRST_PAGE
    ) -> Page[PostLike]:
        """Return a page of a post's likes with their people, newest first.

        Raises:
            NotFound: If the viewer does not see the post.
            InvalidCursor: If the cursor is not one of this list.
        """
        visible = select(Post.id).where(Post.id == post_id, visible_to(inputs.reader(viewer)))
        if not self.session.scalar(select(visible.exists())):
            raise NotFound("no such post")
        statement = select(PostLike).where(PostLike.post_id == post_id).execution_options(**FRESH)
        key = (PostLike.created_at, PostLike.user_id)
        return self.select_page(statement, key, page, order="likers", descending=True)

    def recount(self, post_id: UUID) -> int:
        """Set the number of a post's likes to what it truly is, and return it.

        Likes keep it exact by themselves: this is for rows that came in past them. It waits
        for the likes that are being made, and those to come wait for the transaction's end.

        Raises:
            NotFound: If there is no such post.
        """
        likes = select(func.count()).select_from(_likes).where(_likes.c.post_id == post_id)
        return recount(self.session, post_id, "likes_count", likes)

    def _run(self, statement: Select[Any], post_id: UUID) -> bool:
        session = self.session
        session.flush()  # a statement on tables does not flush by itself
        result = session.execute(statement).one()
        if not result.visible:
            raise NotFound("no such post")
        if result.likes_count is None:
            return False
        remember(session, Post, post_id, likes_count=result.likes_count)
        return True


class AsyncPostLikeRepository(AsyncOrganizationAwareRepository[PostLike], sync=PostLikeRepository):
    """The async twin of `PostLikeRepository`."""

    like = awaitable(PostLikeRepository.like)
    unlike = awaitable(PostLikeRepository.unlike)
    liked_ids = awaitable(PostLikeRepository.liked_ids)
    list_likers = awaitable(PostLikeRepository.list_likers)
    recount = awaitable(PostLikeRepository.recount)
