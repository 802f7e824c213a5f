"""Plays a scenario against an app, and writes down what it answered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from orgtenancy import Organization
from orgtenancy.community import community
from orgtenancy.endpoints import Endpoint, endpoints_by_path
from tests.adapters.asgi import Answer
from tests.api.conftest import Send, token_of

MODERATOR = "community:moderate"

_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"
_changing = re.compile(
    rf'(?P<cursor>(?<="next_cursor":")[^"]+)|(?P<id>{_ID})|(?P<time>{_TIME})'
    r"|(?P<former>former-[0-9a-f]{32})"
).sub


@dataclass(frozen=True)
class Step:
    """One request of somebody.

    Attributes:
        path: Below the API; `{name}` stands for what an earlier step has kept.
        body: Values to send as JSON, with such names in its texts, or bytes as they are.
        status: What it must be answered with.
        keep: Names for parts of the answer, like `{"post": "items.0.id"}`.
    """

    user: str
    organization: str
    scope: str
    method: str
    path: str
    body: Any = None
    status: int = 200
    headers: dict[str, str | None] = field(default_factory=dict)
    keep: dict[str, str] = field(default_factory=dict)


def person(user: str, organization: str = "north", scope: str = "") -> Callable[..., Step]:
    """Return a function that makes the requests of a person."""

    def ask(
        method: str,
        path: str,
        body: Any = None,
        status: int = 200,
        headers: dict[str, str | None] | None = None,
        **keep: str,
    ) -> Step:
        return Step(user, organization, scope, method, path, body, status, headers or {}, keep)

    return ask


@dataclass
class Player:
    """Plays steps in one pair of organizations.

    Attributes:
        kept: What earlier steps have kept, by name.
        answered: The endpoints that have answered with a success.
    """

    send: Send
    organizations: dict[str, Organization]
    kept: dict[str, str] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)

    def play(self, steps: Iterable[Step]) -> list[tuple[str, Answer]]:
        """Send all requests, and return each with its answer."""
        return [(f"{s.user}@{s.organization}: {s.method} {s.path}", self.ask(s)) for s in steps]

    def ask(self, step: Step) -> Answer:
        path = step.path.format_map({name: quote(v, safe="") for name, v in self.kept.items()})
        raw = self._body(step.body)
        token = token_of(self.organizations[step.organization].id, step.user, step.scope)
        headers = {"authorization": f"Bearer {token}"}
        if step.body is not None:
            headers |= {"content-type": "application/json", "content-length": str(len(raw))}
        given = {name: v for name, v in (headers | step.headers).items() if v is not None}
        answer = self.send(step.method, f"/api{path}", given, body=[raw])
        said = f"{step.user}: {step.method} {path}: {answer.status} {answer.text}"
        assert answer.status == step.status, said
        if answer.status < 300:
            self.answered.add(endpoint_of(step.method, path).name)
        for name, place in step.keep.items():
            value = answer.json
            for part in place.split("."):
                value = value[int(part) if part.isdecimal() else part]
            self.kept[name] = str(value)
        return answer

    def _body(self, body: Any) -> bytes:
        if isinstance(body, bytes):
            return body
        return b"" if body is None else json.dumps(self._filled(body)).encode()

    def _filled(self, value: Any) -> Any:
        if isinstance(value, str):
            return re.sub(r"\{(\w+)\}", lambda match: self.kept[match[1]], value)
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        if isinstance(value, dict):
            return {key: self._filled(item) for key, item in value.items()}
        return value


def endpoint_of(method: str, path: str) -> Endpoint:
    """Return the endpoint that a request is for."""
    path = path.partition("?")[0]
    for template, methods in endpoints_by_path(community.endpoints).items():
        if method in methods and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            return methods[method]
    raise AssertionError(f"no endpoint for {method} {path}")


def transcript(answers: Iterable[tuple[str, Answer]]) -> list[tuple[str, int, str | None, str]]:
    """Return answers with ids and cursors numbered in the order they appear in.

    Times are not: two that a statement reads from the clock may be equal, or not.
    """
    numbers: dict[str, dict[str, str]] = {}

    def number(match: re.Match[str]) -> str:
        kind = match.lastgroup or ""
        if kind == "time":
            return "<time>"
        known = numbers.setdefault(kind, {})
        return known.setdefault(match[0], f"<{kind} {len(known) + 1}>")

    return [
        (asked, answer.status, answer.headers.get("content-type"), _changing(number, answer.text))
        for asked, answer in answers
    ]
