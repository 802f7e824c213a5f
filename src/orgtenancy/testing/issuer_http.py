"""The HTTP of what is for tests: the standard library's server, and nothing to configure."""

from __future__ import annotations

import base64
import binascii
import json
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

_MAX_BODY = 65_536


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        method: The HTTP method.
        path: The path, without the query.
        body: What was sent.
        query: The query; of fields that came twice, the last one.
        authorization: The header `Authorization`.
    """

    method: str
    path: str
    body: bytes
    query: Mapping[str, str] = field(default_factory=dict)
    authorization: str = ""

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User and password of an `Authorization: Basic` header."""
        return _basic(self.authorization)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back.

    Attributes:
        status: The HTTP status.
        body: What is encoded as JSON; bytes are sent as they are.
        headers: Other headers.
    """

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


class LoopbackServer:
    """A server on 127.0.0.1, at a port that was free.

    Args:
        answer: Answers a call; None closes the connection without a word.
    """

    def __init__(self, answer: Callable[[Call], Answer | None]) -> None:
        self._server = _Server(("127.0.0.1", 0), _handler(answer))
        self._thread: threading.Thread | None = None
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        """Answer from now on."""
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            args=(0.05,),
            name="orgtenancy-local-issuer",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop, and let the port go."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # More than wait at once in a test of load.
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away: tests do that."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def _handler(answer: Callable[[Call], Answer | None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds for a client that says nothing

        def do_GET(self) -> None:
            self._respond(b"")

        def do_DELETE(self) -> None:
            self._respond(b"")

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > _MAX_BODY:
                self._send(Answer(413, {"error": "invalid_request"}))
                return
            self._respond(self.rfile.read(int(length)))

        def do_PATCH(self) -> None:
            self.do_POST()

        def do_PUT(self) -> None:
            self.do_POST()

        def _respond(self, body: bytes) -> None:
            target = urlsplit(self.path)
            call = Call(
                self.command,
                target.path,
                body,
                dict(parse_qsl(target.query)),
                self.headers.get("Authorization", ""),
            )
            answered = answer(call)
            if answered is None:
                self.close_connection = True
                return
            self._send(answered)

        def _send(self, answered: Answer) -> None:
            content = answered.body
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(answered.status)
            self.send_header("Content-Type", "application/json")
            for name, value in answered.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing: what went wrong is the test's to say."""

    return Handler


def error(status: int, code: str) -> Answer:
    """Return an error of OAuth 2.0."""
    return Answer(status, {"error": code})


def form_of(call: Call) -> dict[str, str] | None:
    """Return the fields of a form; None if one was sent twice, or it is no form."""
    try:
        pairs = parse_qsl(call.body.decode(), strict_parsing=True, max_num_fields=20)
    except ValueError:
        return None
    form = dict(pairs)
    return form if len(form) == len(pairs) else None


def _basic(header: str) -> tuple[str, str] | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    # RFC 6749, section 2.3.1: both are encoded as in a form.
    return (unquote_plus(user), unquote_plus(password)) if colon else None
