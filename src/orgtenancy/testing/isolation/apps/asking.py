"""What is asked of an app: requests and websockets with places that the kit fills in."""

from __future__ import annotations

import json as json_format
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that is sent for each organization.

    `{mark}`, `{organization}`, `{number}` and `{unique}` are filled in, in the path, the headers
    and the values of the body: the organization's mark and id, a number and a text that were never
    used. Any other place, as in `/notes/{note_id}`, is filled with what the organization's
    answers told, with what the other one's told, and with the other one's id and schema.

    Attributes:
        method: The HTTP method.
        path: The path, with a query if there is one.
        json: Values that are sent as JSON.
        headers: More headers than those of the member.
    """

    method: str
    path: str
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def places(self) -> tuple[str, ...]:
        """The places in the path, the headers and the values of the body."""
        texts = (self.path, *self.headers.values(), json_format.dumps(self.json))
        return tuple(dict.fromkeys(_PLACE.findall(" ".join(texts))))


@dataclass(frozen=True, slots=True)
class WebSocket:
    """A websocket that is opened for each organization.

    Attributes:
        path: Its path; places are filled as those of `Ask`.
        texts: What is said. `{other}` is the other organization's id, and `{other_schema}` its
            schema, to see what comes of a message that names it.
    """

    path: str
    texts: Sequence[str] = ()

    def __str__(self) -> str:
        return f"websocket {self.path}"


@dataclass(frozen=True, slots=True)
class Call:
    """A request with everything filled in.

    Attributes:
        what: What the report calls it.
        organization: Who asks; None for nobody.
        method: The HTTP method.
        path: The path and query.
        headers: All headers.
        body: What is sent.
    """

    what: str
    organization: str | None
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(slots=True)
class Answer:
    """What came back.

    Attributes:
        status: The HTTP status; 0 if there was no answer.
        headers: Its headers.
        pieces: Its body, as it was sent.
        error: What the app raised to its server.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    error: BaseException | None = None

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        """The body's values, or None if it is no JSON."""
        try:
            return json_format.loads(self.body)
        except ValueError:
            return None

    @property
    def seen(self) -> tuple[object, ...]:
        """All that somebody could have read in it."""
        error = () if self.error is None else (repr(self.error),)
        return (*self.headers.values(), self.body, *error)


def as_ask(given: str | Ask) -> Ask:
    """Return a request that was given as `/path` or `METHOD /path`."""
    if isinstance(given, Ask):
        return given
    method, _, path = given.rpartition(" ")
    return Ask(method.upper() or "GET", path)


def as_websocket(given: str | WebSocket) -> WebSocket:
    """Return a websocket that was given by its path."""
    return given if isinstance(given, WebSocket) else WebSocket(given)


def fill(template: str, values: Mapping[str, object]) -> str:
    """Return a text with its places filled; a place without a value stays."""
    return _PLACE.sub(lambda place: str(values.get(place[1], place[0])), template)


def fill_json(template: Any, values: Mapping[str, object]) -> Any:
    """Return JSON values with their places filled; a text that is one place becomes its value."""
    match template:
        case str():
            alone = _PLACE.fullmatch(template)
            if alone and alone[1] in values:
                return values[alone[1]]
            return fill(template, values)
        case Mapping():
            return {key: fill_json(value, values) for key, value in template.items()}
        case list() | tuple():
            return [fill_json(value, values) for value in template]
    return template
