"""Logto on the loopback address, for tests: its tokens, its Management API, its webhooks.

It speaks HTTP as the real one does, and can do on command what the real one does rarely: fail,
be in a hurry, and change while it is read.
"""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orgtenancy.identity.logto_sync.settings import LogtoSettings
from orgtenancy.testing.issuer import LocalIssuer
from orgtenancy.testing.issuer_http import Answer, Call, form_of
from orgtenancy.testing.logto_data import LogtoData

_CLIENT_ID = "machine"
_SECRET = "secret-of-the-machine"  # noqa: S105 - for tests, on this machine
_RESOURCE = "https://default.logto.app/api"
_MAX_PAGE_SIZE = 100

# `Answer`s are made by what is called, so that the table can be read.
_Route = Callable[["FakeLogto", Call, Mapping[str, str]], Answer]


@dataclass
class _Fault:
    """What goes wrong with the next requests; without a status, there is no answer."""

    path: re.Pattern[str]
    left: int
    status: int | None
    retry_after: str | None


class FakeLogto(LocalIssuer):
    """A Logto that holds what a test puts into it.

    It answers inside its `with` block, also as an issuer: `logto(fake.url)` verifies its
    tokens. What is changed, over HTTP or by the methods of `data`, is told in `data.events`.

    Args:
        algorithm: What its tokens are signed with.

    Attributes:
        data: Its organizations, users and members.
    """

    def __init__(self, algorithm: str = "ES384") -> None:
        super().__init__(algorithm)
        self.data = LogtoData()
        self._faults: list[_Fault] = []
        self._shifts: deque[tuple[re.Pattern[str], Callable[[], object]]] = deque()
        self._tokens: dict[str, float] = {}
        self.add_client(_CLIENT_ID, _SECRET, ["all"])

    def settings(self, **changes: Any) -> LogtoSettings:
        """Return the settings for it: its address, and an app that may use the Management API.

        Args:
            **changes: Other settings, or others than these.
        """
        given = {
            "endpoint": self.url,
            "client_id": _CLIENT_ID,
            "client_secret": _SECRET,
            "management_resource": _RESOURCE,
            # Nobody else waits for an answer of this one.
            "requests_per_second": 10_000.0,
        }
        return LogtoSettings.model_validate(given | changes)

    def fail_next(
        self,
        status: int | None,
        n: int = 1,
        *,
        retry_after: int | str | None = None,
        path: str = "/api/",
    ) -> None:
        """Answer the next requests with an error.

        Args:
            status: The HTTP status; None closes the connection without a word.
            n: How many requests.
            retry_after: The header `Retry-After`: seconds, or a date.
            path: Only requests whose path begins with this, a regular expression.
        """
        asked_for = None if retry_after is None else str(retry_after)
        with self._lock:
            self._faults.append(_Fault(re.compile(path), n, status, asked_for))

    def shift_while_read(
        self, *changes: Callable[[], object], path: str = "/api/organizations$"
    ) -> None:
        """Do something after each of the next pages of a list: one thing after one page.

        Args:
            *changes: What to do, such as `lambda: fake.data.delete_organization(first)`.
            path: Of which list, a regular expression.
        """
        with self._lock:
            self._shifts.extend((re.compile(path), change) for change in changes)

    def forget_tokens(self) -> None:
        """Answer 401 to every token of the Management API that was given so far."""
        with self._lock:
            self._tokens.clear()

    def _answer(self, call: Call) -> Answer | None:
        answer = super()._answer(call)
        fault = None if self._down else self._fault(call.path)
        if fault is not None:
            if fault.status is None:
                return None
            headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            return Answer(fault.status, {"code": "fault", "message": "as asked for"}, headers)
        if self._down or not call.path.startswith("/api/"):
            self._remember_token(call, answer)
            return answer
        if not self._lets_in(call.authorization):
            return _refusal(401, "auth.unauthorized")
        for method, pattern, route in _ROUTES:
            if method == call.method and (found := pattern.fullmatch(call.path)):
                try:
                    return route(self, call, found.groupdict())
                except KeyError:
                    return _refusal(404, "entity.not_exists_with_id")
                except ValueError:
                    return _refusal(400, "guard.invalid_input")
        return Answer(404, {"message": "Not Found"})

    def _fault(self, path: str) -> _Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.left and fault.path.match(path):
                    fault.left -= 1
                    return fault
        return None

    def _remember_token(self, call: Call, answer: Answer | None) -> None:
        form = form_of(call) if call.path == "/oidc/token" else None
        if form is None or answer is None or answer.status != 200:
            return
        if form.get("resource") == _RESOURCE and answer.body.get("scope") == "all":
            with self._lock:
                expires_at = time.monotonic() + answer.body["expires_in"]
                self._tokens[answer.body["access_token"]] = expires_at

    def _lets_in(self, authorization: str) -> bool:
        scheme, _, token = authorization.partition(" ")
        with self._lock:
            return scheme == "Bearer" and self._tokens.get(token, 0.0) > time.monotonic()

    def page(self, call: Call, entries: list[dict[str, Any]]) -> Answer:
        """Return a page of a list, as Logto does; the list may change behind its back."""
        number, size = int(call.query.get("page", 1)), int(call.query.get("page_size", 20))
        if number < 1 or not 1 <= size <= _MAX_PAGE_SIZE:
            return _refusal(400, "guard.invalid_pagination")
        start = (number - 1) * size
        answer = Answer(200, entries[start : start + size], {"Total-Number": str(len(entries))})
        with self._lock:
            change = None
            if self._shifts and self._shifts[0][0].match(call.path):
                _, change = self._shifts.popleft()
        if change is not None:
            change()
        return answer


