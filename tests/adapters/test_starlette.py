"""A request enters its organization, all of it, or is refused with a reason."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest
from psycopg import errors as pg
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from orgtenancy import Actor, Organization, Tenancy, current_actor, current_organization, errors
from orgtenancy.adapters.starlette import (
    OrganizationMiddleware,
    exception_handlers,
    lifespan,
    problem_response,
    request_info,
)
from orgtenancy.context import actor_var, bind, organization_var, session_var
from orgtenancy.errors import IdentityProviderUnavailable, InsufficientScope
from orgtenancy.identity import (
    AllowEveryone,
    HeaderResolver,
    Resolver,
    TokenResolver,
)
from tests.adapters.asgi import Answer, http_scope, request, websocket
from tests.adapters.conftest import Call, Member, SetStatus

seen_in_background: list[str] = []
raised: list[Exception] = []


def who() -> str:
    actor = current_actor()
    return f"{actor.id if actor else None}@{current_organization().id}"


async def in_async(request: Request) -> Response:
    return PlainTextResponse(who())


def in_sync(request: Request) -> Response:
    return PlainTextResponse(who())


async def with_background(request: Request) -> Response:
    def record() -> None:
        seen_in_background.append(who())

    return PlainTextResponse("", background=BackgroundTask(record))


async def with_stream(request: Request) -> Response:
    async def chunks() -> AsyncIterator[str]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield f"{who()} "

    return StreamingResponse(chunks())


async def with_sync_stream(request: Request) -> Response:
    def chunks() -> Iterator[str]:
        yield who()

    return StreamingResponse(chunks())


async def on_websocket(socket: WebSocket) -> None:
    await socket.accept()
    await socket.receive_text()
    await socket.send_text(who())
    if raised:
        raise raised[0]
    await socket.close()


async def fail(request: Request) -> Response:
    raise raised[0]


async def health(request: Request) -> Response:
    variables = (organization_var, session_var, actor_var)
    return JSONResponse({"bound": any(variable.get() is not None for variable in variables)})


ROUTES = [
    Route("/async", in_async),
    Route("/sync", in_sync),
    Route("/background", with_background),
    Route("/stream", with_stream),
    Route("/sync-stream", with_sync_stream),
    WebSocketRoute("/socket", on_websocket),
    Route("/fail", fail),
    Route("/health", health),
    Route("/health/deep", health),
    Route("/static/file", health),
    Route("/static", in_async),
    Mount("/mounted", routes=[Route("/async", in_async)]),
]


def make_app(tenancy: Tenancy, resolver: Resolver, **options: Any) -> Starlette:
    options.setdefault("exempt", ["/health", "/static/*"])
    middleware = Middleware(OrganizationMiddleware, tenancy=tenancy, resolver=resolver, **options)
    return Starlette(routes=ROUTES, middleware=[middleware], exception_handlers=exception_handlers)


@pytest.fixture
def app(tenancy: Tenancy, tokens: TokenResolver) -> Starlette:
    raised.clear()
    seen_in_background.clear()
    return make_app(tenancy, tokens)


@pytest.mark.parametrize("path", ["/async", "/sync", "/mounted/async", "/sync-stream"])
def test_the_context_reaches_endpoints(
    path: str, app: Starlette, organization: Organization, member: Member, call: Call
) -> None:
    answer = call(app, "GET", path, member(organization))
    assert (answer.status, answer.text) == (200, f"alice@{organization.id}")


def test_the_context_reaches_streamed_responses(
    app: Starlette, organization: Organization, member: Member, call: Call
) -> None:
    answer = call(app, "GET", "/stream", member(organization))
    assert answer.text.split() == [f"alice@{organization.id}"] * 3


def test_the_context_reaches_background_tasks(
    app: Starlette, organization: Organization, member: Member, call: Call
) -> None:
    assert call(app, "GET", "/background", member(organization)).status == 200
    assert seen_in_background == [f"alice@{organization.id}"]


def test_the_context_reaches_websockets(
    app: Starlette,
    organization: Organization,
    member: Member,
    event_loop_runner: asyncio.Runner,
) -> None:
    sent = event_loop_runner.run(websocket(app, "/socket", member(organization), ["hello"]))
    assert [message["type"] for message in sent] == [
        "websocket.accept",
        "websocket.send",
        "websocket.close",
    ]
    assert sent[1]["text"] == f"alice@{organization.id}"


def test_the_context_ends_with_the_request(
    app: Starlette, organization: Organization, member: Member, event_loop_runner: asyncio.Runner
) -> None:
    async def main() -> tuple[object, object]:
        raised.append(ZeroDivisionError())
        await request(app, "GET", "/async", member(organization))
        await request(app, "GET", "/async")
        with suppress(ZeroDivisionError):
            await request(app, "GET", "/fail", member(organization))
        return organization_var.get(), actor_var.get()

    assert event_loop_runner.run(main()) == (None, None)


def test_two_organizations_at_once_never_mix(
    app: Starlette,
    two_organizations: tuple[Organization, Organization],
    member: Member,
    event_loop_runner: asyncio.Runner,
) -> None:
    async def one(number: int) -> bool:
        organization = two_organizations[number % 2]
        path = ("/async", "/sync", "/stream")[number % 3]
        answer = await request(app, "GET", path, member(organization, f"user-{number}"))
        return set(answer.text.split()) == {f"user-{number}@{organization.id}"}

    async def main() -> list[bool]:
        return await asyncio.gather(*(one(number) for number in range(120)))

    assert all(event_loop_runner.run(main()))


# --- refused before the app is reached


def check_problem(answer: Any, status: int, code: str) -> None:
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert (problem["status"], problem["code"], problem["type"]) == (status, code, "about:blank")
    assert set(problem) == {"type", "title", "status", "code", "detail"}
    for inside in ("org_", "orgtenancy_", "SELECT", "psycopg", "Traceback"):
        assert inside not in answer.text


def test_no_token_is_401(app: Starlette, call: Call) -> None:
    answer = call(app, "GET", "/async")
    check_problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer a b", "Basic YTpi", "Bearer ä"])
def test_a_bad_token_is_401(app: Starlette, call: Call, header: str) -> None:
    answer = call(app, "GET", "/async", {"authorization": header})
    check_problem(answer, 401, "unauthenticated")


def test_a_token_without_organization_is_401(app: Starlette, member: Member, call: Call) -> None:
    check_problem(call(app, "GET", "/async", member(None)), 401, "unauthenticated")


def test_an_unknown_organization_is_404(app: Starlette, member: Member, call: Call) -> None:
    answer = call(app, "GET", "/async", member("nobody-knows-it"))
    check_problem(answer, 404, "organization_not_found")


@pytest.mark.parametrize("bad", ["a b", "x" * 60, "ä", "../etc", 'a"; DROP SCHEMA public'])
def test_an_invalid_organization_id_is_400(
    app: Starlette, member: Member, call: Call, bad: str
) -> None:
    check_problem(call(app, "GET", "/async", member(bad)), 400, "invalid_organization_id")


@pytest.mark.parametrize("status", ["suspended", "archived"])
def test_a_closed_organization_is_403(
    status: str,
    app: Starlette,
    organization: Organization,
    member: Member,
    call: Call,
    set_status: SetStatus,
) -> None:
    set_status(organization, status)
    answer = call(app, "GET", "/async", member(organization))
    check_problem(answer, 403, "organization_unavailable")
    assert answer.json["detail"] == f"the organization is {status}"


def test_a_purged_organization_is_404(
    app: Starlette,
    organization: Organization,
    member: Member,
    call: Call,
    set_status: SetStatus,
) -> None:
    set_status(organization, "purged")
    answer = call(app, "GET", "/async", member(organization))
    check_problem(answer, 404, "organization_not_found")


@pytest.mark.parametrize("status", ["provisioning", "fenced"])
def test_an_organization_that_is_soon_open_is_503_with_retry_after(
    status: str,
    app: Starlette,
    organization: Organization,
    member: Member,
    call: Call,
    set_status: SetStatus,
) -> None:
    set_status(organization, status)
    answer = call(app, "GET", "/async", member(organization))
    check_problem(answer, 503, "organization_unavailable")
    assert int(answer.headers["retry-after"]) >= 1


def test_a_header_without_membership_is_403_whether_or_not_the_organization_exists(
    tenancy: Tenancy,
    by_header: HeaderResolver,
    organization: Organization,
    member: Member,
    call: Call,
) -> None:
    app = make_app(tenancy, by_header)
    bodies = []
    for named in (organization.id, "nobody-knows-it", "not/valid"):
        answer = call(app, "GET", "/async", {**member(None), "x-organization": named})
        check_problem(answer, 403, "access_denied")
        bodies.append(answer.text)
    assert len(set(bodies)) == 1


def test_a_header_with_membership_opens_the_organization(
    tenancy: Tenancy,
    by_header: HeaderResolver,
    organization: Organization,
    member: Member,
    call: Call,
) -> None:
    app = make_app(tenancy, by_header, membership=AllowEveryone())
    headers = {**member(None), "x-organization": organization.id}
    assert call(app, "GET", "/async", headers).text == f"alice@{organization.id}"
    answer = call(app, "GET", "/async", {**headers, "x-organization": "nobody-knows-it"})
    check_problem(answer, 404, "organization_not_found")


def test_a_websocket_is_refused_before_it_is_accepted(
    tenancy: Tenancy,
    app: Starlette,
    by_header: HeaderResolver,
    organization: Organization,
    member: Member,
    event_loop_runner: asyncio.Runner,
) -> None:
    headers = {**member(None), "x-organization": organization.id}
    for asked, sent_headers, code in (
        (app, {}, 4401),
        (make_app(tenancy, by_header), headers, 4403),
        (app, member("nobody-knows-it"), 4404),
        (app, member("a b"), 4400),
    ):
        sent = event_loop_runner.run(websocket(asked, "/socket", sent_headers, ["hello"]))
        assert [(message["type"], message["code"]) for message in sent] == [
            ("websocket.close", code)
        ]


# --- served without an organization


@pytest.mark.parametrize("path", ["/health", "/static/file"])
def test_exempt_paths_are_served_without_an_organization(
    path: str, app: Starlette, call: Call
) -> None:
    answer = call(app, "GET", path)
    assert (answer.status, answer.json) == (200, {"bound": False})


@pytest.mark.parametrize("path", ["/health/deep", "/healthy", "/static", "/Health", "//health"])
def test_nothing_beside_an_exempt_path_is_exempt(path: str, app: Starlette, call: Call) -> None:
    assert call(app, "GET", path).status == 401


def test_exempt_can_be_a_function(tenancy: Tenancy, tokens: TokenResolver, call: Call) -> None:
    app = make_app(tenancy, tokens, exempt=lambda request: request.method == "HEAD")
    assert call(app, "HEAD", "/health").status == 200
    assert call(app, "GET", "/health").status == 401


@pytest.mark.parametrize("left", ["organization", "session", "actor"])
def test_an_exempt_request_has_nothing_of_the_one_before_it(
    app: Starlette, organization: Organization, left: str
) -> None:
    """As a server does that starts a pipelined request in the last one's context."""
    variables: dict[str, tuple[ContextVar[Any], object]] = {
        "organization": (organization_var, organization),
        "session": (session_var, Session()),
        "actor": (actor_var, Actor(id="alice")),
    }

    async def pipelined() -> Answer:
        with bind(*variables[left]):
            return await request(app, "GET", "/health")

    assert asyncio.run(pipelined()).json == {"bound": False}


