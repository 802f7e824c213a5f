"""Starlette, and every ASGI app: a request enters its organization.

Pure ASGI, so that the context reaches endpoints of both kinds, background tasks, streamed
responses and websockets.

```python
app = Starlette(
    routes=routes,
    middleware=[Middleware(OrganizationMiddleware, tenancy=tenancy, resolver=resolver)],
    exception_handlers=exception_handlers,
    lifespan=lifespan(tenancy),
)
```
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar, cast

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, ExceptionHandler, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketClose, WebSocketState

from orgtenancy.adapters.web.problems import (
    PROBLEM_ERRORS,
    PROBLEM_MEDIA_TYPE,
    Problem,
    log_problem,
    problem_headers,
    problem_of,
)
from orgtenancy.adapters.web.requests import Exempt, PathList, asked_host, origin_of
from orgtenancy.adapters.web.resources import MEDIA_TYPE, Resource, resources_of
from orgtenancy.adapters.web.webhooks import (
    RECEIVED,
    WEBHOOK_PATH,
    check_delivery,
    check_delivery_size,
    webhook_name,
)
from orgtenancy.context import actor_var, bind, organization_var, origin_var, session_var
from orgtenancy.endpoints import Endpoint, check_body_size
from orgtenancy.errors import ConfigurationError
from orgtenancy.identity.gate import Gate
from orgtenancy.identity.membership import MembershipPolicy
from orgtenancy.identity.requests import RequestInfo
from orgtenancy.identity.resolvers import Resolver
from orgtenancy.identity.scopes import require_scopes
from orgtenancy.identity.webhooks import WebhookReceiver

if TYPE_CHECKING:
    from orgtenancy.tenancy import Tenancy

P = ParamSpec("P")
R = TypeVar("R")

Handler: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]

_SCOPE_KEY = "orgtenancy.tenancy"
_INTERNAL_ERROR = 1011  # RFC 6455, section 7.4.1


class OrganizationMiddleware:
    """Binds organization, actor and origin for the whole of a request or websocket.

    Put CORS outside of it: a preflight request has no credentials, and a refusal needs
    the CORS headers too.

    Args:
        app: The app to wrap.
        tenancy: Finds the organizations.
        resolver: Says who asks, and for which organization.
        membership: Decides what no signature proves; nobody is let in if not given.
        exempt: What is served without an organization. Sessions are refused there.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        tenancy: Tenancy,
        resolver: Resolver,
        membership: MembershipPolicy | None = None,
        exempt: Exempt = (),
    ) -> None:
        self.app = app
        self._tenancy = tenancy
        self._gate = Gate(resolver, membership)
        self._is_exempt = exempt if callable(exempt) else PathList(exempt)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or websocket inside its organization, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        scope[_SCOPE_KEY] = self._tenancy
        request = request_info(scope)
        client = scope.get("client")
        # A server may start a pipelined request in the context of the one before it.
        with (
            bind(organization_var, None),
            bind(session_var, None),
            bind(actor_var, None),
            bind(origin_var, origin_of(client[0] if client else None)),
        ):
            if self._is_exempt(request):
                await self.app(scope, receive, send)
            else:
                await self._serve_inside(request, scope, receive, send)

    async def _serve_inside(
        self, request: RequestInfo, scope: Scope, receive: Receive, send: Send
    ) -> None:
        async with AsyncExitStack() as entered:
            try:
                identity = await self._gate.identify_async(request)
                organization = self._tenancy.organization(identity.organization_id)
                await entered.enter_async_context(organization)
            except PROBLEM_ERRORS as error:
                await _refuse(error, scope, receive, send)
                return
            with bind(actor_var, identity.actor):
                await self.app(scope, receive, send)


def tenancy_of(connection: HTTPConnection) -> Tenancy:
    """Return the tenancy of the app that serves a request.

    Raises:
        ConfigurationError: If `OrganizationMiddleware` does not wrap the app.
    """
    tenancy = connection.scope.get(_SCOPE_KEY)
    if tenancy is None:
        raise ConfigurationError("OrganizationMiddleware does not wrap this app")
    return cast("Tenancy", tenancy)


def request_info(scope: Scope) -> RequestInfo:
    """Return what identity needs to know of an ASGI request."""
    headers: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    # The path has the mount point in front; the routes are matched without it.
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :] or "/"
    return RequestInfo(
        method=scope.get("method", "WEBSOCKET"),
        path=path,
        headers=headers,
        host=asked_host(headers.get("host", ())),
        query=scope.get("query_string", b"").decode("latin-1"),
    )


def module_routes(tenancy: Tenancy, *names: str) -> list[Route]:
    """Return the routes of modules' endpoints, to be mounted wherever the host likes.

    ```python
    routes = [Mount("/api", routes=module_routes(tenancy))]
    ```

    They answer errors as problems themselves, and need `OrganizationMiddleware` around them.

    Args:
        tenancy: Whose modules.
        *names: Which of them; all that have endpoints if not given.

    Raises:
        ConfigurationError: If there is no such module, or two endpoints cannot be told apart.
    """
    routes: list[Route] = []
    for resource in resources_of(tenancy, names):
        path, serve = resource.path, handler(tenancy, resource)
        for method, operation in resource.operations.items():
            routes.append(Route(path, serve, methods=[method], name=operation.endpoint.name))
        # No methods, which to the router is any: a wrong one is answered like the rest.
        routes.append(Route(path, serve, methods=[]))
    return routes


