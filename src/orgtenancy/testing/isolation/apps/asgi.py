"""An ASGI app's client: each message is seen, and the app waits where it is to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from typing import Any

from orgtenancy import Tenancy
from orgtenancy.testing.isolation.apps.asgi_lifespan import ASGI, AsgiApp, Lifespan, Message
from orgtenancy.testing.isolation.apps.asking import Answer, Call
from orgtenancy.testing.isolation.apps.clients import (
    DEADLINE,
    PATIENCE,
    Client,
    Conversation,
    Exchange,
    Stop,
    asking_var,
    headers_of,
    split,
)

_PAUSE = 0.005  # seconds between two looks at what happens in the database


class AsgiClient(Client):
    """Asks an ASGI app, in an event loop of its own, which stands still in between."""

    def __init__(self, app: AsgiApp) -> None:
        self._app = app
        self._runner = asyncio.Runner()
        self._lifespan: Lifespan | None = None
        self._state: dict[str, Any] = {}
        self._endless: set[asyncio.Task[Any] | None] = set()
        self._connection = copy_context()

    def start(self) -> None:
        """Start the app's lifespan, if it has one."""
        self._lifespan = Lifespan(self._app, self._state)
        self._runner.run(self._lifespan.start())
        self._endless |= asyncio.all_tasks(self._runner.get_loop())

    def close(self) -> None:
        """End the lifespan and the event loop."""
        try:
            if self._lifespan is not None:
                self._runner.run(self._lifespan.stop())
        finally:
            self._runner.close()

    def begin(self, call: Call, stop: Stop = Stop.NOWHERE, *, kept_alive: bool = False) -> Exchange:
        """Begin a request in a task of its own."""
        exchange = self._start(call, stop, self._connection if kept_alive else copy_context())
        if stop is not Stop.NOWHERE:
            exchange.go_on()
        return exchange

    def together(self, calls: Sequence[Call]) -> list[Exchange]:
        """Send requests at the same time."""
        exchanges = [self._start(call, Stop.NOWHERE, copy_context()) for call in calls]
        for exchange in exchanges:
            exchange.finish()
        return list(exchanges)

    def settle(self) -> None:
        """Wait for the tasks that the app began; one that goes on and on is left to itself."""
        self._runner.run(self._until_settled())

    def close_pools(self, tenancy: Tenancy) -> None:
        """Close the connections of the app's event loop, in it."""
        self._runner.run(tenancy._database.aclose())

    async def _until_settled(self) -> None:
        begun = asyncio.all_tasks() - self._endless - {asyncio.current_task()}
        if begun:
            _, pending = await asyncio.wait(begun, timeout=PATIENCE)
            self._endless |= pending

    def open(self, call: Call) -> Conversation:
        """Open a websocket."""
        scope = self._scope(call) | {"type": "websocket", "subprotocols": []}
        conversation = _AsgiConversation(self._runner, self._app, scope, _context_of(call))
        conversation.begin()
        return conversation

    def _start(self, call: Call, stop: Stop, context: Context) -> _AsgiExchange:
        context.run(asking_var.set, call.organization)
        exchange = _AsgiExchange(self._runner, self._app, self._scope(call), call, stop)
        exchange.start(context)
        return exchange

    def _scope(self, call: Call) -> dict[str, Any]:
        decoded, raw, query = split(call.path)
        headers = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in headers_of(call).items()
        ]
        return {
            "type": "http",
            "asgi": ASGI,
            "http_version": "1.1",
            "method": call.method,
            "scheme": "http",
            "path": decoded.decode("utf-8", "replace"),
            "raw_path": raw.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("app.example", 80),
            "state": dict(self._state),
        }


def _context_of(call: Call) -> Context:
    context = copy_context()
    context.run(asking_var.set, call.organization)
    return context


