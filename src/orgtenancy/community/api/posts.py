"""Posts and likes over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field
from sqlalchemy.orm import Session

from orgtenancy.community.api.common import (
    Body,
    PersonView,
    Text,
    UserId,
    View,
    absent,
    is_moderator,
    record,
)
from orgtenancy.community.inputs import MAX_TAG_LENGTH
from orgtenancy.community.likes import PostLikeRepository
from orgtenancy.community.models import Post, PostLike, Visibility
from orgtenancy.community.models.posts import MAX_MEDIA, MAX_POST_LENGTH, MAX_TAGS
from orgtenancy.community.posts import PostRepository
from orgtenancy.endpoints import Caller
from orgtenancy.pagination import Page, PageRequest

Content = Annotated[Text, Field(min_length=1, max_length=MAX_POST_LENGTH)]
Tag = Annotated[Text, Field(min_length=1, max_length=MAX_TAG_LENGTH + 1)]
Tags = Annotated[tuple[Tag, ...], Field(max_length=MAX_TAGS)]
Media = Annotated[tuple[dict[str, Any], ...], Field(max_length=MAX_MEDIA)]


class PostView(View):
    """A post, as one person sees it."""

    id: UUID
    author: PersonView
    group_id: UUID | None
    content: str
    visibility: Visibility
    media: list[dict[str, Any]]
    tags: list[str]
    likes_count: int
    comments_count: int
    liked: bool
    version: int
    pinned: bool
    locked: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, post: Post, *, liked: bool) -> Self:
        """Return the view of a post."""
        return cls(
            id=post.id,
            author=PersonView.of(post.user_id, post.author),
            group_id=post.group_id,
            content=post.content,
            visibility=post.visibility,
            media=post.media,
            tags=post.tags,
            likes_count=post.likes_count,
            comments_count=post.comments_count,
            liked=liked,
            version=post.version,
            pinned=post.pinned_at is not None,
            locked=post.locked_at is not None,
            created_at=post.created_at,
            updated_at=post.updated_at,
        )


class LikeView(View):
    """A like, with the person."""

    person: PersonView
    created_at: datetime

    @classmethod
    def of(cls, like: PostLike) -> Self:
        """Return the view of a like."""
        return cls(person=PersonView.of(like.user_id, like.user), created_at=like.created_at)


class LikeResult(View):
    """What a like, or taking it back, came to."""

    liked: bool
    changed: bool
    likes_count: int


class NewPost(Body):
    """A post to publish."""

    content: Content
    visibility: Visibility | None = None
    media: Media = ()
    tags: Tags = ()
    group_id: UUID | None = None


class PostEdit(Body):
    """What of a post shall change; what is absent stays."""

    expected_version: Annotated[int, Field(ge=1, lt=2**31)]
    content: Content = absent
    media: Media = absent
    tags: Tags = absent


class PinnedQuery(PageRequest):
    """Which pinned posts: of a group, or of the organization outside of groups."""

    group_id: UUID | None = None


def read_feed(session: Session, caller: Caller, *, query: PageRequest) -> Page[PostView]:
    """Return what the caller sees, newest first."""
    return post_views(session, caller, PostRepository(session).find_feed(caller.id, query))


def list_pinned_posts(session: Session, caller: Caller, *, query: PinnedQuery) -> Page[PostView]:
    """List pinned posts, newest first."""
    found = PostRepository(session).find_pinned(caller.id, query, group_id=query.group_id)
    return post_views(session, caller, found)


def list_posts_by_tag(
    session: Session, caller: Caller, *, tag: Tag, query: PageRequest
) -> Page[PostView]:
    """List the posts with a tag, newest first."""
    return post_views(session, caller, PostRepository(session).find_by_tag(tag, caller.id, query))


def list_posts_by_author(
    session: Session, caller: Caller, *, user_id: UserId, query: PageRequest
) -> Page[PostView]:
    """List the posts of a person, newest first."""
    found = PostRepository(session).find_by_author(user_id, caller.id, query)
    return post_views(session, caller, found)


def list_posts_by_group(
    session: Session, caller: Caller, *, group_id: UUID, query: PageRequest
) -> Page[PostView]:
    """List the posts of a group, newest first; for its members."""
    found = PostRepository(session).find_by_group(group_id, caller.id, query)
    return post_views(session, caller, found)


def create_post(session: Session, caller: Caller, *, body: NewPost) -> PostView:
    """Publish a post, to everyone or in a group."""
    post = PostRepository(session).create(
        user_id=caller.id,
        content=body.content,
        visibility=body.visibility,
        media=body.media,
        tags=body.tags,
        group_id=body.group_id,
    )
    record(session, caller, "post.create", post.id)
    return PostView.of(post, liked=False)


def read_post(session: Session, caller: Caller, *, post_id: UUID) -> PostView:
    """Return a post."""
    return post_view(session, caller, PostRepository(session).get_visible(post_id, caller.id))


def update_post(session: Session, caller: Caller, *, post_id: UUID, body: PostEdit) -> PostView:
    """Change one's own post, unless somebody changed it since it was read."""
    changes = body.model_dump(exclude_unset=True)
    version = changes.pop("expected_version")
    post = PostRepository(session).update(post_id, caller.id, expected_version=version, **changes)
    record(session, caller, "post.update", post_id)
    return post_view(session, caller, post)


