"""Apps with a real bug each, on the same PostgreSQL, as hosts have written them.

They work as the schemas' owner, around what the library refuses, and believe a header.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import anyio
from anyio import to_thread
from flask import Flask
from flask import request as flask_request
from sqlalchemy import Connection, Engine, text
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

HEADER = "x-organization"
SCHEMAS = text("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'org\\_proof-%'")
keys = count(2_000_000_000)

Owner = Engine
Leaking = Callable[[Owner], Any]
log = logging.getLogger("host.leaking")


def named(organization: str) -> dict[str, str]:
    """Return the headers of a member."""
    return {HEADER: organization}


@contextmanager
def in_schema(owner: Owner, schema: str) -> Iterator[Connection]:
    with owner.begin() as connection:
        connection.execute(text(f'SET LOCAL search_path TO "{schema}"'))
        yield connection


def bodies(owner: Owner, organization: str) -> list[str]:
    with in_schema(owner, f"org_{organization}") as connection:
        return list(connection.scalars(text("SELECT body FROM notes ORDER BY id")))


def notes_app(*routes: Any) -> Starlette:
    return Starlette(routes=list(routes))


def asked_by(request: Any) -> str:
    return str(request.headers[HEADER])


def global_session(owner: Owner) -> Any:
    """A connection of the module, which is in the schema of whoever came first."""
    kept: list[Connection] = []

    def notes(request: Request) -> Response:
        if not kept:
            kept.append(owner.connect())
            kept[0].execute(text(f'SET search_path TO "org_{asked_by(request)}"'))
        return JSONResponse(list(kept[0].scalars(text("SELECT body FROM notes"))))

    return notes_app(Route("/notes", notes))


def shared_cache(owner: Owner) -> Any:
    """Answers are remembered by their path."""
    answers: dict[str, list[str]] = {}

    def notes(request: Request) -> Response:
        path = request.url.path
        if path not in answers:
            answers[path] = bodies(owner, asked_by(request))
        return JSONResponse(answers[path])

    return notes_app(Route("/notes", notes))


def global_while_streaming(owner: Owner) -> Any:
    """A stream goes on with what the last request has put into the module."""
    current: list[str] = []

    def stream(request: Request) -> Response:
        current[:] = [asked_by(request)]

        async def lines() -> AsyncIterator[str]:
            yield "notes:\n"
            for body in bodies(owner, current[0]):
                yield f"{body}\n"

        return StreamingResponse(lines())

    return notes_app(Route("/notes", stream))


def global_while_waiting(owner: Owner) -> Any:
    """An async endpoint reads the module's organization after it has waited."""
    current: list[str] = []

    async def notes(request: Request) -> Response:
        current[:] = [asked_by(request)]
        await to_thread.run_sync(bodies, owner, asked_by(request))
        return JSONResponse(await to_thread.run_sync(bodies, owner, current[0]))

    return notes_app(Route("/notes", notes))


def thread_local_not_reset(owner: Owner) -> Any:
    """What a thread was last asked for stays, and serves whoever says nothing."""
    app, kept = Flask(__name__), threading.local()

    @app.before_request
    def enter() -> None:
        if HEADER in flask_request.headers:
            kept.organization = flask_request.headers[HEADER]

    @app.get("/notes")
    def notes() -> Any:
        return bodies(owner, kept.organization)

    return app


def background_from_global(owner: Owner) -> Any:
    """A background task asks the module for whom it works, when it runs."""
    current: list[str] = []

    def write(request: Request) -> Response:
        current[:] = [asked_by(request)]

        def work(body: str) -> None:
            with in_schema(owner, f"org_{current[0]}") as connection:
                values = {"id": next(keys), "body": body}
                connection.execute(text("INSERT INTO notes VALUES (:id, :body)"), values)

        task = BackgroundTask(work, request.query_params["body"])
        return JSONResponse({}, 202, background=task)

    return notes_app(Route("/notes", write, methods=["POST"]))


def trusting_websocket(owner: Owner) -> Any:
    """A websocket believes what a message says of the organization."""

    async def live(socket: WebSocket) -> None:
        await socket.accept()
        async for said in socket.iter_text():
            message = json.loads(said)
            organization = message.get("organization", socket.headers.get(HEADER))
            await socket.send_json(bodies(owner, organization))

    def notes(request: Request) -> Response:
        return JSONResponse(bodies(owner, asked_by(request)))

    return notes_app(Route("/notes", notes), WebSocketRoute("/live", live))


def greeting_websocket(owner: Owner) -> Any:
    """A websocket tells whoever opens it what the last request was about."""
    last: list[str] = []

    async def live(socket: WebSocket) -> None:
        await socket.accept()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_tell, socket)
            await socket.receive()
            tasks.cancel_scope.cancel()

    async def _tell(socket: WebSocket) -> None:
        while True:
            await socket.send_json(last)
            await anyio.sleep(0.01)

    def notes(request: Request) -> Response:
        last[:] = bodies(owner, asked_by(request))
        return JSONResponse(last)

    return notes_app(Route("/notes", notes), WebSocketRoute("/live", live))