class _AsgiExchange(Exchange):
    def __init__(
        self, runner: asyncio.Runner, app: AsgiApp, scope: dict[str, Any], call: Call, stop: Stop
    ) -> None:
        self.call = call
        self.answer = Answer()
        self._runner = runner
        self._app = app
        self._scope = scope
        self._stop = stop
        self._paused, self._resumed, self._over = (asyncio.Event() for _ in range(3))
        self._has_sent = False
        self._is_gone = False

    def start(self, context: Context) -> None:
        self._task = self._runner.get_loop().create_task(self._serve(), context=context)

    def go_on(self) -> bool:
        self._paused.clear()
        self._resumed.set()
        self._runner.run(self._until_paused())
        return not self._task.done()

    def wait_until(self, is_so: Callable[[], bool]) -> bool:
        self._runner.run(self._until(is_so))
        return not self._task.done()

    def finish(self) -> Answer:
        self._stop = Stop.NOWHERE
        self._resumed.set()
        self._runner.run(self._until_done())
        return self.answer

    def leave(self) -> None:
        self._is_gone = True
        self._over.set()

    def cancel(self) -> None:
        self._task.cancel()

    async def _until_paused(self) -> None:
        pausing = asyncio.ensure_future(self._paused.wait())
        await asyncio.wait(
            [self._task, pausing], timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED
        )
        pausing.cancel()
        if not (self._task.done() or self._paused.is_set()):
            raise TimeoutError(f"{self.call.what} does not go on")

    async def _until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not (self._task.done() or is_so()):
                await asyncio.wait([self._task], timeout=_PAUSE)

    async def _until_done(self) -> None:
        await asyncio.wait([self._task], timeout=DEADLINE)
        if not self._task.done():
            self._task.cancel()
            raise TimeoutError(f"{self.call.what} does not end")

    async def _serve(self) -> None:
        try:
            await self._app(self._scope, self._receive, self._send)
        except asyncio.CancelledError as error:
            self.answer.error = error
        except Exception as error:  # noqa: BLE001 - what a server would log
            self.answer.error = error

    async def _receive(self) -> Message:
        if not self._has_sent and not self._is_gone:
            self._has_sent = True
            return {"type": "http.request", "body": self.call.body, "more_body": False}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        # As servers of this version of ASGI: what is sent to a client that went is dropped.
        if self._is_gone:
            return
        if message["type"] == "http.response.start":
            self.answer.status = message["status"]
            self.answer.headers = {
                name.decode("latin-1"): value.decode("latin-1")
                for name, value in message.get("headers", ())
            }
        elif message["type"] == "http.response.body":
            await self._take(message.get("body", b""), is_last=not message.get("more_body", False))

    async def _take(self, piece: bytes, *, is_last: bool) -> None:
        if piece:
            self.answer.pieces.append(piece)
        if is_last:
            self._over.set()
        if (self._stop is Stop.PIECE and (piece or is_last)) or (
            self._stop is Stop.ANSWER and is_last
        ):
            self._resumed.clear()
            self._paused.set()
            await self._resumed.wait()


class _AsgiConversation(Conversation):
    def __init__(
        self, runner: asyncio.Runner, app: AsgiApp, scope: dict[str, Any], context: Context
    ) -> None:
        self._runner = runner
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._outgoing: list[Message] = []
        self._moved = asyncio.Event()
        self._is_gone = False
        self._task = runner.get_loop().create_task(self._serve(app, scope), context=context)
        self._error: Exception | None = None

    def begin(self) -> None:
        self._put({"type": "websocket.connect"})

    def say(self, text: str) -> None:
        self._put({"type": "websocket.receive", "text": text})

    def close(self) -> None:
        self._put({"type": "websocket.disconnect", "code": 1000})
        self._is_gone = True
        self._runner.run(self._end())

    @property
    def heard(self) -> Sequence[object]:
        said = [
            part
            for message in self._outgoing
            for part in (message.get("text"), message.get("bytes"), message.get("reason"))
            if part
        ]
        return said if self._error is None else [*said, repr(self._error)]

    def _put(self, message: Message) -> None:
        if not self._task.done():
            self._moved.clear()
            self._incoming.put_nowait(message)
            self._runner.run(self._until_taken())

    async def _until_taken(self) -> None:
        """Wait until the app asks for the next message, as it does when it took the last one."""
        moving = asyncio.ensure_future(self._moved.wait())
        await asyncio.wait(
            [self._task, moving], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
        )
        moving.cancel()

    async def _end(self) -> None:
        await asyncio.wait([self._task], timeout=PATIENCE)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=PATIENCE)

    async def _serve(self, app: AsgiApp, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:  # noqa: BLE001 - what a server would log
            self._error = error

    async def _receive(self) -> Message:
        if self._incoming.empty():
            self._moved.set()
        return await self._incoming.get()

    async def _send(self, message: Message) -> None:
        if self._is_gone:
            raise OSError("the client went away")
        self._outgoing.append(message)