def handler(tenancy: Tenancy, resource: Resource) -> Handler:
    """Return the function that serves a path of the modules' API."""

    async def serve(request: Request) -> Response:
        try:
            operation = resource.operation(request.method)
            endpoint = operation.endpoint
            caller = operation.admit(request.client.host if request.client else None)
            body = await _read_body(request, endpoint)
            inputs = endpoint.read(request.path_params, request.scope["query_string"], body)
            content = await tenancy.run_async(endpoint.run, caller, inputs)
        except PROBLEM_ERRORS as error:
            if (response := problem_response(error)) is None:
                raise
            return response
        return Response(content, endpoint.status, media_type=MEDIA_TYPE if content else None)

    return serve


async def _read_body(request: Request, endpoint: Endpoint) -> bytes:
    headers = request.headers
    endpoint.check_body(",".join(headers.getlist("content-type")), headers.get("content-length"))
    return await _read_stream(request, check_body_size) if endpoint.reads_body else b""


async def _read_stream(request: Request, check_size: Callable[[int], None]) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        check_size(len(body) + len(chunk))
        body += chunk
    return bytes(body)


def webhook_route(receiver: WebhookReceiver, path: str = WEBHOOK_PATH) -> Route:
    """Return the route of a webhook: what is posted there goes to the receiver as it is.

    ```python
    webhook = webhook_route(receiver)
    middleware = Middleware(OrganizationMiddleware, ..., exempt=["/health", webhook.path])
    ```

    It is written down before the answer, and answers errors as problems itself. Its path has
    to be exempt: the provider sends a signature, which is for the receiver, and no token.

    Args:
        receiver: Checks deliveries and writes them down.
        path: Where the provider posts them.
    """
    serve = webhook_handler(receiver)
    # No methods, which to the router is any: a wrong one is answered like the rest.
    return Route(path, serve, methods=[], name=webhook_name(path), include_in_schema=False)


def webhook_handler(receiver: WebhookReceiver) -> Handler:
    """Return the function that serves a webhook."""

    async def serve(request: Request) -> Response:
        try:
            check_delivery(request.method, request.headers.get("content-length"))
            body = await _read_stream(request, check_delivery_size)
            await receiver.receive_async(body, request_info(request.scope))
        except PROBLEM_ERRORS as error:
            if (response := problem_response(error)) is None:
                raise
            return response
        return Response(RECEIVED, media_type=MEDIA_TYPE)

    return serve


def requires_scopes(*scopes: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that refuses an actor without these scopes.

    ```python
    @requires_scopes("posts:moderate")
    async def remove(request): ...
    ```

    It goes on functions and methods, `async def` or not, of requests and of websockets: one
    that lacks a scope is not accepted. `exception_handlers` make a problem of the refusal.

    Raises:
        ConfigurationError: If it is put on something else, such as a class of endpoints.
    """

    def decorate(endpoint: Callable[P, R]) -> Callable[P, R]:
        function: Any = endpoint
        while isinstance(function, partial):
            function = function.func
        if not inspect.isroutine(function):
            raise ConfigurationError("requires_scopes goes on a function, or on a class's methods")

        @wraps(endpoint)
        async def checked_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            require_scopes(*scopes)
            return await cast("Any", endpoint(*args, **kwargs))

        @wraps(endpoint)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            require_scopes(*scopes)
            return endpoint(*args, **kwargs)

        is_async = inspect.iscoroutinefunction(function)
        return cast("Callable[P, R]", checked_async) if is_async else checked

    return decorate


def problem_response(error: Exception) -> Response | None:
    """Return the response to an error, or None if the error is none of the library's."""
    problem = problem_of(error)
    return None if problem is None else _response(problem, error)


async def handle_error(connection: HTTPConnection, error: Exception) -> Response | None:
    """Answer an error of the library; as an exception handler of Starlette and FastAPI.

    Raises:
        Exception: The error itself, if it is none of the library's.
    """
    problem = problem_of(error)
    if problem is None:
        raise error
    if not isinstance(connection, WebSocket):
        return _response(problem, error)
    log_problem(problem, error)
    if connection.application_state is not WebSocketState.DISCONNECTED:
        await connection.close(_close_code(problem), problem.code)
    return None


#: For `Starlette(exception_handlers=...)`: errors that are raised inside of the app.
exception_handlers: dict[Any, ExceptionHandler] = {
    kind: cast("ExceptionHandler", handle_error) for kind in PROBLEM_ERRORS
}


def lifespan(
    tenancy: Tenancy, *blocks: AbstractAsyncContextManager[Any]
) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """Return a lifespan that closes the tenancy's connections when the app stops.

    ```python
    app = Starlette(routes=routes, lifespan=lifespan(tenancy, tenancy.schemas.spares.keep(5)))
    ```

    An app with a lifespan of its own writes `async with tenancy, keeper:` there instead.

    Args:
        tenancy: Whose connections.
        *blocks: What works in the background as long as the app runs. They begin in this
            order and end in the reverse one, before the connections are closed. If one does
            not begin, those before it end, and the app does not start.
    """

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[None]:
        async with AsyncExitStack() as entered:
            for block in (tenancy, *blocks):
                await entered.enter_async_context(block)
            yield

    return run


async def _refuse(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    problem = problem_of(error)
    if problem is None:
        raise error
    if scope["type"] == "websocket":
        log_problem(problem, error)
        # Before the handshake: a server turns this into a refused upgrade.
        await WebSocketClose(_close_code(problem), problem.code)(scope, receive, send)
    else:
        await _response(problem, error)(scope, receive, send)


def _response(problem: Problem, error: Exception) -> Response:
    log_problem(problem, error)
    return Response(
        problem.content,
        problem.status,
        headers=problem_headers(error, problem),
        media_type=PROBLEM_MEDIA_TYPE,
    )


def _close_code(problem: Problem) -> int:
    # 4000 to 4999 are free for applications (RFC 6455, section 7.4.2).
    return _INTERNAL_ERROR if problem.status == 500 else 4000 + problem.status
