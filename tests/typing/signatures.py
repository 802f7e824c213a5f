"""What a type checker sees through `awaitable`: checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from orgtenancy import (
    AsyncOrganizationAwareRepository,
    OrganizationAwareRepository,
    Page,
    PageRequest,
    awaitable,
)
from orgtenancy.community import (
    AsyncPostCommentRepository,
    AsyncPostLikeRepository,
    AsyncPostRepository,
    AsyncUserProfileRepository,
    CommentThread,
    Post,
    PostComment,
    PostCommentRepository,
    PostLike,
    PostLikeRepository,
    PostRepository,
    UserProfile,
    UserProfileRepository,
)

KEY = UUID(int=1)


def sync_methods(session: Session) -> None:
    posts = PostRepository(session)
    assert_type(posts.find_feed("u"), Page[Post])
    assert_type(posts.find_feed("u", PageRequest(limit=5)).items, tuple[Post, ...])
    assert_type(posts.get(KEY), Post | None)
    assert_type(posts.get_many([KEY]), Sequence[Post])
    assert_type(posts.list(), Page[Post])
    assert_type(posts.with_session(session), PostRepository)
    assert_type(posts.get_visible(KEY, "u").author, UserProfile | None)
    assert_type(posts.update(KEY, "u", expected_version=1, content="x"), Post)
    assert_type(PostLikeRepository(session).liked_ids("u", [KEY]), frozenset[UUID])
    assert_type(PostCommentRepository(session).list_tree(KEY, "u"), Page[CommentThread])
    assert_type(UserProfileRepository(session).update("u", bio=None), UserProfile)


async def async_methods() -> None:
    posts = AsyncPostRepository()
    assert_type(await posts.find_feed("u"), Page[Post])
    assert_type(await posts.find_feed("u", page=PageRequest(limit=5)), Page[Post])
    assert_type(await posts.find_by_author("a", "u"), Page[Post])
    assert_type(await posts.get_visible(KEY, "u"), Post)
    assert_type(await posts.create(user_id="u", content="x", visibility="private"), Post)
    assert_type(await posts.update(KEY, "u", expected_version=1, tags=["a"]), Post)
    await posts.soft_delete(KEY, "u", moderating=True)

    assert_type(await AsyncPostLikeRepository().like(KEY, "u"), bool)
    assert_type(await AsyncPostLikeRepository().liked_ids("u", [KEY]), frozenset[UUID])
    assert_type(await AsyncPostLikeRepository().list_likers(KEY, "u"), Page[PostLike])

    comments = AsyncPostCommentRepository()
    assert_type(await comments.create(post_id=KEY, user_id="u", content="x"), PostComment)
    assert_type(await comments.list_tree(KEY, "u"), Page[CommentThread])
    assert_type(await comments.list_replies(KEY, "u"), Page[CommentThread])
    assert_type(await comments.soft_delete(KEY, "u"), bool)

    profiles = AsyncUserProfileRepository()
    assert_type(await profiles.get_by_username("u"), UserProfile | None)
    assert_type(await profiles.upsert_from_claims({"sub": "u"}), UserProfile)
    assert_type(await profiles.update("u", bio=None, username="x"), UserProfile)


async def inherited_async_methods(post: Post) -> None:
    posts = AsyncPostRepository()
    assert_type(await posts.get(KEY), Post | None)
    assert_type(await posts.get_many([KEY]), Sequence[Post])
    assert_type(await posts.add(post), Post)
    assert_type(await posts.list(), Page[Post])
    assert_type(await posts.list(PageRequest(limit=5)), Page[Post])
    assert_type(await posts.count(), int)
    assert_type(await posts.exists(KEY), bool)
    await posts.delete(post)


class Base(DeclarativeBase):
    pass


class Invoice(Base):
    __tablename__ = "invoices"

    id: Mapped[int] = mapped_column(primary_key=True)


class InvoiceRepository(OrganizationAwareRepository[Invoice]):
    """A host's own repository, written as the community's are."""

    def largest(self, limit: int, *, paid: bool = False) -> list[Invoice]:
        return list(self.session.scalars(self._statement().limit(limit)))

    def _statement(self) -> Select[Invoice]:
        return select(Invoice)


class AsyncInvoiceRepository(AsyncOrganizationAwareRepository[Invoice], sync=InvoiceRepository):
    largest = awaitable(InvoiceRepository.largest)


async def a_hosts_own_repository() -> None:
    invoices = AsyncInvoiceRepository()
    assert_type(await invoices.largest(3), list[Invoice])
    assert_type(await invoices.largest(3, paid=True), list[Invoice])
    assert_type(await invoices.get(1), Invoice | None)
