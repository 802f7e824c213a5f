"""A small ASGI client: it sees each message, and when the app has ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Scope


@dataclass
class Answer:
    """What the app sent, and how many pieces of the body it left unread."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)
    unread: int = 0

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def http_scope(
    method: str, path: str, headers: dict[str, str] | None = None, client: str = "127.0.0.1"
) -> Scope:
    path, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode("latin-1"),
        "headers": _raw({"host": "app.example:8000", **(headers or {})}),
        "client": (client, 1) if client else None,
        "server": ("app.example", 8000),
        "state": {},
    }


async def request(
    app: ASGIApp,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    on_start: Callable[[], Awaitable[None]] | None = None,
    body: Sequence[bytes] = (b"",),
    client: str = "127.0.0.1",
) -> Answer:
    """Send one request; returns when the app has ended, background tasks included.

    The body comes in these pieces, and is announced by whatever the headers say.

    An exception of the app is raised if it came after the last resort's response, too.
    """
    answer = Answer()
    ended = asyncio.Event()
    pieces = list(body)

    async def receive() -> Message:
        if pieces:
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            if on_start is not None:
                await on_start()
            answer.status = message["status"]
            answer.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        elif message["type"] == "http.response.body":
            if chunk := message.get("body", b""):
                answer.chunks.append(chunk)
            if not message.get("more_body", False):
                ended.set()

    await app(http_scope(method, path, headers, client), receive, send)
    answer.unread = len(pieces)
    return answer


async def websocket(
    app: ASGIApp, path: str, headers: dict[str, str] | None = None, texts: Sequence[str] = ()
) -> list[Message]:
    """Open a websocket, send texts and go; returns what the app sent."""
    scope = {**http_scope("GET", path, headers), "type": "websocket", "subprotocols": []}
    del scope["method"]
    incoming: list[Message] = [{"type": "websocket.connect"}]
    incoming += [{"type": "websocket.receive", "text": text} for text in texts]
    incoming += [{"type": "websocket.disconnect", "code": 1000}]
    outgoing: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        outgoing.append(message)

    await app(scope, receive, send)
    return outgoing


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]
