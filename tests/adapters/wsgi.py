"""A small WSGI client: what a server gives an app, and what it does with the answer."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIApplication, WSGIEnvironment

from tests.adapters.asgi import Answer


def environ_of(
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: Sequence[bytes] = (b"",),
    client: str = "127.0.0.1",
) -> WSGIEnvironment:
    """Return an environ as gunicorn makes it."""
    path, _, query = path.partition("?")
    given = {"host": "app.example:8000", **(headers or {})}
    return {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "app.example",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": client,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": Pieces(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    } | {_name(name): value for name, value in given.items()}


def request(
    app: WSGIApplication,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    on_start: Callable[[], None] | None = None,
    body: Sequence[bytes] = (b"",),
    client: str = "127.0.0.1",
) -> Answer:
    """Send one request, and read the whole answer."""
    environ = environ_of(method, path, headers, body, client)
    answer, chunks = begin(app, environ, on_start)
    try:
        answer.chunks += [chunk for chunk in chunks if chunk]
    finally:
        close(chunks)
    answer.unread = len(environ["wsgi.input"].pieces)
    return answer


def begin(
    app: WSGIApplication, environ: WSGIEnvironment, on_start: Callable[[], None] | None = None
) -> tuple[Answer, Iterable[bytes]]:
    """Send one request, and return the answer with the iterable of its body."""
    answer = Answer()

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        if on_start is not None:
            on_start()
        answer.status = int(status.split()[0])
        answer.headers = {name.lower(): value for name, value in headers}

    return answer, app(environ, start_response)


def close(chunks: Iterable[bytes]) -> None:
    """End a response, as a server does whether or not it sent all of it."""
    if hasattr(chunks, "close"):
        chunks.close()


class Pieces(io.RawIOBase):
    """A stream that gives no more than one piece at a time."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = [piece for piece in pieces if piece]

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self.pieces:
            return b""
        piece = self.pieces.pop(0)
        if 0 <= size < len(piece):
            self.pieces.insert(0, piece[size:])
            piece = piece[:size]
        return piece

    def readinto(self, buffer: Any) -> int:
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def _name(header: str) -> str:
    name = header.upper().replace("-", "_")
    return name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