def _refusal(status: int, code: str) -> Answer:
    return Answer(status, {"message": code, "code": code})


def _body(call: Call) -> dict[str, Any]:
    content = json.loads(call.body)
    if not isinstance(content, dict):
        raise ValueError("no object")
    return content


def _text(content: Mapping[str, Any], name: str) -> str:
    if not isinstance(content.get(name), str):
        raise ValueError(name)
    return str(content[name])


def _list_organizations(fake: FakeLogto, call: Call, params: Mapping[str, str]) -> Answer:
    return fake.page(call, fake.data.organizations())


def _create_organization(fake: FakeLogto, call: Call, params: Mapping[str, str]) -> Answer:
    content = _body(call)
    custom_data = content.get("customData")
    made = fake.data.create_organization(_text(content, "name"), custom_data=custom_data)
    return Answer(201, fake.data.organization(made))


def _show_organization(fake: FakeLogto, call: Call, params: Mapping[str, str]) -> Answer:
    found = fake.data.organization(params["id"])
    if found is None:
        raise KeyError(params["id"])
    return Answer(200, found)


def _update_organization(fake: FakeLogto, call: Call, params: Mapping[str, str]) -> Answer:
    content = _body(call)
    fake.data.update_organization(
        params["id"], name=content.get("name"), custom_data=content.get("customData")
    )
    return _show_organization(fake, call, params)


def _delete_organization(fake: FakeLogto, call: Call, params: Mapping[str, str]) -> Answer:
    fake.data.delete_organization(params["id"])
    return Answer(204, b"")


def _list_members(fake: FakeLogto, call: Call, params: Mapping[str, str]) -> Answer:
    return fake.page(call, fake.data.members(params["id"]))


def _add_members(fake: FakeLogto, call: Call, params: Mapping[str, str]) -> Answer:
    user_ids = _body(call).get("userIds")
    if not isinstance(user_ids, list):
        raise ValueError("userIds")
    fake.data.add_members(params["id"], user_ids)
    return Answer(201, {"userIds": user_ids})


def _remove_member(fake: FakeLogto, call: Call, params: Mapping[str, str]) -> Answer:
    fake.data.remove_member(params["id"], params["user_id"])
    return Answer(204, b"")


def _list_roles(fake: FakeLogto, call: Call, params: Mapping[str, str]) -> Answer:
    if not fake.data.is_member(params["id"], params["user_id"]):
        return _refusal(422, "organization.require_membership")
    return fake.page(call, [])


def _create_user(fake: FakeLogto, call: Call, params: Mapping[str, str]) -> Answer:
    content = _body(call)
    made = fake.data.create_user(_text(content, "username"), name=content.get("name"))
    return Answer(200, fake.data.user(made))


def _show_user(fake: FakeLogto, call: Call, params: Mapping[str, str]) -> Answer:
    found = fake.data.user(params["user_id"])
    if found is None:
        raise KeyError(params["user_id"])
    return Answer(200, found)


def _suspend_user(fake: FakeLogto, call: Call, params: Mapping[str, str]) -> Answer:
    fake.data.suspend_user(params["user_id"], suspended=bool(_body(call)["isSuspended"]))
    return _show_user(fake, call, params)


def _delete_user(fake: FakeLogto, call: Call, params: Mapping[str, str]) -> Answer:
    fake.data.delete_user(params["user_id"])
    return Answer(204, b"")


def _route(method: str, path: str, route: _Route) -> tuple[str, re.Pattern[str], _Route]:
    return method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", f"/api/{path}")), route


_ROUTES = (
    _route("GET", "organizations", _list_organizations),
    _route("POST", "organizations", _create_organization),
    _route("GET", "organizations/{id}", _show_organization),
    _route("PATCH", "organizations/{id}", _update_organization),
    _route("DELETE", "organizations/{id}", _delete_organization),
    _route("GET", "organizations/{id}/users", _list_members),
    _route("POST", "organizations/{id}/users", _add_members),
    _route("DELETE", "organizations/{id}/users/{user_id}", _remove_member),
    _route("GET", "organizations/{id}/users/{user_id}/roles", _list_roles),
    _route("POST", "users", _create_user),
    _route("GET", "users/{user_id}", _show_user),
    _route("PATCH", "users/{user_id}/is-suspended", _suspend_user),
    _route("DELETE", "users/{user_id}", _delete_user),
)
