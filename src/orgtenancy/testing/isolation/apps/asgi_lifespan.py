"""An ASGI app's lifespan: it is started once, and stopped at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias

from orgtenancy.testing.isolation.apps.clients import DEADLINE

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

#: What a server says of itself.
ASGI = {"version": "3.0", "spec_version": "2.3"}


class Lifespan:
    """What an app does before its first request and after its last one.

    Args:
        app: The app.
        state: What it keeps for its requests.
    """

    def __init__(self, app: AsgiApp, state: dict[str, Any]) -> None:
        self._app = app
        self._scope = {"type": "lifespan", "asgi": ASGI, "state": state}
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._told: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the app.

        Raises:
            RuntimeError: If it says that it cannot start.
        """
        self._task = asyncio.create_task(self._live())
        await self._tell("startup")

    async def stop(self) -> None:
        """Stop the app."""
        await self._tell("shutdown")
        if self._task is not None:
            await asyncio.wait([self._task], timeout=DEADLINE)

    async def _tell(self, what: str) -> None:
        if self._task is None or self._task.done():
            return
        self._incoming.put_nowait({"type": f"lifespan.{what}"})
        listening = asyncio.ensure_future(self._told.get())
        await asyncio.wait(
            [self._task, listening], timeout=DEADLINE, return_when=asyncio.FIRST_COMPLETED
        )
        if not listening.done():
            # An app without a lifespan ends, or raises, as the specification allows.
            listening.cancel()
        elif listening.result()["type"] == f"lifespan.{what}.failed":
            raise RuntimeError(f"the app's {what} failed: {listening.result().get('message', '')}")

    async def _live(self) -> None:
        try:
            await self._app(self._scope, self._incoming.get, self._tell_kit)
        except Exception:  # noqa: BLE001 - it has no lifespan
            return

    async def _tell_kit(self, message: Message) -> None:
        self._told.put_nowait(message)
