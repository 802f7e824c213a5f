"""Apps of a careful host, one for each framework: reads, writes, failures, streams, threads,
background work and websockets, all of which stay in their organization."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from itertools import count
from typing import Any
from wsgiref.types import WSGIApplication

from fastapi import BackgroundTasks, FastAPI, Request, Response, WebSocket
from fastapi.responses import StreamingResponse
from flask import Flask
from flask import request as flask_request
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.responses import StreamingResponse as StarletteStream
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp

from orgtenancy import Tenancy
from orgtenancy.adapters.fastapi import install
from orgtenancy.adapters.flask import OrgTenancy, stream_with_organization
from orgtenancy.adapters.starlette import OrganizationMiddleware, exception_handlers, lifespan
from orgtenancy.identity import Resolver
from tests.support.notes import AsyncNoteRepository, Note, NoteRepository

log = logging.getLogger("host")
keys = count(1_000_000_000)

REQUESTS = (
    "/notes",
    "/notes/{note_id}",
    "/search?text={mark}",
    "/stream",
    "/threads",
    "/fail",
    "POST /notes?body={mark}",
    "POST /later?body={mark}",
)


def listed(session: Any) -> list[dict[str, Any]]:
    found = session.scalars(select(Note).order_by(Note.id)).all()
    log.warning("found %s", [note.body for note in found])
    return [{"id": note.id, "body": note.body} for note in found]


def starlette_host(tenancy: Tenancy, resolver: Resolver) -> ASGIApp:
    async def notes(request: Any) -> Any:
        async with tenancy.session() as session:
            return JSONResponse(await session.run_sync(listed))

    def note(request: Any) -> Any:
        with tenancy.session():
            found = NoteRepository().get(int(request.path_params["note_id"]))
            return JSONResponse({} if found is None else {"id": found.id, "body": found.body})

    async def search(request: Any) -> Any:
        text = request.query_params["text"]
        async with tenancy.session() as session:
            found = await session.scalars(select(Note.body).where(Note.body == text))
            return JSONResponse(found.all())

    def stream(request: Any) -> Any:
        async def lines() -> AsyncIterator[str]:
            async with tenancy.session() as session:
                yield "notes:\n"
                for body in await session.scalars(select(Note.body)):
                    yield f"{body}\n"

        return StarletteStream(lines())

    async def threads(request: Any) -> Any:
        def work() -> Any:
            with tenancy.session() as session:
                return listed(session)

        return JSONResponse(await asyncio.to_thread(work))

    async def fail(request: Any) -> Any:
        async with tenancy.session() as session:
            await AsyncNoteRepository(session).write(next(keys), "never")
            raise ZeroDivisionError

    async def write(request: Any) -> Any:
        async with tenancy.session():
            await AsyncNoteRepository().write(next(keys), request.query_params["body"])
        return JSONResponse({}, 201)

    def later(request: Any) -> Any:
        def work(body: str) -> None:
            with tenancy.session():
                NoteRepository().write(next(keys), body)

        task = BackgroundTask(work, request.query_params["body"])
        return JSONResponse({}, 202, background=task)

    async def live(socket: WebSocket) -> None:
        await socket.accept()
        async for _ in socket.iter_text():
            async with tenancy.session() as session:
                await socket.send_json(await session.run_sync(listed))

    return Starlette(
        routes=[
            Route("/notes", notes),
            Route("/notes", write, methods=["POST"]),
            Route("/notes/{note_id}", note),
            Route("/search", search),
            Route("/stream", stream),
            Route("/threads", threads),
            Route("/fail", fail),
            Route("/later", later, methods=["POST"]),
            WebSocketRoute("/live", live),
        ],
        middleware=[Middleware(OrganizationMiddleware, tenancy=tenancy, resolver=resolver)],
        exception_handlers=exception_handlers,
        lifespan=lifespan(tenancy),
    )


def fastapi_host(tenancy: Tenancy, resolver: Resolver) -> ASGIApp:
    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with tenancy:
            yield {"has_begun": True}

    app = FastAPI(lifespan=living)
    install(app, tenancy, resolver=resolver)

    @app.get("/notes")
    def notes(request: Request) -> Any:
        assert request.state.has_begun
        with tenancy.session() as session:
            return listed(session)

    @app.get("/notes/{note_id}")
    async def note(note_id: int) -> Any:
        async with tenancy.session():
            found = await AsyncNoteRepository().get(note_id)
            return None if found is None else {"id": found.id, "body": found.body}

    @app.get("/search")
    def search(text: str) -> Any:
        with tenancy.session() as session:
            return session.scalars(select(Note.body).where(Note.body == text)).all()

    @app.get("/stream")
    def stream() -> Any:
        async def lines() -> AsyncIterator[str]:
            async with tenancy.session() as session:
                yield "notes:\n"
                for body in await session.scalars(select(Note.body)):
                    yield f"{body}\n"

        return StreamingResponse(lines())

    @app.get("/threads")
    def threads() -> Any:
        def work() -> Any:
            with tenancy.session() as session:
                return listed(session)

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(contextvars.copy_context().run, work).result()

    @app.get("/fail")
    def fail() -> Any:
        with tenancy.session():
            NoteRepository().write(next(keys), "never")
            raise ZeroDivisionError

    @app.post("/notes", status_code=201)
    def write(body: str) -> Response:
        with tenancy.session():
            NoteRepository().write(next(keys), body)
        return Response(status_code=201)

    @app.post("/later", status_code=202)
    async def later(body: str, tasks: BackgroundTasks) -> None:
        async def work() -> None:
            async with tenancy.session():
                await AsyncNoteRepository().write(next(keys), body)

        tasks.add_task(work)

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.accept()
        async for _ in socket.iter_text():
            async with tenancy.session() as session:
                await socket.send_json(await session.run_sync(listed))

    return app


def flask_host(tenancy: Tenancy, resolver: Resolver) -> WSGIApplication:
    app = Flask(__name__)
    OrgTenancy(app, tenancy=tenancy, resolver=resolver)

    @app.get("/notes")
    def notes() -> Any:
        return listed(NoteRepository().session)

    @app.get("/notes/<int:note_id>")
    def note(note_id: int) -> Any:
        found = NoteRepository().get(note_id)
        return {} if found is None else {"id": found.id, "body": found.body}

    @app.get("/search")
    def search() -> Any:
        statement = select(Note.body).where(Note.body == flask_request.args["text"])
        return list(NoteRepository().session.scalars(statement))

    @app.get("/stream")
    def stream() -> Any:
        def lines() -> Iterator[str]:
            with tenancy.session() as session:
                yield "notes:\n"
                for body in session.scalars(select(Note.body)):
                    yield f"{body}\n"

        return app.response_class(stream_with_organization(lines()))

    @app.get("/threads")
    def threads() -> Any:
        def work() -> Any:
            with tenancy.session() as session:
                return listed(session)

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(contextvars.copy_context().run, work).result()

    @app.get("/fail")
    def fail() -> Any:
        NoteRepository().write(next(keys), "never")
        raise ZeroDivisionError

    @app.post("/notes")
    def write() -> Any:
        NoteRepository().write(next(keys), flask_request.args["body"])
        return {}, 201

    @app.post("/later")
    def later() -> Any:
        body, context = flask_request.args["body"], contextvars.copy_context()

        def work() -> None:
            try:
                with tenancy.session():
                    NoteRepository().write(next(keys), body)
            except DBAPIError:
                log.exception("could not write later")

        threading.Thread(target=context.run, args=[work]).start()
        return {}, 202

    return app


HOSTS: dict[str, Any] = {
    "starlette": starlette_host,
    "fastapi": fastapi_host,
    "flask": flask_host,
}
