"""Mistakes that a type checker must see: checked by mypy and pyright, never run.

Each line names the error that both are to find; a mistake that goes unnoticed leaves an
unused comment, which is an error again.
"""

# pyright: enableTypeIgnoreComments=false, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from uuid import UUID

from orgtenancy.community import (
    AsyncPostLikeRepository,
    AsyncPostRepository,
    AsyncUserProfileRepository,
    PostRepository,
    UserProfile,
)

KEY = UUID(int=1)


def sync_methods(posts: PostRepository, profile: UserProfile) -> None:
    posts.find_feed()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    posts.find_feed(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    posts.add(profile)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def async_methods(posts: AsyncPostRepository, profile: UserProfile) -> None:
    await posts.find_feed()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await posts.find_feed(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await posts.find_feed("u", limit=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await posts.get_visible("u", KEY)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await posts.create(user_id="u")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await posts.create(user_id="u", content="x", visibility="all")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await posts.update(KEY, "u", content="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await posts.update(KEY, "u", expected_version=1, likes_count=9)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await posts.publish()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await posts.add(profile)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await posts.list(20)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    posts.count().bit_length()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


async def results(likes: AsyncPostLikeRepository, profiles: AsyncUserProfileRepository) -> None:
    text: str = await likes.like(KEY, "u")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    (await profiles.get_by_username(text)).bio  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess, reportUnusedExpression]
    await profiles.update("u", bio=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await profiles.update("u", status="active")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
