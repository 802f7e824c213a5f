"""Real servers on loopback, each in a thread of the tests."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from wsgiref.types import WSGIApplication

import uvicorn
from starlette.types import ASGIApp
from werkzeug.serving import make_server

from orgtenancy import Actor
from orgtenancy.identity import Identity, RequestInfo, Resolver
from tests.propagation.support import eventually


class Believing(Resolver):
    """Believes what the headers of a request say."""

    def resolve(self, request: RequestInfo) -> Identity | None:
        """Return who the request says it is from."""
        (organization,), (user,) = request.headers["x-organization"], request.headers["x-user"]
        return Identity(organization_id=organization, actor=Actor(id=user), proven=True)


@contextmanager
def serving_asgi(app: ASGIApp) -> Iterator[str]:
    """Serve an app with uvicorn, and return its host and port."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_config=None, ws="websockets-sansio", timeout_graceful_shutdown=10
    )
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        eventually(lambda: server.started)
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
        assert not thread.is_alive()


@contextmanager
def serving_wsgi(app: WSGIApplication, *, threaded: bool) -> Iterator[str]:
    """Serve an app with Werkzeug, and return its host and port."""
    server = make_server("127.0.0.1", 0, app, threaded=threaded)
    server.log = lambda *arguments: None  # type: ignore[method-assign]
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(30)
        server.server_close()
        assert not thread.is_alive()
