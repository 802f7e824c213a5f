"""What a host says of its app, so that it can be attacked."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from orgtenancy.errors import ConfigurationError
from orgtenancy.testing.isolation.apps.asgi import AsgiClient
from orgtenancy.testing.isolation.apps.asking import Ask, WebSocket, as_ask, as_websocket
from orgtenancy.testing.isolation.apps.clients import Client
from orgtenancy.testing.isolation.apps.wsgi import WsgiClient

#: The headers of a member of the organization with this id.
AsMember: TypeAlias = Callable[[str], Mapping[str, str]]

#: Writes something with a mark, in a session of an organization.
Plant: TypeAlias = (
    "Callable[[Session, str], object] | Callable[[AsyncSession, str], Awaitable[object]]"
)

_OPENAPI = "/openapi.json"


@dataclass(frozen=True)
class AppUnderProof:
    """A host's app, and how it is asked.

    ```python
    AppUnderProof(
        app,
        as_member=lambda organization: {"authorization": f"Bearer {token(organization)}"},
        plant=lambda session, mark: NoteRepository(session).write(1, mark),
        requests=["/notes", "/notes/{note_id}", Ask("POST", "/notes", json={"body": "{mark}"})],
    )
    ```

    Attributes:
        app: An ASGI or WSGI app, or a function without arguments that returns one. It works
            on the tenancy that is proven, whose pools are made small meanwhile.
        as_member: Returns the headers of a member of an organization, by its id.
        plant: Writes something into an organization that the requests then show:
            `plant(session, mark)`. `async def` gets an `AsyncSession`.
        requests: What is sent: `"/path"`, `"METHOD /path"`, or an `Ask`. Without any, all GET
            operations of the OpenAPI document.
        websockets: What is opened: paths, or a `WebSocket` each.
        openapi: The document, or where the app serves it.
    """

    app: Any
    as_member: AsMember
    plant: Plant | None = None
    requests: Sequence[str | Ask] = ()
    websockets: Sequence[str | WebSocket] = ()
    openapi: Mapping[str, Any] | str = _OPENAPI

    @property
    def asks(self) -> list[Ask]:
        """The requests that are named."""
        return [as_ask(one) for one in self.requests]

    @property
    def sockets(self) -> list[WebSocket]:
        """The websockets that are named."""
        return [as_websocket(one) for one in self.websockets]

    def client(self) -> Client:
        """Return what asks the app.

        Raises:
            ConfigurationError: If it is neither an ASGI nor a WSGI app, nor returns one.
        """
        return client_of(self.app)


def client_of(app: Any) -> Client:
    """Return what asks an app.

    Raises:
        ConfigurationError: If it is neither an ASGI nor a WSGI app, nor returns one.
    """
    for _ in range(2):
        match _arguments(app):
            case 3:
                return AsgiClient(app)
            case 2:
                return WsgiClient(app)
            case 0:
                app = app()
            case _:
                break
    raise ConfigurationError(
        f"a {type(app).__name__} is neither an ASGI app (scope, receive, send) nor a WSGI app "
        "(environ, start_response), nor a function without arguments that returns one"
    )


def _arguments(app: Any) -> int | None:
    """Return how many arguments must be given to something, or None if it cannot be called."""
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return None
    return sum(
        one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
        for one in parameters
    )
