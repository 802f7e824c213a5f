"""Lists of posts: what a person sees of the organization, newest first."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Select, select

from orgtenancy.community import inputs
from orgtenancy.community.models import Group, Post
from orgtenancy.community.rows import FRESH
from orgtenancy.community.search import matches
from orgtenancy.community.visibility import group_visible_to, groups_of, visible_to
from orgtenancy.errors import Forbidden, NotFound
from orgtenancy.pagination import Page, PageRequest
from orgtenancy.repository import FIRST_PAGE, OrganizationAwareRepository

# The table, as the class leaves out the column that is searched.
_posts: Any = Post.__table__


def visible_posts(viewer: str, *, author: str | None = None) -> Select[Post]:
    """Select the posts that a person sees, with their authors; `author` as in `visible_to`."""
    visible = visible_to(inputs.reader(viewer), author=author)
    return select(Post).where(visible).execution_options(**FRESH)


class PostReader(OrganizationAwareRepository[Post]):
    """The posts of the current organization, as people read them.

    Each page is one statement, whatever its size, with the authors loaded.
    """

    def get_visible(self, post_id: UUID, viewer: str) -> Post:
        """Return a post that a person sees.

        Raises:
            NotFound: If there is none, or they may not know of it.
        """
        post = self.session.scalar(visible_posts(viewer).where(Post.id == post_id))
        if post is None:
            raise NotFound("no such post")
        return post

    def find_feed(self, user_id: str, page: PageRequest = FIRST_PAGE) -> Page[Post]:
        """Return a page of what a person sees, newest first, authors loaded.

        Raises:
            InvalidCursor: If the cursor is not one of the feed.
        """
        return self.select_page(
            visible_posts(user_id),
            (Post.id,),
            page,
            order="feed",
            descending=True,
            literal_limit=True,
        )

    def find_by_author(
        self, author_id: str, viewer: str, page: PageRequest = FIRST_PAGE
    ) -> Page[Post]:
        """Return a page of what a person sees of an author, newest first.

        Raises:
            InvalidCursor: If the cursor is not one of this list.
        """
        author = inputs.reader(author_id)
        statement = visible_posts(viewer, author=author).where(Post.user_id == author)
        return self._newest(statement, page, order="author")

    def find_by_group(
        self, group_id: UUID, viewer: str, page: PageRequest = FIRST_PAGE
    ) -> Page[Post]:
        """Return a page of a group's posts, newest first.

        Raises:
            NotFound: If the viewer may not know of the group.
            Forbidden: If they are no active member of it, even where it is public.
            InvalidCursor: If the cursor is not one of this list.
        """
        return self._of_group(visible_posts(viewer), group_id, viewer, page, order="group")

    def find_by_tag(self, tag: str, viewer: str, page: PageRequest = FIRST_PAGE) -> Page[Post]:
        """Return a page of what a person sees under a tag, newest first.

        Args:
            tag: With or without `#`, in upper or lower case.
            viewer: Who reads.
            page: Which page.

        Raises:
            Invalid: If no post can have the tag.
            InvalidCursor: If the cursor is not one of this list.
        """
        statement = visible_posts(viewer).where(Post.tags.bool_op("@>")([inputs.tag(tag)]))
        return self._newest(statement, page, order="tag")

    def find_pinned(
        self, viewer: str, page: PageRequest = FIRST_PAGE, *, group_id: UUID | None = None
    ) -> Page[Post]:
        """Return a page of pinned posts, newest first.

        Args:
            viewer: Who reads.
            page: Which page.
            group_id: The group where they are pinned; by default those outside groups.

        Raises:
            NotFound: If the viewer may not know of the group.
            Forbidden: If they are no active member of it.
            InvalidCursor: If the cursor is not one of this list.
        """
        pinned = visible_posts(viewer).where(Post.pinned_at.is_not(None))
        if group_id is not None:
            return self._of_group(pinned, group_id, viewer, page, order="group-pinned")
        return self._newest(pinned.where(Post.group_id.is_(None)), page, order="pinned")

    def search(self, query: str, viewer: str, page: PageRequest = FIRST_PAGE) -> Page[Post]:
        """Return a page of what a person sees of the posts that match, newest first.

        Args:
            query: As for a web search: words in any inflection, `"side by side"`, `or`,
                `-without`; 1 to 200 characters.
            viewer: Who searches.
            page: Which page.

        Raises:
            Invalid: If the query is blank or too long.
            InvalidCursor: If the cursor is not one of this list.
        """
        statement = visible_posts(viewer).where(matches(_posts.c.search, query))
        return self._newest(statement, page, order="search")

    def _of_group(
        self, posts: Select[Post], group_id: UUID, viewer: str, page: PageRequest, *, order: str
    ) -> Page[Post]:
        reader = inputs.reader(viewer)
        # Being an active member is part of the query: who has left still sees what they
        # wrote themselves, and an answer never rests on an earlier statement.
        found = self._newest(
            posts.where(Post.group_id == group_id, Post.group_id.in_(groups_of(reader))),
            page,
            order=order,
        )
        if not found.items:
            self._check_reader(group_id, reader)
        return found

    def _check_reader(self, group_id: UUID, reader: str) -> None:
        """Tell an empty list from one that is not for this reader."""
        row = self.session.execute(
            select(Group.id.in_(groups_of(reader)).label("is_member")).where(
                Group.id == group_id, group_visible_to(reader)
            )
        ).one_or_none()
        if row is None:
            raise NotFound("no such group")
        if not row.is_member:
            raise Forbidden("only active members read the posts of a group")

    def _newest(self, statement: Select[Post], page: PageRequest, *, order: str) -> Page[Post]:
        return self.select_page(statement, (Post.id,), page, order=order, descending=True)
