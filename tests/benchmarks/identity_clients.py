"""Clients that call an app in their own process, as a server would: nothing is parsed or sent."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

from flask import Flask
from starlette.types import ASGIApp, Message


async def ask_asgi(app: ASGIApp, user_id: str, token: str) -> None:
    """Ask an app for a person; anything but 200 is an error."""
    status = 0

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)

    path = f"/people/{user_id}"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [
            (b"host", b"app.example:8000"),
            (b"accept", b"*/*"),
            (b"user-agent", b"bench"),
            (b"authorization", f"Bearer {token}".encode()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("app.example", 8000),
        "state": {},
    }
    await app(scope, receive, send)
    assert status == 200, status


def ask_wsgi(app: Flask, user_id: str, token: str) -> None:
    """Ask an app for a person; anything but 200 is an error."""
    statuses: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": f"/people/{user_id}",
        "QUERY_STRING": "",
        "SERVER_NAME": "app.example",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "app.example:8000",
        "HTTP_ACCEPT": "*/*",
        "HTTP_USER_AGENT": "bench",
        "HTTP_AUTHORIZATION": f"Bearer {token}",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }

    def start_response(status: str, *others: object) -> Callable[[bytes], object]:
        statuses.append(status)
        return lambda data: None  # `write`, which nobody calls any more

    chunks = app(environ, start_response)
    try:
        list(chunks)
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    assert statuses == ["200 OK"], statuses
