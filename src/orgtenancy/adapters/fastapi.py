"""FastAPI: endpoints that ask for a repository get the one of their organization.

```python
app = FastAPI(lifespan=lifespan(tenancy))
install(app, tenancy, resolver=logto("https://auth.example.com").resolver())

@app.get("/feed")
async def feed(posts: Repository[AsyncPostRepository], actor: CurrentActor) -> Page[PostView]:
    return await posts.find_feed(actor.id)
```

All repositories of a request share one session, which is one transaction. It commits
after the endpoint returned and before the response is sent: a commit that fails is an
error response, and a client that reads 200 can rely on it. A response that is streamed
therefore opens `tenancy.session()` itself; the organization is still bound there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar
from fastapi import Depends, FastAPI
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.requests import HTTPConnection

from orgtenancy.adapters import PROBLEM_MEDIA_TYPE, Problem
from orgtenancy.adapters.starlette import (
    Exempt,
    OrganizationMiddleware,
    exception_handlers,
    lifespan,
    tenancy_of,
)
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
    from orgtenancy.tenancy import Tenancy

__all__ = [
    "CurrentActor",
    "CurrentOrganization",
    "CurrentSession",
    "CurrentSyncSession",
    "Repository",
    "install",
    "lifespan",
    "problem_responses",
    "requires_scopes",
]

R = TypeVar("R")

_DESCRIPTIONS = {
    400: "The organization id breaks a rule",
    401: "No credentials, or credentials that prove nothing",
    403: "Not allowed, or the organization is closed",
    404: "No such thing, or no such organization",
    409: "The change contradicts what is stored",
    422: "The input breaks a rule",
    503: "The organization is being set up, or the service is busy",
}
_EVERY_REQUEST = (400, 401, 403, 404, 503)


def install(
    app: FastAPI,
    tenancy: Tenancy,
    *,
    resolver: Resolver,
    membership: MembershipPolicy | None = None,
    exempt: Exempt = (),
    exempt_docs: bool = True,
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
    """
    app.add_middleware(
        OrganizationMiddleware,
        tenancy=tenancy,
        resolver=resolver,
        membership=membership,
        exempt=_with_docs(app, exempt) if exempt_docs else exempt,
    )
    for kind, handler in exception_handlers.items():
        app.add_exception_handler(kind, handler)
    app.router.responses = {**problem_responses(*_EVERY_REQUEST), **app.router.responses}


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
    schema = Problem.model_json_schema()
    return {
        status: {
            "description": _DESCRIPTIONS.get(status, "Problem"),
            "content": {PROBLEM_MEDIA_TYPE: {"schema": schema}},
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