@pytest.mark.parametrize("exempt", ["/health", ["health"], ["/a*"], ["/*/a"]])
def test_exempt_paths_that_would_not_do_what_they_seem_to_are_refused(
    tenancy: Tenancy, tokens: TokenResolver, exempt: Any
) -> None:
    with pytest.raises(errors.ConfigurationError):
        OrganizationMiddleware(null_app, tenancy=tenancy, resolver=tokens, exempt=exempt)


async def null_app(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotImplementedError


def test_a_request_is_described_below_its_mount_point() -> None:
    scope = {**http_scope("GET", "/api/feed?x=1", {"X-A": "1"}), "root_path": "/api"}
    scope["headers"].append((b"x-a", b"2"))
    info = request_info(scope)
    assert (info.path, info.host, info.query) == ("/feed", "app.example", "x=1")
    assert info.headers["x-a"] == ["1", "2"]
    for path, expected in (("/api", "/"), ("/apix", "/apix"), ("/feed", "/feed")):
        assert request_info({**scope, "path": path}).path == expected


@pytest.mark.parametrize(
    ("host", "expected"), [("[::1]:80", "::1"), ("A.example", "a.example"), ("", "")]
)
def test_the_host_has_no_port(host: str, expected: str) -> None:
    assert request_info(http_scope("GET", "/", {"host": host})).host == expected


# --- raised inside of the app


class Teapot(errors.Conflict):
    code = "teapot"


def database_error(kind: type[DBAPIError], orig: Exception) -> DBAPIError:
    return kind("INSERT INTO org_secret.notes", {}, orig)


LOST = OperationalError("SELECT 1 FROM org_x", {}, Exception(), connection_invalidated=True)
SECRET = "role orgtenancy_abc of schema org_secret, SELECT password"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errors.NotFound("no such post"), 404, "not_found"),
        (errors.Forbidden("not yours"), 403, "forbidden"),
        (errors.Conflict("taken"), 409, "conflict"),
        (Teapot("short and stout"), 409, "teapot"),
        (errors.Invalid("too long"), 422, "invalid"),
        (errors.InvalidCursor(SECRET), 422, "invalid_cursor"),
        (errors.OrganizationContextMissing(SECRET), 500, "organization_context_missing"),
        (errors.OrganizationMismatch(SECRET), 500, "organization_mismatch"),
        (errors.ConfigurationError(SECRET), 500, "configuration"),
        (errors.ProvisioningFailed(SECRET), 500, "provisioning_failed"),
        (errors.OrganizationNotFound(SECRET), 404, "organization_not_found"),
        (errors.OrganizationUnavailable(SECRET), 403, "organization_unavailable"),
        (InsufficientScope("missing scope: a", scopes=["a"]), 403, "insufficient_scope"),
        (
            IdentityProviderUnavailable(SECRET, retry_after=7),
            503,
            "identity_provider_unavailable",
        ),
        (database_error(IntegrityError, pg.UniqueViolation(SECRET)), 409, "conflict"),
        (database_error(IntegrityError, pg.ForeignKeyViolation(SECRET)), 409, "conflict"),
        (database_error(OperationalError, pg.SerializationFailure(SECRET)), 409, "conflict"),
        (database_error(OperationalError, pg.QueryCanceled(SECRET)), 503, "overloaded"),
        (LOST, 503, "overloaded"),
        (PoolTimeout(SECRET), 503, "overloaded"),
    ],
)
def test_errors_of_the_app_are_problems_and_tell_nothing_of_the_inside(
    error: Exception,
    status: int,
    code: str,
    app: Starlette,
    organization: Organization,
    member: Member,
    call: Call,
) -> None:
    raised.append(error)
    answer = call(app, "GET", "/fail", member(organization))
    check_problem(answer, status, code)
    if isinstance(error, errors.DomainError):
        assert answer.json["detail"] == str(error)
    assert ("retry-after" in answer.headers) == (status == 503)


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(),
        database_error(ProgrammingError, pg.UndefinedTable("no table")),
        database_error(IntegrityError, pg.NotNullViolation("a bug")),
    ],
)
def test_a_bug_stays_a_bug(
    error: Exception, app: Starlette, organization: Organization, member: Member, call: Call
) -> None:
    raised.append(error)
    with pytest.raises(type(error)):
        call(app, "GET", "/fail", member(organization))
    assert problem_response(error) is None


