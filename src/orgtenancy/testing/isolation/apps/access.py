"""What a leak of an app has in its hands."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from orgtenancy import Tenancy
from orgtenancy.testing.isolation.apps.asking import Answer, Call, WebSocket
from orgtenancy.testing.isolation.apps.clients import PATIENCE, Client, Conversation, Exchange, Stop
from orgtenancy.testing.isolation.apps.holding import Hold, holding
from orgtenancy.testing.isolation.apps.pools import busy_connections
from orgtenancy.testing.isolation.apps.requests import Requests
from orgtenancy.testing.isolation.apps.seeing import Lookout
from orgtenancy.testing.isolation.apps.untouched import untouched
from orgtenancy.testing.isolation.catalogue import World

# Threads that wait for the next piece of work, and end with the process.
_POOLED_THREADS = ("ThreadPoolExecutor", "AnyIO", "asyncio_", "orgtenancy")


class AppAccess:
    """An app on pools of a known size, what can be asked of it, and a lookout on its answers.

    Args:
        tenancy: What the app works on.
        client: Asks it.
        requests: What is asked.
    """

    def __init__(self, tenancy: Tenancy, client: Client, requests: Requests) -> None:
        self._tenancy = tenancy
        self._client = client
        self._threads = set(threading.enumerate())
        self.requests = requests

    @property
    def engine(self) -> Engine:
        """What the sessions of synchronous code run on."""
        return self._tenancy.engine

    def session(self, organization: str) -> AbstractContextManager[Session]:
        """Return one transaction of an organization."""
        return self._tenancy.session(organization)

    def bound(self, organization: str) -> AbstractContextManager[object]:
        """Return a block in whose context the work is an organization's."""
        return self._tenancy.organization(organization)

    def current(self) -> AbstractContextManager[Session]:
        """Return one transaction of the context's organization."""
        return self._tenancy.session()

    def watch(self, world: World) -> AbstractContextManager[None]:
        """Look at answers and logs from now on."""
        self.lookout = Lookout(world.marks)
        return self.lookout.on_logs()

    def pairs(self, world: World) -> Iterator[tuple[Call, Call]]:
        """Return each request for both organizations; those that nothing fills are left out."""
        for ask in self.requests.asks:
            first, second = self.requests.call(ask, world.a), self.requests.call(ask, world.b)
            if first is not None and second is not None:
                yield first, second

    def ask(self, call: Call, *, kept_alive: bool = False) -> Answer:
        """Send a request, and look at the answer."""
        return self.look(self._client.ask(call, kept_alive=kept_alive))

    def ask_as_nobody(self, call: Call) -> None:
        """Send a request without the headers of a member, and look at the answer."""
        what = f"{call.what} of nobody"
        self.ask(replace(call, what=what, organization=None, headers={}), kept_alive=True)

    def begin(self, call: Call, stop: Stop) -> Exchange:
        """Begin a request that waits for the leak."""
        return self._client.begin(call, stop)

    def end(self, exchange: Exchange) -> Answer:
        """Let the app end its work on a request, and look at the answer."""
        exchange.finish()
        return self.look(exchange)

    def end_abandoned(self, exchange: Exchange) -> None:
        """End a request whose client went away, and let Python collect what nobody reads.

        Frameworks drop a synchronous stream without closing it, so that it keeps its connection.
        """
        self.end(exchange)
        self._collect()

    def together(self, calls: list[Call]) -> None:
        """Send requests at the same time, and look at the answers."""
        for exchange in self._client.together(calls):
            self.look(exchange)

    def open(self, socket: WebSocket, organization: str | None) -> Conversation:
        """Open a websocket."""
        return self._client.open(self.requests.opening(socket, organization))

    def look(self, exchange: Exchange) -> Answer:
        """Look at what has come back of a request by now."""
        call, answer = exchange.call, exchange.answer
        self.lookout.look(call.what, answer.seen, call.organization)
        return answer

    def hear(self, socket: WebSocket, conversation: Conversation, organization: str | None) -> bool:
        """Look at what has come over a websocket by now."""
        return self.lookout.look(str(socket), conversation.heard, organization)

    def hold(self, organization: str) -> AbstractContextManager[Hold]:
        """Make everybody wait who works with the tables of an organization."""
        return holding(self._tenancy, organization)

    def untouched(self, organization: str, what: str) -> AbstractContextManager[None]:
        """Return a block in which no row of an organization may be written or deleted."""
        return untouched(self._tenancy, organization, what)

    def begin_held(self, call: Call, hold: Hold) -> Exchange | None:
        """Begin a request, and return it when it waits in the middle of its work.

        Returns None if it ended without waiting: it does not come to those tables.
        """
        exchange = self._client.begin(call)
        if exchange.wait_until(hold.is_waited_for):
            return exchange
        self.end(exchange)
        return None

    def settle(self) -> None:
        """Let work end that the app began in a request and did not wait for."""
        self._client.settle()
        for thread in set(threading.enumerate()) - self._threads:
            if not thread.name.startswith(_POOLED_THREADS):
                thread.join(PATIENCE)
        self._collect()
        _wait_until(lambda: busy_connections(self._tenancy) == 0)

    def _collect(self) -> None:
        if busy_connections(self._tenancy):
            gc.collect()


def _wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.005)
