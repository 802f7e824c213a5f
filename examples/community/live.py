"""News for browsers as they happen: a stream of server-sent events for each open page.

One connection per process listens, to the channels of the organizations that somebody
watches. A stream holds no connection while it waits. What it hears on the channel is a hint
from anybody (see `news.py`): before a person is told, their organization's own tables say
whether there is such a thing and whether they may know of it.

It listens on the server that the app's URL names; where organizations are placed on several
servers, each of those needs a connection like this one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import psycopg
from fastapi import APIRouter, Request
from psycopg import sql
from pydantic import ValidationError
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from starlette.responses import Response, StreamingResponse

from examples.community.news import News, channel_of
from orgtenancy import Organization, OrgTenancyError, Tenancy
from orgtenancy.adapters.fastapi import CurrentActor, CurrentOrganization
from orgtenancy.community import ConversationRepository, MessageRepository, PostRepository
from orgtenancy.errors import NotFound

router = APIRouter(include_in_schema=False)
logger = logging.getLogger(__name__)

_TURN = 0.2  # seconds until a new channel is listened to, at the most
_RECONNECT = 2.0  # seconds before another attempt
_HEARTBEAT = 20.0  # seconds between comments, so that nobody on the way hangs up
_LIFETIME = 900.0  # seconds of one stream: the next one's token is checked anew
_MAX_WAITING = 500  # news that one slow browser may leave lying


class Watch:
    """What one stream hears of a channel."""

    def __init__(self) -> None:
        self._news: asyncio.Queue[News | None] = asyncio.Queue(_MAX_WAITING)
        self.is_heard = asyncio.Event()
        self.is_over = False

    def put(self, news: News) -> None:
        """Hand in news; whoever does not keep up has to begin anew."""
        try:
            self._news.put_nowait(news)
        except asyncio.QueueFull:
            self.end()

    def end(self) -> None:
        """Wake up whoever waits, for the last time."""
        self.is_over = True
        self.is_heard.set()
        with suppress(asyncio.QueueFull):
            self._news.put_nowait(None)

    async def wait(self, seconds: float) -> list[News]:
        """Return the news that came until now, or the next ones; none if nothing came."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                found = [await self._news.get()]
                while not self._news.empty():
                    found.append(self._news.get_nowait())
                return list(dict.fromkeys(news for news in found if news is not None))
        return []


class Hub:
    """Listens for all streams of a process; as a block, while the app runs.

    Args:
        url: The app's login; LISTEN needs no right.
    """

    def __init__(self, url: URL) -> None:
        self._options: dict[str, Any] = {
            **url.query,
            **url.translate_connect_args(username="user", database="dbname"),
        }
        self._watches: dict[str, set[Watch]] = {}
        self._is_stopped = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.stop()
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def stop(self) -> None:
        """End all streams, and those to come at once."""
        self._is_stopped = True
        self._end_watches()

    @contextmanager
    def watch(self, organization: Organization) -> Iterator[Watch]:
        """Hear of an organization while the block lasts."""
        channel, watch = channel_of(organization), Watch()
        self._watches.setdefault(channel, set()).add(watch)
        if self._is_stopped:
            watch.end()
        try:
            yield watch
        finally:
            self._watches[channel].discard(watch)
            if not self._watches[channel]:
                del self._watches[channel]

    async def _run(self) -> None:
        while True:
            try:
                connect = psycopg.AsyncConnection.connect(autocommit=True, **self._options)
                async with await connect as connection:
                    await self._follow(connection)
            except psycopg.Error as error:
                logger.warning("no live updates for a moment: %s", error)
            # What was said meanwhile is lost: browsers that come again look for themselves.
            self._end_watches()
            await asyncio.sleep(_RECONNECT)

    async def _follow(self, connection: psycopg.AsyncConnection) -> None:
        heard: set[str] = set()
        while True:
            wanted = set(self._watches)
            for command, channels in (("LISTEN", wanted - heard), ("UNLISTEN", heard - wanted)):
                for channel in channels:
                    statement = sql.SQL(command + " {}").format(sql.Identifier(channel))
                    await connection.execute(statement)
            heard = wanted
            for channel in heard:
                for watch in self._watches.get(channel, ()):
                    watch.is_heard.set()
            async for notification in connection.notifies(timeout=_TURN):
                self._deliver(notification)

    def _deliver(self, notification: psycopg.Notify) -> None:
        with suppress(ValidationError):  # anybody can say anything on a channel
            news = News.model_validate_json(notification.payload)
            for watch in self._watches.get(notification.channel, ()):
                watch.put(news)

    def _end_watches(self) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.end()


@router.get("/live")
async def stream_news(
    request: Request, actor: CurrentActor, organization: CurrentOrganization
) -> Response:
    """Tell a browser what is new in its organization, and known to who is signed in."""
    hub, tenancy = request.app.state.hub, request.app.state.tenancy
    return StreamingResponse(
        _events(hub, tenancy, organization, actor.id),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(
    hub: Hub, tenancy: Tenancy, organization: Organization, viewer: str
) -> AsyncIterator[str]:
    ends = time.monotonic() + _LIFETIME
    with hub.watch(organization) as watch:
        await watch.is_heard.wait()
        # From here on nothing is missed: the page asks once for what came before.
        yield _event("ready", {})
        while not watch.is_over and time.monotonic() < ends:
            heard = await watch.wait(_HEARTBEAT)
            if not heard:
                yield ": nothing new\n\n"
                continue
            try:
                known = await tenancy.run_async(known_to, viewer, heard)
            except (OrgTenancyError, DBAPIError):
                return  # the organization was closed, or the database is: no more of it
            for kind, data in known:
                yield _event(kind, data)


def known_to(session: Session, viewer: str, heard: Iterable[News]) -> list[tuple[str, Any]]:
    """Return what of the news a person may know, as events: ids, and nothing anybody wrote."""
    events: list[tuple[str, Any]] = []
    for news in heard:
        with suppress(NotFound):
            match news.kind:
                case "message":
                    message = MessageRepository(session).get_visible(news.id, viewer)
                    conversation = str(message.conversation_id)
                    events.append(("message", {"id": str(news.id), "conversation": conversation}))
                case "read":
                    ConversationRepository(session).get_visible(news.id, viewer)
                    events.append(("read", {"conversation": str(news.id)}))
                case "post":
                    post = PostRepository(session).get_visible(news.id, viewer)
                    if post.user_id != viewer:
                        group = None if post.group_id is None else str(post.group_id)
                        events.append(("post", {"id": str(news.id), "group": group}))
    return events


def _event(kind: str, data: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"