def test_a_missing_scope_is_named_as_rfc_6750_says() -> None:
    response = problem_response(InsufficientScope("missing", scopes=["b", "a"]))
    assert response is not None
    assert response.headers["www-authenticate"] == 'Bearer error="insufficient_scope", scope="a b"'
    assert json.loads(bytes(response.body))["status"] == 403


def test_an_error_on_an_open_websocket_closes_it_with_its_code(
    app: Starlette,
    organization: Organization,
    member: Member,
    event_loop_runner: asyncio.Runner,
) -> None:
    for error, code in ((errors.NotFound("gone"), 4404), (errors.IsolationError(SECRET), 1011)):
        raised[:] = [error]
        sent = event_loop_runner.run(websocket(app, "/socket", member(organization), ["hello"]))
        assert (sent[-1]["type"], sent[-1]["code"]) == ("websocket.close", code)
        assert "org_" not in sent[-1]["reason"]


def test_what_the_client_is_not_told_is_logged(
    app: Starlette,
    organization: Organization,
    member: Member,
    call: Call,
    caplog: pytest.LogCaptureFixture,
) -> None:
    raised.append(errors.OrganizationMismatch(SECRET))
    call(app, "GET", "/fail", member(organization))
    assert SECRET in caplog.text


def test_other_scopes_pass_through_and_the_lifespan_closes_the_tenancy(
    tokens: TokenResolver, event_loop_runner: asyncio.Runner
) -> None:
    closed: list[bool] = []

    class Closing:
        async def __aenter__(self) -> None: ...

        async def __aexit__(self, *exc_info: object) -> None:
            closed.append(True)

    tenancy: Any = Closing()
    inner = Starlette(lifespan=lifespan(tenancy))
    app: ASGIApp = OrganizationMiddleware(inner, tenancy=tenancy, resolver=tokens)
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    outgoing: list[str] = []

    async def receive() -> Any:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        outgoing.append(message["type"])

    async def main() -> None:
        await app({"type": "lifespan", "state": {}}, receive, send)

    event_loop_runner.run(main())
    assert outgoing == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert closed == [True]
