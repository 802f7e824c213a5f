"""FastAPI: endpoints that ask for a repository get the one of their organization.

```python
app = FastAPI(lifespan=lifespan(tenancy))
install(app, tenancy, resolver=logto("https://auth.example.com").resolver())

@app.get("/feed")
async def feed(posts: Repository[AsyncPostRepository], actor: CurrentActor) -> Page[PostView]:
    return await posts.find_feed(actor.id)

app.include_router(module_router(tenancy), prefix="/api")  # what the modules bring along
```

All repositories of a request share one session, which is one transaction. It commits
after the endpoint returned and before the response is sent: a commit that fails is an
error response, and a client that reads 200 can rely on it. A response that is streamed
therefore opens `tenancy.session()` itself; the organization is still bound there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import cache
from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar
from fastapi import APIRouter, Body, Depends, FastAPI, Path, Query, Security
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.requests import HTTPConnection
from starlette.routing import Match
from starlette.types import Scope

from orgtenancy.adapters.starlette import (
    OrganizationMiddleware,
    exception_handlers,
    handler,
    lifespan,
    tenancy_of,
    webhook_handler,
)
from orgtenancy.adapters.web.problems import PROBLEM_MEDIA_TYPE, Problem
from orgtenancy.adapters.web.requests import Exempt
from orgtenancy.adapters.web.resources import Operation, resources_of
from orgtenancy.adapters.web.webhooks import WEBHOOK_PATH, webhook_name
from orgtenancy.context import bind, current_actor, current_organization, session_var
from orgtenancy.database.sessions import OrganizationAsyncSession, OrganizationSession
from orgtenancy.errors import Unauthenticated
from orgtenancy.identity.scopes import require_scopes
from orgtenancy.organizations import Actor, Organization
from orgtenancy.repository import AsyncOrganizationAwareRepository, OrganizationAwareRepository

if TYPE_CHECKING:
    from orgtenancy.identity.membership import MembershipPolicy
    from orgtenancy.identity.requests import RequestInfo
    from orgtenancy.identity.resolvers import Resolver
    from orgtenancy.identity.webhooks import WebhookReceiver
    from orgtenancy.tenancy import Tenancy

__all__ = [
    "CurrentActor",
    "CurrentOrganization",
    "CurrentSession",
    "CurrentSyncSession",
    "Repository",
    "bearer",
    "install",
    "lifespan",
    "module_router",
    "openapi_document",
    "problem_responses",
    "requires_scopes",
    "webhook_router",
]

R = TypeVar("R")

_DESCRIPTIONS = {
    400: "The organization id breaks a rule",
    401: "No credentials, or credentials that prove nothing",
    403: "Not allowed, or the organization is closed",
    404: "No such thing, or no such organization",
    409: "The change contradicts what is stored",
    413: "The body is too large",
    415: "The body is no JSON",
    422: "The input breaks a rule",
    502: "The identity provider does not let this service in",
    503: "The organization is being set up or worked on, or the service is busy",
}
_EVERY_REQUEST = (400, 401, 403, 404, 503)
_EVERY_BODY = (413, 415)
_EVERY_INPUT = (422,)

#: What the documentation says of credentials, unless the host knows better.
bearer = HTTPBearer(scheme_name="bearer", description="An access token", auto_error=False)


def install(
    app: FastAPI,
    tenancy: Tenancy,
    *,
    resolver: Resolver,
    membership: MembershipPolicy | None = None,
    exempt: Exempt = (),
    exempt_docs: bool = True,
    security: Callable[..., Any] | None = None,
) -> None:
    """Make every request of an app enter its organization.

    Call it before the routes are declared, so that their documentation shows the problems
    they may answer with, and before `CORSMiddleware` is added, so that CORS is outside.

    Args:
        app: The app.
        tenancy: Finds the organizations.
        resolver: Says who asks, and for which organization.
        membership: Decides what no signature proves; nobody is let in if not given.
        exempt: What is served without an organization.
        exempt_docs: Whether the OpenAPI pages are served without one, too.
        security: What the documentation says of credentials: `bearer`, or another scheme
            of `fastapi.security` with `auto_error=False`.
    """
    app.add_middleware(
        OrganizationMiddleware,
        tenancy=tenancy,
        resolver=resolver,
        membership=membership,
        exempt=_with_docs(app, exempt) if exempt_docs else exempt,
    )
    for kind, handle in exception_handlers.items():
        app.add_exception_handler(kind, handle)
    _document_problem(app.router)
    app.router.responses = {**problem_responses(*_EVERY_REQUEST), **app.router.responses}
    if security is not None:
        app.router.dependencies.append(Security(security))


def module_router(
    tenancy: Tenancy, *names: str, security: Callable[..., Any] = bearer
) -> APIRouter:
    """Return a router with the endpoints of modules, all of them documented.

    The host's own dependencies, `include_router(..., dependencies=[...])`, run before an
    endpoint does. The endpoints answer errors as problems themselves, and need `install`.

    Args:
        tenancy: Whose modules.
        *names: Which of them; all that have endpoints if not given.
        security: What the documentation says of credentials: a scheme of
            `fastapi.security`.

    Raises:
        ConfigurationError: If there is no such module, or two endpoints cannot be told apart.
    """
    router = APIRouter()
    _document_problem(router)
    for resource in resources_of(tenancy, names):
        for operation in resource.operations.values():
            _document(router, operation, security)
        # No methods, which to the router is any: a wrong one is answered like the rest.
        router.add_api_route(
            resource.path,
            handler(tenancy, resource),
            methods=[],
            operation_id=resource.name,
            response_model=None,
            include_in_schema=False,
        )
    return router


def webhook_router(receiver: WebhookReceiver, path: str = WEBHOOK_PATH) -> APIRouter:
    """Return a router with a webhook: what is posted there goes to the receiver as it is.

    ```python
    install(app, tenancy, resolver=resolver, exempt=["/health", WEBHOOK_PATH])
    app.include_router(webhook_router(receiver))
    ```

    It is written down before the answer, and answers errors as problems itself. Its path has
    to be exempt: the provider sends a signature, which is for the receiver, and no token. It
    is not part of the OpenAPI document. The host's own dependencies run before it does; none
    of them may ask for scopes, or for a session of an organization.

    Args:
        receiver: Checks deliveries and writes them down.
        path: Where the provider posts them.
    """
    router, name = APIRouter(), webhook_name(path)
    # No methods, which to the router is any: a wrong one is answered like the rest.
    router.add_api_route(
        path,
        webhook_handler(receiver),
        methods=[],
        name=name,
        operation_id=name,
        response_model=None,
        include_in_schema=False,
    )
    return router


def openapi_document(
    tenancy: Tenancy,
    *names: str,
    title: str = "API",
    version: str = "1",
    prefix: str = "",
) -> dict[str, Any]:
    """Return the OpenAPI document of modules' endpoints, for hosts of any framework.

    Args:
        tenancy: Whose modules.
        *names: Which of them; all that have endpoints if not given.
        title: The title of the API.
        version: Its version.
        prefix: Where the host mounts it, like `/api`.
    """
    app = FastAPI(title=title, version=version)
    app.include_router(module_router(tenancy, *names), prefix=prefix)
    return app.openapi()


class _Documentation(APIRoute):
    """A route that FastAPI documents and never serves.

    The one that serves takes the plain request, so that all adapters read it alike.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return Match.NONE, {}


