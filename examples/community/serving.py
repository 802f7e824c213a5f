"""Serving an app until it is stopped, and not a second longer."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from examples.community.stopping import Stop


class Server(uvicorn.Server):
    """Leaves the signals to `Stop`, says when it answers, and before it waits for the end."""

    def __init__(
        self, config: uvicorn.Config, on_ready: Callable[[], None], on_stop: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_stop = on_stop

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        asyncio.get_running_loop().call_soon(self._on_ready)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)


def listen(port: int) -> socket.socket:
    """Return a socket that has the port for itself; connections wait until it is served.

    Raises:
        OSError: If the port is taken.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def serve(
    app: FastAPI, listener: socket.socket, stop: Stop, on_ready: Callable[[uvicorn.Server], None]
) -> None:
    """Serve an app until `stop` hears of a signal.

    Args:
        app: The app.
        listener: Where; it is closed at the end.
        stop: Ends it.
        on_ready: Called with the server once it answers.
    """
    config = uvicorn.Config(
        app,
        lifespan="on",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,  # a browser may hold a connection open for minutes
    )
    # Streams that nobody ends would be waited for.
    stop.server = server = Server(config, lambda: on_ready(server), lambda: app.state.hub.stop())
    server.run(sockets=[listener])
