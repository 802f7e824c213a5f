"""A scope that is missing is refused in the same way, with the means of each framework."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import flask
import pytest
from fastapi import WebSocket as FastAPIWebSocket
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from orgtenancy import Organization
from orgtenancy.adapters import fastapi as fastapi_adapter
from orgtenancy.adapters import flask as flask_adapter
from orgtenancy.adapters import starlette as starlette_adapter
from orgtenancy.errors import ConfigurationError
from tests.adapters.asgi import websocket
from tests.adapters.conftest import Member
from tests.adapters.trio import MakeTrio, Trio

NEEDED = ("posts:moderate", "posts:read")
served: list[str] = []


def done(kind: str) -> Response:
    served.append(kind)
    return PlainTextResponse("done")


@starlette_adapter.requires_scopes(*NEEDED)
async def in_async(request: Request) -> Response:
    return done("async")


@starlette_adapter.requires_scopes(*NEEDED)
def in_sync(request: Request) -> Response:
    return done("sync")


class InClass(HTTPEndpoint):
    @starlette_adapter.requires_scopes(*NEEDED)
    async def delete(self, request: Request) -> Response:
        return done("class")


async def with_argument(kind: str, request: Request) -> Response:
    return done(kind)


@starlette_adapter.requires_scopes(*NEEDED)
async def on_websocket(socket: WebSocket) -> None:
    await socket.accept()
    served.append("websocket")
    await socket.close()


def add_to_fastapi(trio: Trio) -> None:
    needed: Any = {"dependencies": [fastapi_adapter.requires_scopes(*NEEDED)]}

    async def view_async() -> Response:
        return done("async")

    def view_sync() -> Response:
        return done("sync")

    async def socket(socket: FastAPIWebSocket) -> None:
        await socket.accept()
        served.append("websocket")
        await socket.close()

    for path in ("/async", "/class", "/partial", "/open"):
        trio.fastapi.add_api_route(path, view_async, methods=["DELETE"], **needed)
    trio.fastapi.add_api_route("/sync", view_sync, methods=["DELETE"], **needed)
    trio.fastapi.add_api_websocket_route("/socket", socket, **needed)


def add_to_flask(trio: Trio) -> None:
    @flask_adapter.requires_scopes(*NEEDED)
    def view_sync() -> flask.Response:
        served.append("sync")
        return flask.Response("done", mimetype="text/plain")

    @flask_adapter.requires_scopes(*NEEDED)
    async def view_async() -> flask.Response:
        served.append("async")
        return flask.Response("done", mimetype="text/plain")

    for path in ("/async", "/class", "/partial", "/open"):
        trio.flask.add_url_rule(path, path, view_async, methods=["DELETE"])
    trio.flask.add_url_rule("/sync", "sync", view_sync, methods=["DELETE"])


@pytest.fixture
def trio(trio_of: MakeTrio) -> Trio:
    served.clear()
    trio = trio_of(exempt=["/open"])
    decorate = starlette_adapter.requires_scopes(*NEEDED)
    trio.starlette.router.routes += [
        Route("/async", in_async, methods=["DELETE"]),
        Route("/sync", in_sync, methods=["DELETE"]),
        Route("/class", InClass),
        Route("/partial", decorate(partial(with_argument, "partial")), methods=["DELETE"]),
        Route("/open", in_async, methods=["DELETE"], name="open"),
        WebSocketRoute("/socket", on_websocket),
    ]
    add_to_fastapi(trio)
    add_to_flask(trio)
    return trio


@pytest.mark.parametrize("path", ["/async", "/sync", "/class", "/partial"])
def test_a_missing_scope_is_the_same_403_in_every_framework(
    path: str, trio: Trio, organization: Organization, member: Member
) -> None:
    for scope in ("", "posts:read", "posts posts:moderates posts:reading"):
        refused = trio.ask("DELETE", path, member(organization, scope=scope))
        assert (refused.status, refused.json["code"]) == (403, "insufficient_scope")
        assert refused.headers["www-authenticate"] == (
            'Bearer error="insufficient_scope", scope="posts:moderate posts:read"'
        )
    assert served == []
    granted = trio.ask("DELETE", path, member(organization, scope="posts:read posts:moderate"))
    assert (granted.status, granted.text) == (200, "done")
    assert len(served) == 3


def test_who_is_not_identified_is_401_even_where_no_organization_is_needed(
    trio: Trio, organization: Organization, member: Member
) -> None:
    everything = member(organization, scope=" ".join(NEEDED))
    for headers in ({}, everything):
        refused = trio.ask("DELETE", "/open", headers)
        assert (refused.status, refused.json["code"]) == (401, "unauthenticated")
    assert served == []


@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
def test_a_websocket_without_the_scope_is_not_accepted(
    framework: str,
    trio: Trio,
    organization: Organization,
    member: Member,
    event_loop_runner: asyncio.Runner,
) -> None:
    app = getattr(trio, framework)

    def open_as(scope: str) -> list[tuple[str, int | None]]:
        sent = event_loop_runner.run(websocket(app, "/socket", member(organization, scope=scope)))
        return [(message["type"], message.get("code")) for message in sent]

    assert open_as("posts:read") == [("websocket.close", 4403)]
    assert served == []
    assert open_as(" ".join(NEEDED))[0] == ("websocket.accept", None)
    assert served == ["websocket"]


def test_what_is_no_function_cannot_be_guarded_by_mistake() -> None:
    class Callable:
        async def __call__(self, *args: Any) -> None: ...

    for endpoint in (InClass, Callable(), partial(Callable())):
        with pytest.raises(ConfigurationError, match="on a function"):
            starlette_adapter.requires_scopes("a")(endpoint)


def test_a_guarded_endpoint_keeps_its_name() -> None:
    assert (in_async.__name__, in_sync.__name__) == ("in_async", "in_sync")
