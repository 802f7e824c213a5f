"""Asks the library what the machine asks the model: sync, or awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from orgtenancy import Organization, PageRequest, Tenancy, community
from orgtenancy.community import models
from orgtenancy.errors import DomainError
from orgtenancy.pagination import Page
from tests.community.machine.base import Plain

REPOSITORIES = {
    "profiles": "UserProfileRepository",
    "activity": "ActivityLogRepository",
    "groups": "GroupRepository",
    "members": "GroupMemberRepository",
    "posts": "PostRepository",
    "likes": "PostLikeRepository",
    "comments": "PostCommentRepository",
    "conversations": "ConversationRepository",
    "participants": "ParticipantRepository",
    "messages": "MessageRepository",
}


@dataclass
class Block:
    """A transaction that stays open for several calls, in a context of its own."""

    context: Context
    manager: Any
    session: Any


@dataclass
class Answer:
    """What the library answered: a value, or the class of an error."""

    value: Any = None
    error: type[DomainError] | None = None
    pages: list[int] = field(default_factory=list)


class Caller(Protocol):
    """Calls methods of repositories."""

    def call(
        self, organization: Organization, block: Block | None, name: str, args: Mapping[str, Any]
    ) -> Answer:
        """Call `name`, like `posts.create`; in a transaction of its own without a block.

        With `limit` among the arguments, all pages of that size are read.
        """

    def begin(self, organization: Organization) -> Block:
        """Open a transaction."""

    def end(self, block: Block, *, commit: bool) -> None:
        """End a transaction."""


class TakeBack(Exception):
    """Why a transaction is rolled back."""


class SyncCaller:
    kind = "sync"

    def __init__(self, tenancy: Tenancy) -> None:
        self._tenancy = tenancy

    def begin(self, organization: Organization) -> Block:
        context, manager = copy_context(), self._tenancy.session(organization)
        return Block(context, manager, context.run(manager.__enter__))

    def end(self, block: Block, *, commit: bool) -> None:
        block.context.run(block.manager.__exit__, *_reason(commit))

    def call(
        self, organization: Organization, block: Block | None, name: str, args: Mapping[str, Any]
    ) -> Answer:
        try:
            if block is not None:
                return block.context.run(_call, block.session, name, args)
            with self._tenancy.session(organization) as session:
                return _call(session, name, args)
        except DomainError as error:
            return Answer(error=type(error))


class AsyncCaller:
    kind = "async"

    def __init__(self, tenancy: Tenancy, loop: asyncio.Runner) -> None:
        self._tenancy = tenancy
        self._loop = loop

    def begin(self, organization: Organization) -> Block:
        context, manager = copy_context(), self._tenancy.session(organization)
        return Block(context, manager, self._loop.run(manager.__aenter__(), context=context))

    def end(self, block: Block, *, commit: bool) -> None:
        self._loop.run(block.manager.__aexit__(*_reason(commit)), context=block.context)

    def call(
        self, organization: Organization, block: Block | None, name: str, args: Mapping[str, Any]
    ) -> Answer:
        context = None if block is None else block.context
        try:
            return self._loop.run(self._call(organization, block, name, args), context=context)
        except DomainError as error:
            return Answer(error=type(error))

    async def _call(
        self, organization: Organization, block: Block | None, name: str, args: Mapping[str, Any]
    ) -> Answer:
        if block is not None:
            return await _call_async(block.session, name, args)
        async with self._tenancy.session(organization) as session:
            return await _call_async(session, name, args)


def _reason(commit: bool) -> tuple[Any, Any, Any]:
    return (None, None, None) if commit else (TakeBack, TakeBack(), None)


def _method(session: Any, name: str, prefix: str = "") -> Callable[..., Any]:
    kind, _, method = name.partition(".")
    repository = getattr(community, f"{prefix}{REPOSITORIES[kind]}")
    method_of: Callable[..., Any] = getattr(repository(session), method)
    return method_of


def _call(session: Any, name: str, args: Mapping[str, Any]) -> Answer:
    function = _method(session, name)
    if "limit" not in args:
        return Answer(plain(function(**args)))
    answer, page = Answer([]), _first(args)
    while page is not None:
        page = _collect(answer, page, function(page=page, **_without_limit(args)))
    return answer


async def _call_async(session: Any, name: str, args: Mapping[str, Any]) -> Answer:
    function = _method(session, name, "Async")
    if "limit" not in args:
        return Answer(plain(await function(**args)))
    answer, page = Answer([]), _first(args)
    while page is not None:
        page = _collect(answer, page, await function(page=page, **_without_limit(args)))
    return answer


def _first(args: Mapping[str, Any]) -> PageRequest | None:
    return PageRequest(limit=args["limit"])


def _without_limit(args: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in args.items() if name != "limit"}


def _collect(answer: Answer, page: PageRequest, found: Page[Any]) -> PageRequest | None:
    answer.value += plain(found.items)
    answer.pages.append(len(found.items))
    assert len(answer.pages) < 500, "a list without an end"
    if found.next_cursor is None:
        return None
    assert len(found.items) == page.limit, "a page with another behind it is full"
    return PageRequest(limit=page.limit, cursor=found.next_cursor)


# --- rows as plain values, with their ids still UUIDs


def plain(value: Any) -> Any:
    """Return what the library returned in dicts and lists."""
    for kind, fields in _FIELDS.items():
        if isinstance(value, kind):
            return fields(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, frozenset):
        return set(value)
    return value


def _fields(row: Any, *names: str, **others: Any) -> Plain:
    return {name: getattr(row, name) for name in names} | others


def _name(profile: models.UserProfile | None) -> str | None:
    return None if profile is None else profile.username


def _profile(row: models.UserProfile) -> Plain:
    names = ("user_id", "username", "display_name", "bio", "avatar_url", "status")
    return _fields(row, *names, metadata=row.metadata_)


def _group(row: models.Group) -> Plain:
    names = ("id", "name", "slug", "description", "privacy", "category", "rules")
    archived = row.archived_at is not None
    return _fields(row, *names, "member_count", "owner_id", archived=archived)


def _member(row: models.GroupMember) -> Plain:
    assert (row.joined_at is not None) == (row.status == "active")
    return _fields(row, "group_id", "user_id", "role", "status", "invited_by")


def _post(row: models.Post) -> Plain:
    names = ("id", "user_id", "group_id", "content", "visibility", "media", "tags", "version")
    return _fields(
        row,
        *names,
        "likes_count",
        "comments_count",
        pinned=row.pinned_at is not None,
        locked=row.locked_at is not None,
        author=_name(row.author),
    )


def _comment(row: models.PostComment) -> Plain:
    return _fields(
        row,
        *("id", "post_id", "user_id", "parent_comment_id", "depth", "content", "removed_by"),
        deleted=row.deleted_at is not None,
        removed=row.removed_at is not None,
        author=_name(row.author),
    )


def _thread(thread: community.CommentThread) -> Plain:
    replies = [_comment(reply) for reply in thread.replies]
    return {"head": _comment(thread.head), "replies": replies, "has_more": thread.has_more}


def _conversation(row: models.Conversation) -> Plain:
    assert (row.last_message_at is not None) == (row.last_sequence > 0)
    return _fields(row, "id", "type", "name", "created_by", "last_sequence")


def _place(row: models.ConversationParticipant) -> Plain:
    return _fields(
        row,
        *("conversation_id", "user_id", "last_read_sequence", "muted_until"),
        read=row.last_read_at is not None,
        left=row.left_at is not None,
    )


def _message(row: models.Message) -> Plain:
    return _fields(
        row,
        *("id", "conversation_id", "sender_id", "sequence", "type", "content", "media_url"),
        "client_key",
        edited=row.edited_at is not None,
        deleted=row.deleted_at is not None,
        flags=[(flag["user_id"], flag["reason"]) for flag in row.flags],
    )


def _record(row: models.ActivityLog) -> Plain:
    return _fields(
        row,
        *("id", "user_id", "action", "entity_type", "entity_id"),
        metadata=row.metadata_,
        ip_address=None if row.ip_address is None else str(row.ip_address),
    )


_FIELDS: dict[type, Callable[[Any], Any]] = {
    models.UserProfile: _profile,
    models.Group: _group,
    models.GroupMember: _member,
    models.Post: _post,
    models.PostLike: lambda row: _fields(row, "post_id", "user_id", user=_name(row.user)),
    models.PostComment: _comment,
    community.CommentThread: _thread,
    models.Conversation: _conversation,
    models.ConversationParticipant: _place,
    models.Message: _message,
    models.ActivityLog: _record,
}

# --- past the repositories


def rows(session: Session) -> dict[str, Any]:
    """Return everything that is stored, as `Model.rows` does."""

    def read(model: Any, *key: Any) -> list[Any]:
        return list(session.scalars(select(model).order_by(*key)))

    members, places = models.GroupMember, models.ConversationParticipant
    posts = read(models.Post, models.Post.id)
    likes = read(models.PostLike, models.PostLike.post_id, models.PostLike.user_id)
    for post in posts:
        assert (post.deleted_at is None) == (post.deleted_by is None)
    found = {
        "profiles": read(models.UserProfile, models.UserProfile.user_id),
        "groups": read(models.Group, models.Group.id),
        "members": read(members, members.group_id, members.user_id),
        "posts": posts,
        "comments": read(models.PostComment, models.PostComment.id),
        "conversations": read(models.Conversation, models.Conversation.id),
        "places": read(places, places.conversation_id, places.user_id),
        "messages": read(models.Message, models.Message.id),
        "log": read(models.ActivityLog, models.ActivityLog.id),
    }
    return {
        **{name: plain(items) for name, items in found.items()},
        "posts": [(plain(post), post.deleted_by) for post in posts],
        "likes": [(like.post_id, like.user_id) for like in likes],
    }


_TABLES = sorted(models.metadata.tables)
_FINGERPRINT = text(
    " UNION ALL ".join(
        f"SELECT '{table}', count(*), md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), ''))"
        f' FROM "{table}" t'
        for table in _TABLES
    )
)


def fingerprint(session: Session) -> list[tuple[str, int, str]]:
    """Return what can be said of all rows of an organization in a few bytes."""
    return [(name, number, digest) for name, number, digest in session.execute(_FINGERPRINT)]


def clear(session: Session) -> None:
    """Delete all rows of an organization; what belongs to them goes along."""
    for table in ("groups", "posts", "conversations", "user_profiles", "activity_logs"):
        session.execute(text(f"DELETE FROM {table}"))


def make_old(session: Session, message_id: UUID) -> None:
    """Let the time to edit a message be over."""
    session.execute(
        text("UPDATE messages SET created_at = created_at - interval '1 day' WHERE id = :id"),
        {"id": message_id},
    )
