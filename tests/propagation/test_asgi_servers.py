"""FastAPI and Starlette on uvicorn: what goes on after a request belongs to its organization."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import httpx
import pytest
from fastapi import BackgroundTasks as FastAPIBackgroundTasks
from fastapi import FastAPI
from fastapi import WebSocket as FastAPIWebSocket
from fastapi.responses import StreamingResponse as FastAPIStreamingResponse
from starlette.applications import Starlette
from starlette.background import BackgroundTasks
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.sync.client import connect

from orgtenancy import (
    Organization,
    OrgTenancyError,
    Tenancy,
    copy_context,
    current_organization,
    embedded,
)
from orgtenancy.adapters import fastapi as fastapi_adapter
from orgtenancy.adapters import starlette as starlette_adapter
from orgtenancy.context import organization_var
from tests.propagation.servers import Believing, serving_asgi
from tests.propagation.support import bound, eventually, marks, note, wait_for, write, written

pytestmark = pytest.mark.slow

Two = tuple[Organization, Organization]


@dataclass
class Work:
    """What the endpoints of both frameworks do.

    Attributes:
        tenancy: The app's.
        may_go_on: Set by the test, once requests have ended.
        refused: What was refused, and as what.
        running: Keeps tasks alive.
    """

    tenancy: Tenancy
    may_go_on: Event = field(default_factory=Event)
    refused: list[str] = field(default_factory=list)
    running: set[asyncio.Task[None]] = field(default_factory=set)

    def later(self, mark: str) -> None:
        """Write once requests have ended."""
        assert self.may_go_on.wait(30)
        try:
            write(self.tenancy, mark)
        except OrgTenancyError as error:
            self.refused.append(type(error).__name__)

    async def later_async(self, mark: str) -> None:
        await asyncio.to_thread(self.later, mark)

    def start(self) -> None:
        """Start what nobody waits for, with and without a copy of the context."""
        Thread(target=copy_context(self.later), args=("copied thread",)).start()
        Thread(target=self.later, args=("plain thread",)).start()
        task = asyncio.get_running_loop().create_task(self.later_async("task"))
        self.running.add(task)

    def lines(self) -> Iterator[str]:
        """Write before each line, the second of which comes once requests have ended."""
        write(self.tenancy, "line 1")
        yield f"{current_organization().id}\n"
        self.later("line 2")
        yield f"{current_organization().id}\n"

    async def lines_async(self) -> AsyncIterator[str]:
        await asyncio.to_thread(write, self.tenancy, "line 1")
        yield f"{current_organization().id}\n"
        await self.later_async("line 2")
        yield f"{current_organization().id}\n"

    async def talk(self, socket: WebSocket) -> None:
        """Write what is said, and answer for whom."""
        await socket.accept()
        try:
            while True:
                await asyncio.to_thread(write, self.tenancy, await socket.receive_text())
                await socket.send_text(current_organization().id)
        except WebSocketDisconnect:
            await self.later_async("after the end")


def starlette_app(work: Work) -> ASGIApp:
    async def background(request: Request) -> JSONResponse:
        tasks = BackgroundTasks()
        tasks.add_task(work.later, "background")
        tasks.add_task(work.later_async, "async background")
        return JSONResponse({}, background=tasks)

    async def start(request: Request) -> JSONResponse:
        work.start()
        return JSONResponse({})

    async def stream(request: Request) -> StreamingResponse:
        is_async = request.path_params["kind"] == "async"
        return StreamingResponse(work.lines_async() if is_async else work.lines())

    async def look(request: Request) -> JSONResponse:
        return JSONResponse(bound())

    return Starlette(
        routes=[
            Route("/background", background),
            Route("/start", start),
            Route("/stream/{kind}", stream),
            Route("/look", look),
            WebSocketRoute("/talk", work.talk),
        ],
        middleware=[
            Middleware(
                starlette_adapter.OrganizationMiddleware,
                tenancy=work.tenancy,
                resolver=Believing(),
                exempt=["/look"],
            )
        ],
        lifespan=starlette_adapter.lifespan(work.tenancy),
    )


def fastapi_app(work: Work) -> ASGIApp:
    app = FastAPI(lifespan=fastapi_adapter.lifespan(work.tenancy))
    fastapi_adapter.install(app, work.tenancy, resolver=Believing(), exempt=["/look"])

    @app.get("/background")
    async def background(tasks: FastAPIBackgroundTasks) -> dict[str, str]:
        tasks.add_task(work.later, "background")
        tasks.add_task(work.later_async, "async background")
        return {}

    @app.get("/start")
    async def start() -> dict[str, str]:
        work.start()
        return {}

    @app.get("/stream/{kind}", response_model=None)
    async def stream(kind: str) -> FastAPIStreamingResponse:
        return FastAPIStreamingResponse(work.lines_async() if kind == "async" else work.lines())

    @app.get("/look")
    def look() -> dict[str, Any]:
        return bound()

    @app.websocket("/talk")
    async def talk(socket: FastAPIWebSocket) -> None:
        await work.talk(socket)

    return app


@dataclass
class Server:
    """A server that runs, and how to ask it."""

    address: str
    work: Work

    def client(self, organization: Organization) -> httpx.Client:
        headers = headers_of(organization)
        return httpx.Client(base_url=f"http://{self.address}", headers=headers, timeout=30)


def headers_of(organization: Organization) -> dict[str, str]:
    return {"x-organization": organization.id, "x-user": "ann"}


@pytest.fixture(params=[starlette_app, fastapi_app], ids=["starlette", "fastapi"])
def live(
    request: pytest.FixtureRequest, server: embedded.EmbeddedServer, tenancy: Tenancy
) -> Iterator[Server]:
    """The app of each framework on uvicorn, with a tenancy of its own."""
    make_app: Callable[[Work], ASGIApp] = request.param
    work = Work(Tenancy(server.url))
    with serving_asgi(make_app(work)) as address:
        try:
            yield Server(address, work)
        finally:
            work.may_go_on.set()


def ask_all(live: Server, organizations: Two, path: str) -> None:
    """Send a request for each of them; all have ended before any work goes on."""
    for organization in organizations:
        with live.client(organization) as client:
            assert client.get(path).json() == {}
    assert httpx.get(f"http://{live.address}/look").json() == {
        "organization": None,
        "actor": None,
        "session": False,
    }
    live.work.may_go_on.set()


def test_background_tasks_go_on_for_their_request_s_organization(
    live: Server, tenancy: Tenancy, two_organizations: Two
) -> None:
    ask_all(live, two_organizations, "/background")
    for organization in two_organizations:
        wait_for(tenancy, organization, "background", "async background")
        assert written(tenancy, organization) == [
            note(organization, mark, "http:127.0.0.1")
            for mark in ("background", "async background")
        ]
    assert live.work.refused == []


def test_what_a_request_started_goes_on_for_its_organization_or_is_refused(
    live: Server, tenancy: Tenancy, two_organizations: Two
) -> None:
    ask_all(live, two_organizations, "/start")
    for organization in two_organizations:
        wait_for(tenancy, organization, "copied thread", "task")
        assert sorted(written(tenancy, organization), key=lambda n: n.mark) == [
            note(organization, mark, "http:127.0.0.1") for mark in ("copied thread", "task")
        ]
    eventually(lambda: len(live.work.refused) == 2)
    assert set(live.work.refused) == {"OrganizationContextMissing"}


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_streams_of_two_organizations_at_once_stay_apart(
    live: Server, tenancy: Tenancy, two_organizations: Two, kind: str
) -> None:
    with ExitStack() as entered:
        streams = []
        for organization in two_organizations:
            client = entered.enter_context(live.client(organization))
            response = entered.enter_context(client.stream("GET", f"/stream/{kind}"))
            lines = response.iter_lines()
            assert next(lines) == organization.id
            streams.append(lines)
        live.work.may_go_on.set()
        for organization, lines in zip(two_organizations, streams, strict=True):
            assert list(lines) == [organization.id]
    for organization in two_organizations:
        assert marks(tenancy, organization) == ["line 1", "line 2"]


def test_websockets_of_two_organizations_at_once_stay_apart(
    live: Server, tenancy: Tenancy, two_organizations: Two
) -> None:
    with ExitStack() as entered:
        sockets = [
            entered.enter_context(
                connect(f"ws://{live.address}/talk", additional_headers=headers_of(organization))
            )
            for organization in two_organizations
        ]
        for text in ("1", "2"):
            for organization, socket in zip(two_organizations, sockets, strict=True):
                socket.send(text)
                assert socket.recv(timeout=30) == organization.id
    live.work.may_go_on.set()
    for organization in two_organizations:
        wait_for(tenancy, organization, "1", "2", "after the end")


def test_a_stream_that_its_reader_leaves_is_ended_and_leaves_nothing(
    live: Server, tenancy: Tenancy, two_organizations: Two
) -> None:
    a, b = two_organizations
    with live.client(a) as client, client.stream("GET", "/stream/async") as response:
        next(response.iter_lines())
    with live.client(b) as client:
        assert client.get("/background").json() == {}
    live.work.may_go_on.set()
    eventually(lambda: len(marks(tenancy, b)) == 2)
    assert httpx.get(f"http://{live.address}/look").json()["organization"] is None
    assert organization_var.get() is None
    assert set(marks(tenancy, a)) <= {"line 1", "line 2"}