def websocket_of_anybody(owner: Owner) -> Any:
    """A websocket without credentials is the one before."""
    current: list[str] = []

    async def live(socket: WebSocket) -> None:
        await socket.accept()
        if HEADER in socket.headers:
            current[:] = [socket.headers[HEADER]]
        async for _ in socket.iter_text():
            await socket.send_json(bodies(owner, current[0]))

    def notes(request: Request) -> Response:
        return JSONResponse(bodies(owner, asked_by(request)))

    return notes_app(Route("/notes", notes), WebSocketRoute("/live", live))


def schema_of_query(owner: Owner) -> Any:
    """The schema comes from the query, if there is one."""

    def notes(request: Request) -> Response:
        schema = request.query_params.get("schema", f"org_{asked_by(request)}")
        with in_schema(owner, schema) as connection:
            return JSONResponse(list(connection.scalars(text("SELECT body FROM notes"))))

    return notes_app(Route("/notes", notes))


def keys_of_anybody(owner: Owner) -> Any:
    """A list is one's own, but a key finds whatever has it, in any schema."""
    shown: dict[str, str] = {}

    def notes(request: Request) -> Response:
        found = [(f"{asked_by(request)}.{n}", b) for n, b in enumerate(_own(request))]
        shown.update(found)
        return JSONResponse([{"id": key, "body": body} for key, body in found])

    def note(request: Request) -> Response:
        return JSONResponse(shown.get(request.path_params["note_id"]))

    def _own(request: Request) -> list[str]:
        return bodies(owner, asked_by(request))

    return notes_app(Route("/notes", notes), Route("/notes/{note_id}", note))


def key_in_body(owner: Owner) -> Any:
    """The same, where the key is in the body of a search."""
    shown: dict[str, str] = {}

    def notes(request: Request) -> Response:
        found = [
            (f"{asked_by(request)}.{n}", body)
            for n, body in enumerate(bodies(owner, asked_by(request)))
        ]
        shown.update(found)
        return JSONResponse([{"id": key, "body": body} for key, body in found])

    async def search(request: Request) -> Response:
        wanted = await request.json()
        return JSONResponse(shown.get(wanted["note"]["id"]))

    return notes_app(Route("/notes", notes), Route("/search", search, methods=["POST"]))


def tidy_everywhere(owner: Owner) -> Any:
    """What tidies up goes over all schemas, and deletes rows that nobody ever sees."""

    def notes(request: Request) -> Response:
        return JSONResponse(bodies(owner, asked_by(request)))

    def tidy(request: Request) -> Response:
        with owner.begin() as connection:
            for schema in connection.scalars(SCHEMAS).all():
                connection.execute(text(f'DELETE FROM "{schema}".notes WHERE id = 2'))
        return JSONResponse({})

    return notes_app(Route("/notes", notes), Route("/tidy", tidy, methods=["POST"]))


def careful(owner: Owner) -> Any:
    """Leaks nothing."""

    def notes(request: Request) -> Response:
        return JSONResponse(bodies(owner, asked_by(request)))

    return notes_app(Route("/notes", notes))


def endless(owner: Owner) -> Any:
    """An answer that never ends."""

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        while True:
            yield b"more\n"
            time.sleep(0.01)

    return app


def limited(owner: Owner) -> Any:
    """Answers the first requests of each, and then no more: it leaks nothing, and shows nothing."""
    asked: Counter[str] = Counter()

    def notes(request: Request) -> Response:
        organization = asked_by(request)
        asked[organization] += 1
        if asked[organization] > 1:
            return JSONResponse({}, 429)
        return JSONResponse(bodies(owner, organization))

    return notes_app(Route("/notes", notes))


def logs_of_others(owner: Owner) -> Any:
    """Answers are right, but the log tells what the last one had."""
    last: list[str] = []

    def notes(request: Request) -> Response:
        found = bodies(owner, asked_by(request))
        log.warning("was %s, is now longer by %d", last, len(found) - len(last))
        last[:] = found
        return JSONResponse(found)

    return notes_app(Route("/notes", notes))


def path_remembered(owner: Owner) -> Any:
    """A connection's path is set once, and what a rollback undoes is still believed."""
    app = Flask(__name__)

    @app.get("/notes")
    def notes() -> Any:
        organization = flask_request.headers[HEADER]
        with owner.connect() as connection:
            if connection.info.get(HEADER) != organization:
                connection.execute(text(f'SET search_path TO "org_{organization}"'))
                connection.info[HEADER] = organization
            found = list(connection.scalars(text("SELECT body FROM notes")))
            connection.commit()
            return found

    return app


def not_reset_when_left(owner: Owner) -> Any:
    """Who is served is forgotten at the end of a stream, which never comes for some."""
    current: list[str] = []

    def stream(request: Request) -> Response:
        if HEADER in request.headers:
            current.append(asked_by(request))

        async def lines() -> AsyncIterator[str]:
            yield "notes:\n"
            for body in await asyncio.to_thread(bodies, owner, current[-1]):
                yield f"{body}\n"
            current.pop()

        return StreamingResponse(lines())

    return notes_app(Route("/notes", stream))


def organization_of_thread(owner: Owner) -> Any:
    """Each thread is somebody's for good: it remembers whom it served first."""
    app = Flask(__name__)
    organizations: dict[int, str] = {}

    @app.get("/notes")
    def notes() -> Any:
        organization = flask_request.headers[HEADER]
        return bodies(owner, organizations.setdefault(threading.get_ident(), organization))

    return app
