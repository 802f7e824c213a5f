"""A WSGI app's client: threads as a server has them, each serving one request after another."""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from typing import Any
from wsgiref.types import WSGIApplication, WSGIEnvironment

from orgtenancy import Tenancy
from orgtenancy.testing.isolation.apps.asking import Answer, Call
from orgtenancy.testing.isolation.apps.clients import (
    DEADLINE,
    Client,
    Exchange,
    Stop,
    asking_var,
    headers_of,
    split,
)

_PAUSE = 0.005  # seconds between two looks at what happens in the database


class WsgiClient(Client):
    """Asks a WSGI app. A request takes the first thread that is idle, as the one before it did."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self._threads: list[ThreadPoolExecutor] = []
        self._busy: set[ThreadPoolExecutor] = set()

    def start(self) -> None:
        """WSGI apps have no start."""

    def close(self) -> None:
        """End the threads."""
        for thread in self._threads:
            thread.shutdown()

    def begin(self, call: Call, stop: Stop = Stop.NOWHERE, *, kept_alive: bool = False) -> Exchange:
        """Begin a request in a thread, which always keeps what it was left with."""
        exchange = self._start(call, stop)
        if stop is not Stop.NOWHERE:
            exchange.wait_for_stop()
        return exchange

    def together(self, calls: Sequence[Call]) -> list[Exchange]:
        """Send requests at the same time, each in a thread."""
        exchanges = [self._start(call, Stop.NOWHERE) for call in calls]
        for exchange in exchanges:
            exchange.finish()
        return list(exchanges)

    def settle(self) -> None:
        """There is no event loop with work of the app's."""

    def close_pools(self, tenancy: Tenancy) -> None:
        """There is no event loop with connections of its own."""

    def _start(self, call: Call, stop: Stop) -> _WsgiExchange:
        thread = next((one for one in self._threads if one not in self._busy), None)
        if thread is None:
            thread = ThreadPoolExecutor(1, thread_name_prefix="orgtenancy-proof")
            self._threads.append(thread)
        self._busy.add(thread)
        exchange = _WsgiExchange(self._app, call, stop)
        exchange.start(thread, lambda: self._busy.discard(thread))
        return exchange


class _WsgiExchange(Exchange):
    def __init__(self, app: WSGIApplication, call: Call, stop: Stop) -> None:
        self.call = call
        self.answer = Answer()
        self._app = app
        self._stop = stop
        self._paused, self._resumed = threading.Event(), threading.Event()
        self._is_gone = False

    def start(self, thread: ThreadPoolExecutor, on_end: Callable[[], None]) -> None:
        self._on_end = on_end
        self._work: Future[None] = thread.submit(self._serve)
        self._work.add_done_callback(lambda _: self._paused.set())

    def wait_for_stop(self) -> bool:
        if not self._paused.wait(DEADLINE):
            raise TimeoutError(f"{self.call.what} does not go on")
        return not self._work.done()

    def go_on(self) -> bool:
        if self._work.done():
            return False
        # The thread stands still: nobody else sets this before it is resumed.
        self._paused.clear()
        self._resumed.set()
        return self.wait_for_stop()

    def wait_until(self, is_so: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + DEADLINE
        while not (self._work.done() or is_so()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.call.what} does not go on")
            wait_for([self._work], timeout=_PAUSE)
        return not self._work.done()

    def finish(self) -> Answer:
        self._stop = Stop.NOWHERE
        self._resumed.set()
        try:
            self._work.result(DEADLINE)
        except TimeoutError:
            self.leave()  # or an endless answer would keep its thread for ever
            raise
        self._on_end()
        return self.answer

    def leave(self) -> None:
        self._is_gone = True

    def _serve(self) -> None:
        token = asking_var.set(self.call.organization)
        deadline = time.monotonic() + 2 * DEADLINE
        try:
            with _ending(self._app(_environ(self.call), self._start_response)) as pieces:
                for piece in pieces:
                    if self._is_gone or time.monotonic() > deadline:
                        return
                    if piece:
                        self.answer.pieces.append(piece)
                        self._pause(Stop.PIECE)
                self._pause(Stop.ANSWER)
        except Exception as error:  # noqa: BLE001 - what a server would log
            self.answer.error = error
        finally:
            asking_var.reset(token)

    def _start_response(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        self.answer.status = int(status.split()[0])
        self.answer.headers = {name.lower(): value for name, value in headers}
        return self.answer.pieces.append

    def _pause(self, stop: Stop) -> None:
        if self._stop is stop:
            self._paused.set()
            self._resumed.wait(DEADLINE)
            self._resumed.clear()


@contextmanager
def _ending(pieces: Iterable[bytes]) -> Iterator[Iterable[bytes]]:
    """End an answer as a server does, whether or not it sent all of it."""
    try:
        yield pieces
    finally:
        if (close := getattr(pieces, "close", None)) is not None:
            close()


def _environ(call: Call) -> WSGIEnvironment:
    decoded, _, query = split(call.path)
    return {
        "REQUEST_METHOD": call.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": decoded.decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "app.example",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(call.body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    } | {_name(name): value for name, value in headers_of(call).items()}


def _name(header: str) -> str:
    name = header.upper().replace("-", "_")
    return name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
