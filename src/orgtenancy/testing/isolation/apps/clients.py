"""How an app is asked without a network: step by step, so that another request comes between."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from enum import StrEnum
from urllib.parse import unquote_to_bytes

from orgtenancy import Tenancy
from orgtenancy.testing.isolation.apps.asking import Answer, Call
from orgtenancy.testing.isolation.marks import NotApplicable

#: Seconds after which an app that does not go on counts as stuck.
DEADLINE = 30.0

#: Seconds for which work is waited for that may never end.
PATIENCE = 5.0

#: Whose request is served: what is logged meanwhile is theirs to read.
asking_var: ContextVar[str | None] = ContextVar("orgtenancy.proof.asking", default=None)


class Stop(StrEnum):
    """Where a request waits for the kit."""

    NOWHERE = "nowhere"
    PIECE = "after each piece of the answer's body"
    ANSWER = "after the answer, before what the app does then"


class Exchange(ABC):
    """A request under way.

    Attributes:
        call: What was asked.
        answer: What has come back by now.
    """

    call: Call
    answer: Answer

    @abstractmethod
    def go_on(self) -> bool:
        """Go on to the next stop; returns whether there is more to come."""

    @abstractmethod
    def wait_until(self, is_so: Callable[[], bool]) -> bool:
        """Wait until something is so, or the app has ended; returns whether it goes on."""

    @abstractmethod
    def finish(self) -> Answer:
        """Let the app end, background tasks included."""

    @abstractmethod
    def leave(self) -> None:
        """Go away without the rest of the answer; `finish` lets the app end."""

    def cancel(self) -> None:
        """Cancel the app's work, as a server does that stops."""
        raise NotApplicable("a WSGI server cannot cancel a request")


class Conversation(ABC):
    """A websocket that is open, until the app has closed it."""

    @abstractmethod
    def say(self, text: str) -> None:
        """Say something, and wait until the app has taken it."""

    @abstractmethod
    def close(self) -> None:
        """Go, and wait until the app has ended."""

    @property
    @abstractmethod
    def heard(self) -> Sequence[object]:
        """What the app sent."""


class Client(ABC):
    """Asks an app."""

    @abstractmethod
    def start(self) -> None:
        """Start the app."""

    @abstractmethod
    def close(self) -> None:
        """Stop the app."""

    @abstractmethod
    def begin(self, call: Call, stop: Stop = Stop.NOWHERE, *, kept_alive: bool = False) -> Exchange:
        """Begin a request, and go on until something is to be waited for.

        Args:
            call: What is asked.
            stop: Where it waits for the kit.
            kept_alive: Whether it is served in the context that the last such request left.
        """

    @abstractmethod
    def together(self, calls: Sequence[Call]) -> list[Exchange]:
        """Send requests at the same time, and wait until all of them have ended."""

    @abstractmethod
    def settle(self) -> None:
        """Let work end that the app began and did not wait for."""

    @abstractmethod
    def close_pools(self, tenancy: Tenancy) -> None:
        """Close the connections that belong to the app's event loop."""

    def open(self, call: Call) -> Conversation:
        """Open a websocket."""
        raise NotApplicable("WSGI has no websockets")

    def ask(self, call: Call, *, kept_alive: bool = False) -> Exchange:
        """Send a request, and wait until the app has ended."""
        exchange = self.begin(call, kept_alive=kept_alive)
        exchange.finish()
        return exchange


def split(path: str) -> tuple[bytes, str, str]:
    """Return a path as servers give it: decoded, as it was sent, and the query."""
    raw, _, query = path.partition("?")
    return unquote_to_bytes(raw), raw, query


def headers_of(call: Call) -> Mapping[str, str]:
    """Return the headers with those that every client sends."""
    body = {"content-length": str(len(call.body))} if call.body else {}
    kind = {"content-type": "application/json"} if call.body else {}
    given = {name.lower(): value for name, value in call.headers.items()}
    return {"host": "app.example", **body, **kind, **given}
