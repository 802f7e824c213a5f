"""The requests of an app: for what is one's own, for what is not, and of nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orgtenancy.naming import schema_name
from orgtenancy.testing.isolation.apps.asking import Ask, Call, WebSocket, fill, fill_json
from orgtenancy.testing.isolation.apps.clients import Client
from orgtenancy.testing.isolation.apps.planning import (
    Learned,
    asks_of,
    fresh_values,
    places_to_learn,
    told_by,
    unique,
    values_for,
)
from orgtenancy.testing.isolation.apps.under_proof import AppUnderProof

# Under these names apps and proxies are told of an organization.
_NAMING_HEADERS = ("x-organization", "x-organization-id", "x-org-id", "x-tenant", "x-tenant-id")
_NAMING_QUERIES = ("organization", "organization_id", "org", "tenant", "tenant_id", "schema")

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

# Whose they are, the request is: they say who asks.
_CREDENTIALS = ("authorization", "cookie", "x-api-key")

# One place that an answer fills leads to the next one: /groups/{group_id}/posts/{post_id}.
_ROUNDS = 3


class Requests:
    """What is asked of an app.

    Args:
        app: The app, and how it is asked.
        marks: The mark of each organization.
        client: Asks it.

    Attributes:
        asks: All requests.
        sockets: All websockets.
    """

    def __init__(self, app: AppUnderProof, marks: Mapping[str, str], client: Client) -> None:
        self._app = app
        self._marks = marks
        self._client = client
        self._learned: dict[str, Learned] = {}
        self._headers = {one: _lowered(app.as_member(one)) for one in marks}
        self.asks: Sequence[Ask] = app.asks
        self.sockets: Sequence[WebSocket] = app.sockets

    def find(self) -> None:
        """Find the requests in the OpenAPI document, if the host named none."""
        if not self.asks and not (self.sockets and isinstance(self._app.openapi, str)):
            self.asks = unique(asks_of(self._document()))

    def learn(self) -> None:
        """Learn what the places of the requests are filled with."""
        self._learned = {organization: [] for organization in self._marks}
        self._learn_from([ask for ask in self.asks if ask.method in _SAFE_METHODS])
        # What writes is left to the leaks, unless only its answers tell what others need.
        if any(self.call(ask, one) is None for ask in self.asks for one in self._marks):
            self._learn_from(self.asks)

    def call(self, ask: Ask, organization: str) -> Call | None:
        """Return a request of an organization for what is its own, or None if nothing is known."""
        values: dict[str, object] = {}
        for place in places_to_learn(ask):
            known = values_for(ask, place, self._learned[organization])
            if not known:
                return None
            values[place] = known[0]
        return self._filled(ask, organization, values, self._headers[organization])

    def of_stranger(self, ask: Ask, organization: str, stranger: str) -> Call | None:
        """Return a request of a member of an organization that does not exist."""
        call = self.call(ask, organization)
        if call is None:
            return None
        mine, theirs = self._headers[organization], _lowered(self._app.as_member(stranger))
        own = {name: value for name, value in call.headers.items() if name not in mine}
        headers = {**theirs, **own}
        what = f"{call.what} of a member of no organization"
        return replace(call, what=what, organization=None, headers=headers)

    def for_foreign(self, ask: Ask, organization: str) -> Iterator[Call]:
        """Return requests of an organization for what is the other one's: by its ids and names."""
        other = self._other(organization)
        own = self.call(ask, organization)
        places = [one for one in ask.places if one not in ("mark", "number", "unique")]
        for place in places:
            for value in self._foreign_values(ask, place, other):
                values = {place: value}
                for beside in places_to_learn(ask):
                    known = values_for(ask, beside, self._learned[other])
                    values.setdefault(beside, known[0] if known else 1)
                what = f"{ask} with another's {place}"
                yield self._filled(ask, organization, values, self._headers[organization], what)
        if own is not None:
            yield from self._naming(own, other)

    def opening(self, socket: WebSocket, organization: str | None) -> Call:
        """Return the opening of a websocket."""
        headers = self._headers[organization] if organization is not None else {}
        asker = organization or next(iter(self._marks))
        values = self._values(asker)
        ask = Ask("GET", socket.path)
        for place in places_to_learn(ask):
            known = values_for(ask, place, self._learned[asker])
            values.setdefault(place, known[0] if known else 1)
        return Call(str(socket), organization, "GET", fill(socket.path, values), headers)

    def texts(self, socket: WebSocket, organization: str) -> list[str]:
        """Return what is said on a websocket."""
        return [fill(one, self._values(organization)) for one in socket.texts]

    def _learn_from(self, asks: Sequence[Ask]) -> None:
        asked: set[tuple[str, int]] = set()
        for _ in range(_ROUNDS):
            for organization in self._marks:
                for number, ask in enumerate(asks):
                    call = self.call(ask, organization)
                    if call is not None and (organization, number) not in asked:
                        asked.add((organization, number))
                        answer = self._client.ask(call).answer
                        self._learned[organization] += told_by(call.path, answer.json)

    def _naming(self, own: Call, other: str) -> Iterator[Call]:
        """Return a request that names another organization beside one's own credentials."""
        mine, theirs = own.headers, self._headers[other]
        mixed = [
            {name: theirs[name]}
            for name in theirs
            if theirs[name] != mine.get(name) and name not in _CREDENTIALS
        ]
        named = [{name: other} for name in _NAMING_HEADERS]
        for more in (*mixed, *named):
            headers = {**mine, **more}
            # Then it is a request of the other organization, and may see its rows.
            if all(headers.get(name) == value for name, value in theirs.items()):
                continue
            what = f"{own.what} with another's {', '.join(more)}"
            yield replace(own, what=what, headers=headers)
        joint = "&" if "?" in own.path else "?"
        for value in (other, schema_name(other)):
            query = "&".join(f"{name}={value}" for name in _NAMING_QUERIES)
            what = f"{own.what} with ?{'&'.join(_NAMING_QUERIES)} of another"
            yield replace(own, what=what, path=f"{own.path}{joint}{query}")

    def _foreign_values(self, ask: Ask, place: str, other: str) -> Iterator[object]:
        if place not in ("organization", "other", "other_schema"):
            yield from (
                value
                for value in values_for(ask, place, self._learned[other])
                # An answer may repeat what it was asked for.
                if not any(mark in str(value) for mark in self._marks.values())
            )
        if place != "other_schema":
            yield other
        if place != "other":
            yield schema_name(other)

    def _filled(
        self,
        ask: Ask,
        organization: str,
        values: Mapping[str, object],
        headers: Mapping[str, str],
        what: str | None = None,
    ) -> Call:
        known = {**self._values(organization), **values}
        body = b"" if ask.json is None else json.dumps(fill_json(ask.json, known)).encode()
        return Call(
            what or str(ask),
            organization,
            ask.method,
            fill(ask.path, known),
            {**headers, **_lowered({k: fill(v, known) for k, v in ask.headers.items()})},
            body,
        )

    def _values(self, organization: str) -> dict[str, object]:
        other = self._other(organization)
        return {
            **fresh_values(),
            "mark": self._marks[organization],
            "organization": organization,
            "other": other,
            "other_schema": schema_name(other),
        }

    def _other(self, organization: str) -> str:
        return next(one for one in self._marks if one != organization)

    def _document(self) -> Mapping[str, Any]:
        if not isinstance(self._app.openapi, str):
            return self._app.openapi
        organization = next(iter(self._marks))
        what = f"GET {self._app.openapi}"
        headers = self._headers[organization]
        answer = self._client.ask(Call(what, None, "GET", self._app.openapi, headers)).answer
        if not isinstance(answer.json, Mapping):
            raise LookupError(f"no requests are named, and {what} answered {answer.status}")
        return answer.json


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