def delete_post(session: Session, caller: Caller, *, post_id: UUID) -> None:
    """Delete a post: its author, a moderator of its group, or of the organization."""
    moderating = is_moderator(session, caller)
    PostRepository(session).soft_delete(post_id, caller.id, moderating=moderating)
    record(session, caller, "post.delete", post_id)


def pin_post(session: Session, caller: Caller, *, post_id: UUID) -> PostView:
    """Pin a post; for moderators."""
    return _pin(session, caller, post_id, pinned=True)


def unpin_post(session: Session, caller: Caller, *, post_id: UUID) -> PostView:
    """Take a pin back; for moderators."""
    return _pin(session, caller, post_id, pinned=False)


def lock_post(session: Session, caller: Caller, *, post_id: UUID) -> PostView:
    """Close a post for comments; for its author and moderators."""
    return _lock(session, caller, post_id, locked=True)


def unlock_post(session: Session, caller: Caller, *, post_id: UUID) -> PostView:
    """Open a post for comments again."""
    return _lock(session, caller, post_id, locked=False)


def like_post(session: Session, caller: Caller, *, post_id: UUID) -> LikeResult:
    """Like a post; again is the same as once."""
    changed = PostLikeRepository(session).like(post_id, caller.id)
    if changed:
        record(session, caller, "post.like", post_id)
    return _like_result(session, caller, post_id, liked=True, changed=changed)


def unlike_post(session: Session, caller: Caller, *, post_id: UUID) -> LikeResult:
    """Take a like back; again is the same as once."""
    changed = PostLikeRepository(session).unlike(post_id, caller.id)
    if changed:
        record(session, caller, "post.unlike", post_id)
    return _like_result(session, caller, post_id, liked=False, changed=changed)


def list_likes(
    session: Session, caller: Caller, *, post_id: UUID, query: PageRequest
) -> Page[LikeView]:
    """List who likes a post, newest first."""
    return PostLikeRepository(session).list_likers(post_id, caller.id, query).map(LikeView.of)


def post_view(session: Session, caller: Caller, post: Post) -> PostView:
    """Return the view of a post."""
    liked = PostLikeRepository(session).liked_ids(caller.id, [post.id])
    return PostView.of(post, liked=bool(liked))


def post_views(session: Session, caller: Caller, page: Page[Post]) -> Page[PostView]:
    """Return the views of a page of posts."""
    liked = PostLikeRepository(session).liked_ids(caller.id, [post.id for post in page.items])
    return page.map(lambda post: PostView.of(post, liked=post.id in liked))


def _pin(session: Session, caller: Caller, post_id: UUID, *, pinned: bool) -> PostView:
    moderating = is_moderator(session, caller)
    post = PostRepository(session).pin(post_id, caller.id, pinned=pinned, moderating=moderating)
    record(session, caller, "post.pin" if pinned else "post.unpin", post_id)
    return post_view(session, caller, post)


def _lock(session: Session, caller: Caller, post_id: UUID, *, locked: bool) -> PostView:
    moderating = is_moderator(session, caller)
    post = PostRepository(session).lock(post_id, caller.id, locked=locked, moderating=moderating)
    record(session, caller, "post.lock" if locked else "post.unlock", post_id)
    return post_view(session, caller, post)


def _like_result(
    session: Session, caller: Caller, post_id: UUID, *, liked: bool, changed: bool
) -> LikeResult:
    post = PostRepository(session).get_visible(post_id, caller.id)
    return LikeResult(liked=liked, changed=changed, likes_count=post.likes_count)