def _document_problem(router: APIRouter) -> None:
    # A route without methods is no operation, but its model is among the schemas.
    router.add_api_route(
        "/",
        _signature([], Problem),
        methods=[],
        operation_id="problem",
        response_model=Problem,
        route_class_override=_Documentation,
    )


def _document(router: APIRouter, operation: Operation, security: Callable[..., Any]) -> None:
    endpoint = operation.endpoint
    types = endpoint.types
    documented = {"query": Query(), "body": Body()}
    parameters = [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            annotation=Annotated[kind, documented.get(name, Path())],
        )
        for name, kind in types.items()
        if name != "return"
    ]
    problems = {*_EVERY_REQUEST, *endpoint.problems}
    if parameters:
        problems.update(_EVERY_INPUT)
    if endpoint.reads_body:
        problems.update(_EVERY_BODY)
    output = None if endpoint.status == 204 else types["return"]
    router.add_api_route(
        endpoint.path,
        _signature(parameters, output),
        route_class_override=_Documentation,
        methods=[endpoint.method],
        name=endpoint.name,
        operation_id=endpoint.name,
        summary=endpoint.summary or None,
        description=_description(operation),
        tags=[endpoint.tag] if endpoint.tag else None,
        status_code=endpoint.status,
        response_model=output,
        responses=problem_responses(*sorted(problems)),
        dependencies=[Security(security, scopes=operation.scopes)],
    )


def _description(operation: Operation) -> str:
    needed = ", ".join(f"`{scope}`" for scope in operation.scopes)
    parts = [operation.endpoint.description, needed and f"Needs {needed}."]
    return "\n\n".join(filter(None, parts))


def _signature(parameters: Sequence[Parameter], output: Any) -> Callable[..., None]:
    """Return a function that FastAPI reads the signature of, and never calls."""

    def documented() -> None:
        raise NotImplementedError

    documented.__signature__ = Signature(parameters, return_annotation=output)  # type: ignore[attr-defined]
    return documented


async def organization_session(
    connection: HTTPConnection,
) -> AsyncIterator[OrganizationAsyncSession]:
    """Give the request's transaction; the dependency behind `CurrentSession`."""
    async with tenancy_of(connection).session() as session:
        yield session


