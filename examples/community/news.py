"""What has changed, told as it is committed: by the pages, the API and whatever comes next.

News go out by `NOTIFY` in the transaction that makes them: what is rolled back was never
said, and all processes of the app hear it. The hooks are on the session, below repositories
and endpoints, so nobody who writes a message has to remember them. Only a few statements
are looked at: those that return a message or somebody's place in a conversation, and the
INSERT of a post.

Channels are shared by the whole database server: who can open a connection can listen to
any, and say anything. So each organization has its own channel, the news say only what kind
of thing it is and its id, and whoever hears them asks the organization's tables what is true
(`live.py`).

Commits with a NOTIFY stand in one line per server: for a demo, and for most communities, that
is no matter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, Result, event, func, select
from sqlalchemy.orm import Mapper, ORMExecuteState, object_session

from orgtenancy import Organization
from orgtenancy.community import ConversationParticipant, Message, Post
from orgtenancy.database.sessions import OrganizationSession

_WATCHED = (Message, ConversationParticipant)


class News(BaseModel):
    """That something is new: a post or message, or how far somebody has read.

    Attributes:
        kind: What kind of thing.
        id: Which post or message; of `read`, which conversation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["post", "message", "read"]
    id: UUID


def channel_of(organization: Organization) -> str:
    """Return the channel of an organization: its role's name is never given to another."""
    return "community_" + hashlib.sha256(organization.role_name.encode()).hexdigest()[:32]


@contextmanager
def announcing() -> Iterator[None]:
    """Tell what sessions of organizations write, while the block lasts."""
    event.listen(OrganizationSession, "do_orm_execute", _hear_statement)
    event.listen(Post, "after_insert", _hear_post)
    try:
        yield
    finally:
        event.remove(Post, "after_insert", _hear_post)
        event.remove(OrganizationSession, "do_orm_execute", _hear_statement)


def _hear_statement(state: ORMExecuteState) -> Result[Any] | None:
    mapper = state.bind_mapper
    if mapper is None or not (state.is_insert or state.is_update) or mapper.class_ not in _WATCHED:
        return None
    result = state.invoke_statement()
    if not getattr(result, "returns_rows", True):  # an INSERT of many, which returns nothing
        return result
    rows = result.freeze()  # it is read here, and by whoever ran the statement
    for row in rows():
        if isinstance(row[0], Message):
            _tell(state.session, News(kind="message", id=row[0].id))
        elif isinstance(row[0], ConversationParticipant):
            _tell(state.session, News(kind="read", id=row[0].conversation_id))
    return rows()


def _hear_post(mapper: Mapper[Any], connection: Connection, post: Post) -> None:
    # Inside of a flush: the session cannot run statements, its connection can.
    session = object_session(post)
    if isinstance(session, OrganizationSession):
        _tell(session, News(kind="post", id=post.id), connection)


def _tell(session: Any, news: News, connection: Connection | None = None) -> None:
    channel = channel_of(session.organization)
    statement = select(func.pg_notify(channel, news.model_dump_json()))
    (connection if connection is not None else session).execute(statement)
