"""Posts: what people publish, and who sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict, Unpack, get_args
from uuid import UUID

from sqlalchemy import ColumnElement, Numeric, and_, func, literal, null, or_, select, true, update

from orgtenancy.community import inputs
from orgtenancy.community.feeds import PostReader
from orgtenancy.community.models import Group, GroupMember, Post, Visibility
from orgtenancy.community.models.posts import MAX_POST_LENGTH
from orgtenancy.community.rows import WRITES, load_authors
from orgtenancy.community.visibility import moderated_by, visible_to
from orgtenancy.errors import Conflict, Forbidden, Invalid, NotFound
from orgtenancy.repository import AsyncOrganizationAwareRepository, awaitable


class PostChanges(TypedDict, total=False):
    """What of a post shall change; what is absent stays."""

    content: str
    media: Sequence[Mapping[str, Any]]
    tags: Iterable[str]


class PostRepository(PostReader):
    """The posts of the current organization."""

    def create(
        self,
        *,
        user_id: str,
        content: str,
        visibility: Visibility | None = None,
        media: Sequence[Mapping[str, Any]] = (),
        tags: Iterable[str] = (),
        group_id: UUID | None = None,
    ) -> Post:
        """Publish a post and return it.

        Args:
            user_id: The author.
            content: 1 to 10,000 characters.
            visibility: By default `group` in a group, else `public`.
            media: JSON objects with a `url` each.
            tags: With or without `#`.
            group_id: The group it is for, whose active member the author must be.

        Raises:
            NotFound: If the author may not know of the group.
            Forbidden: If the author is no active member of it.
            Conflict: If the group is archived.
            Invalid: If a value breaks a rule.
        """
        expected: Visibility = "public" if group_id is None else "group"
        visibility = inputs.word("visibility", visibility or expected, get_args(Visibility))
        if (visibility == "group") != (group_id is not None):
            raise Invalid("visibility 'group' goes with a group_id, and a group_id with it")
        post = Post(
            user_id=inputs.user_id(user_id),
            group_id=group_id,
            content=inputs.text("content", content, MAX_POST_LENGTH),
            visibility=visibility,
            media=inputs.media(media),
            tags=inputs.tags(tags),
        )
        if group_id is not None:
            self._check_group(group_id, user_id)
        self.add(post)
        load_authors(self.session, [post])
        return post

    def update(
        self,
        post_id: UUID,
        actor_id: str,
        *,
        expected_version: int,
        **changes: Unpack[PostChanges],
    ) -> Post:
        """Change one's own post and return it.

        Args:
            post_id: Which post.
            actor_id: Who changes it: its author.
            expected_version: The `version` that the change was made from.
            **changes: `content`, `media`, `tags`.

        Raises:
            NotFound: If the actor does not see the post.
            Forbidden: If it is somebody else's.
            Conflict: If it has another version by now.
            Invalid: If a value breaks a rule.
        """
        actor_id = inputs.user_id(actor_id)
        statement = (
            update(Post)
            .where(
                Post.id == post_id,
                Post.user_id == actor_id,
                # A number of any size: one that no column can hold is another version too.
                Post.version == literal(expected_version, Numeric),
                visible_to(actor_id),
            )
            .values(
                {
                    **_checked(changes),
                    Post.version: Post.version + 1,
                    Post.updated_at: func.now(),
                }
            )
            .returning(Post)
        )
        post = self.session.scalar(statement, execution_options=WRITES)
        if post is None:
            found = self.get_visible(post_id, actor_id)
            if found.user_id != actor_id:
                raise Forbidden("only its author can change a post")
            raise Conflict(
                f"the post has version {found.version}, the change was made from version "
                f"{expected_version}"
            )
        load_authors(self.session, [post])
        return post

    def soft_delete(self, post_id: UUID, actor_id: str, *, moderating: bool = False) -> None:
        """Take a post out of every list; its row stays.

        Args:
            post_id: Which post.
            actor_id: Who deletes it: its author, or a moderator of its group.
            moderating: Whether the actor moderates the whole organization.

        Raises:
            NotFound: If the actor does not see the post, for instance as it is deleted.
            Forbidden: If it is not the actor's to delete.
            Invalid: If the actor's id breaks a rule.
        """
        actor_id = inputs.user_id(actor_id)
        statement = (
            update(Post)
            .where(
                Post.id == post_id,
                visible_to(actor_id),
                or_(Post.user_id == actor_id, _moderates(actor_id, moderating)),
            )
            .values(deleted_at=func.now(), deleted_by=actor_id)
            .returning(Post.id)
        )
        if self.session.scalar(statement, execution_options=WRITES) is None:
            self.get_visible(post_id, actor_id)
            raise Forbidden("only its author or a moderator can delete a post")

    def pin(
        self, post_id: UUID, actor_id: str, *, pinned: bool = True, moderating: bool = False
    ) -> Post:
        """Pin a post or take the pin off, and return the post.

        A pin is no edit: the version stays. Pinning again keeps the time of the first pin.

        Args:
            post_id: Which post.
            actor_id: Who pins it: a moderator of its group.
            pinned: Whether it shall be pinned.
            moderating: Whether the actor moderates the whole organization.

        Raises:
            NotFound: If the actor does not see the post.
            Forbidden: If it is not the actor's to pin.
            Invalid: If the actor's id breaks a rule.
        """
        actor_id = inputs.user_id(actor_id)
        allowed = _moderates(actor_id, moderating)
        values = {Post.pinned_at: func.least(Post.pinned_at, func.now()) if pinned else null()}
        return self._mark(
            post_id, actor_id, allowed, values, "only a moderator can pin a post or unpin it"
        )

    def lock(
        self, post_id: UUID, actor_id: str, *, locked: bool = True, moderating: bool = False
    ) -> Post:
        """Close a post to comments or open it again, and return the post.

        A lock is no edit: the version stays. Locking again keeps the time of the first lock.

        Args:
            post_id: Which post.
            actor_id: Who locks it: its author, or a moderator of its group.
            locked: Whether it shall be locked.
            moderating: Whether the actor moderates the whole organization.

        Raises:
            NotFound: If the actor does not see the post.
            Forbidden: If it is not the actor's to lock.
            Invalid: If the actor's id breaks a rule.
        """
        actor_id = inputs.user_id(actor_id)
        allowed = or_(Post.user_id == actor_id, _moderates(actor_id, moderating))
        values = {Post.locked_at: func.least(Post.locked_at, func.now()) if locked else null()}
        return self._mark(
            post_id,
            actor_id,
            allowed,
            values,
            "only its author or a moderator can lock a post or unlock it",
        )

    def _mark(
        self,
        post_id: UUID,
        actor_id: str,
        allowed: ColumnElement[bool],
        values: dict[Any, Any],
        refusal: str,
    ) -> Post:
        statement = (
            update(Post)
            .where(Post.id == post_id, visible_to(actor_id), allowed)
            .values(values)
            .returning(Post)
        )
        post = self.session.scalar(statement, execution_options=WRITES)
        if post is None:
            self.get_visible(post_id, actor_id)
            raise Forbidden(refusal)
        load_authors(self.session, [post])
        return post

    def _check_group(self, group_id: UUID, user_id: str) -> None:
        row = self.session.execute(
            select(Group.privacy, Group.archived_at, GroupMember.status)
            .outerjoin(
                GroupMember,
                and_(GroupMember.group_id == Group.id, GroupMember.user_id == user_id),
            )
            .where(Group.id == group_id)
        ).one_or_none()
        if row is None or (row.privacy == "secret" and row.status not in ("active", "invited")):
            raise NotFound("no such group")
        if row.status != "active":
            raise Forbidden("only active members can post in a group")
        if row.archived_at is not None:
            raise Conflict("the group is archived")


class AsyncPostRepository(AsyncOrganizationAwareRepository[Post], sync=PostRepository):
    """The async twin of `PostRepository`."""

    find_feed = awaitable(PostRepository.find_feed)
    find_by_author = awaitable(PostRepository.find_by_author)
    find_by_group = awaitable(PostRepository.find_by_group)
    find_by_tag = awaitable(PostRepository.find_by_tag)
    find_pinned = awaitable(PostRepository.find_pinned)
    search = awaitable(PostRepository.search)
    get_visible = awaitable(PostRepository.get_visible)
    create = awaitable(PostRepository.create)
    update = awaitable(PostRepository.update)
    soft_delete = awaitable(PostRepository.soft_delete)
    pin = awaitable(PostRepository.pin)
    lock = awaitable(PostRepository.lock)


def _moderates(actor_id: str, moderating: bool) -> ColumnElement[bool]:
    return true() if moderating else moderated_by(actor_id)


def _checked(changes: PostChanges) -> dict[Any, Any]:
    unknown = changes.keys() - PostChanges.__annotations__.keys()
    if unknown:
        raise Invalid(f"a post has no such {', '.join(sorted(unknown))}")
    values: dict[Any, Any] = {}
    if "content" in changes:
        values[Post.content] = inputs.text("content", changes["content"], MAX_POST_LENGTH)
    if "media" in changes:
        values[Post.media] = inputs.media(changes["media"])
    if "tags" in changes:
        values[Post.tags] = inputs.tags(changes["tags"])
    return values