async def organization_sync_session(
    connection: HTTPConnection,
) -> AsyncIterator[OrganizationSession]:
    """Give the request's transaction to `def` endpoints; behind `CurrentSyncSession`.

    A coroutine, since what a `def` dependency binds is lost before the endpoint runs.

    Raises:
        sqlalchemy.exc.TimeoutError: If no connection is free within `pool_timeout`.
    """
    tenancy = tenancy_of(connection)
    async with _turn(tenancy):
        block = tenancy.session()
        # The block resets what it set, which must happen in the context it was set in: one
        # context goes with it from thread to thread. Its I/O all happens when it ends.
        context = copy_context()
        session = context.run(block.__enter__)

        async def end(error: BaseException | None) -> None:
            with anyio.CancelScope(shield=True):
                # Not a thread of the pool: a transaction must not stay open for want of one.
                await anyio.to_thread.run_sync(
                    context.run,
                    block.__exit__,
                    None if error is None else type(error),
                    error,
                    None if error is None else error.__traceback__,
                    limiter=anyio.CapacityLimiter(1),
                )

        with bind(session_var, session):
            try:
                yield session
            except BaseException as error:
                await end(error)
                raise
            await end(None)


_turns: RunVar[WeakKeyDictionary[Tenancy, dict[str, anyio.Semaphore]]] = RunVar("orgtenancy.turns")


@asynccontextmanager
async def _turn(tenancy: Tenancy) -> AsyncIterator[None]:
    """Wait until the pool has a connection for one more `def` endpoint.

    Without turns, endpoints that wait for a connection take all threads, and those that
    have one wait for a thread to serialize their response in: none of them goes on.
    """
    turns = _turns.get(None)
    if turns is None:
        _turns.set(turns := WeakKeyDictionary())
    settings = tenancy.settings
    turn = turns.setdefault(tenancy, {}).setdefault(
        current_organization().placement,
        anyio.Semaphore(settings.pool_size + settings.max_overflow),
    )
    try:
        with anyio.fail_after(settings.pool_timeout):
            await turn.acquire()
    except TimeoutError:
        raise PoolTimeout("no connection is free for the request") from None
    try:
        yield
    finally:
        turn.release()


async def _actor() -> Actor:
    actor = current_actor()
    if actor is None:
        raise Unauthenticated("nobody was identified")
    return actor


async def _organization() -> Organization:
    return current_organization()


#: The request's transaction in an `async def` endpoint.
CurrentSession = Annotated[
    OrganizationAsyncSession, Depends(organization_session, scope="function")
]
#: The request's transaction in a `def` endpoint.
CurrentSyncSession = Annotated[
    OrganizationSession, Depends(organization_sync_session, scope="function")
]
#: Who asks.
CurrentActor = Annotated[Actor, Depends(_actor)]
#: The organization that the request is for.
CurrentOrganization = Annotated[Organization, Depends(_organization)]

if TYPE_CHECKING:
    Repository = Annotated[R, "of the request's organization"]
else:

    class Repository:
        """`Repository[PostRepository]`: a repository on the request's session.

        An async repository is for `async def` endpoints, a sync one for `def` endpoints.
        """

        def __class_getitem__(cls, repository: type[Any]) -> Any:
            return Annotated[repository, _repository(repository)]


@cache
def _repository(repository: type[Any]) -> Any:
    provide: Callable[..., Any]
    if issubclass(repository, AsyncOrganizationAwareRepository):

        async def provide_async(session: CurrentSession) -> Any:
            return repository(session)

        provide = provide_async
    elif issubclass(repository, OrganizationAwareRepository):

        async def provide_sync(session: CurrentSyncSession) -> Any:
            return repository(session)

        provide = provide_sync
    else:
        raise TypeError(f"{repository.__name__} is no repository")
    return Depends(provide)


def requires_scopes(*scopes: str) -> Any:
    """Return a dependency that refuses an actor without these scopes.

    ```python
    @app.delete("/posts/{post_id}", dependencies=[requires_scopes("posts:moderate")])
    ```
    """

    async def check() -> Actor:
        return require_scopes(*scopes)

    return Depends(check)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return `responses=` for routes that document the problems they may answer with."""
    return {
        status: {
            "description": _DESCRIPTIONS.get(status, "Problem"),
            "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def _with_docs(app: FastAPI, exempt: Exempt) -> Exempt:
    pages = (app.openapi_url, app.docs_url, app.swagger_ui_oauth2_redirect_url, app.redoc_url)
    docs = {page for page in pages if page is not None}
    if not callable(exempt):
        return [*exempt, *docs]
    is_exempt = exempt

    def is_exempt_or_docs(request: RequestInfo) -> bool:
        return request.path in docs or is_exempt(request)

    return is_exempt_or_docs
