"""A Flask request enters its organization; its work is committed before the response."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from flask import Flask, Response, abort, current_app, redirect, request, stream_with_context
from sqlalchemy import QueuePool, select, text
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as WerkzeugResponse

from orgtenancy import (
    Actor,
    Organization,
    Tenancy,
    current_actor,
    current_organization,
    current_session,
    errors,
)
from orgtenancy.adapters.flask import (
    OrgTenancy,
    request_info,
    requires_scopes,
    stream_with_organization,
)
from orgtenancy.context import actor_var, bind, organization_var, session_var
from orgtenancy.identity import AllowEveryone, HeaderResolver, Resolver, TokenResolver
from tests.adapters import wsgi
from tests.adapters.asgi import Answer
from tests.adapters.conftest import Member, SetStatus
from tests.support.notes import Note, NoteRepository

seen: list[Any] = []


class Teapot(Exception):
    """An error of the host, which it makes a page of."""


def make_app(tenancy: Tenancy, resolver: Resolver, **options: Any) -> Flask:
    app = Flask(__name__)
    options.setdefault("exempt", ["/health", "/open/*"])
    OrgTenancy(app, tenancy=tenancy, resolver=resolver, **options)
    seen.clear()

    @app.get("/who")
    def who() -> str:
        actor = current_actor()
        return f"{actor.id if actor else None}@{current_organization().id}"

    @app.get("/who/async")
    async def who_async() -> str:
        seen.append(threading.get_ident())
        return f"{who()} {current_session() is NoteRepository().session}"

    @app.post("/notes/<int:note_id>")
    def write(note_id: int) -> dict[str, str]:
        session = NoteRepository().session
        assert session is current_session()
        note = NoteRepository().write(note_id, request.args["body"])
        return {"body": note.body}

    @app.get("/notes")
    def read() -> list[str]:
        return [note.body for note in NoteRepository().list().items]

    @app.get("/idle")
    def idle() -> str:
        pool = tenancy.engine.pool
        assert isinstance(pool, QueuePool)
        return str(pool.checkedout())

    @app.post("/fail/<kind>")
    def fail(kind: str) -> Any:
        NoteRepository().write(1, "never")
        match kind:
            case "bug":
                raise ZeroDivisionError("bug")
            case "domain":
                raise errors.Conflict("taken")
            case "page":
                raise Teapot
            case "abort":
                abort(418)
            case "returned":
                return {"error": "no"}, 400
        return redirect("/elsewhere")

    @app.errorhandler(Teapot)
    def show_page(error: Teapot) -> WerkzeugResponse:
        return redirect("/teapot")

    @app.post("/orphan")
    def orphan() -> str:
        session = current_session()
        session.execute(text("SET CONSTRAINTS ALL DEFERRED"))
        session.add(Note(id=1, body="an orphan", parent_id=99))
        session.flush()
        return "all is well"

    @app.delete("/moderate")
    @requires_scopes("posts:moderate")
    def moderate() -> str:
        return "done"

    @app.delete("/moderate/async")
    @requires_scopes("posts:moderate")
    async def moderate_async() -> str:
        return "done"

    def lines() -> Iterator[str]:
        seen.append(session_var.get())
        try:
            with tenancy.session() as session:
                for number in range(3):
                    session.execute(text("SELECT 1"))
                    yield f"{who()} {request.path} {number} {session is current_session()}\n"
        finally:
            seen.append(current_organization().id)

    @app.get("/stream")
    def stream() -> Response:
        NoteRepository().write(1, "before the stream")
        return Response(stream_with_organization(lines()))

    @app.get("/stream/inside")
    def stream_inside() -> Response:
        def inside() -> Iterator[str]:
            yield request.path
            yield f" {session_var.get()}"

        NoteRepository().write(1, "before the stream")
        return Response(stream_with_context(inside()))

    @app.get("/nested")
    def nested() -> str:
        inner = current_app.test_client().get(
            "/who", headers={"Authorization": request.headers["X-Inner"]}
        )
        return f"{inner.text} {who()} {NoteRepository().session.organization.id}"

    @app.get("/health")
    @app.get("/open/all")
    def health() -> dict[str, bool]:
        variables = (organization_var, session_var, actor_var)
        return {"bound": any(variable.get() is not None for variable in variables)}

    @app.get("/open/session")
    def session_outside() -> str:
        return str(NoteRepository().list())

    return app


@pytest.fixture
def app(tenancy: Tenancy, tokens: TokenResolver) -> Flask:
    return make_app(tenancy, tokens)


@pytest.fixture
def ask(app: Flask, member: Member) -> Callable[..., Answer]:
    """Sends a request of a member of an organization."""

    def send(method: str, path: str, organization: Organization, **options: Any) -> Answer:
        scope = options.pop("scope", "")
        headers = {**member(organization, scope=scope), **options.pop("headers", {})}
        return wsgi.request(app, method, path, headers, **options)

    return send


@pytest.fixture
def bodies(tenancy: Tenancy) -> Callable[[Organization], list[str]]:
    """Reads an organization's notes, past the app."""

    def read(organization: Organization) -> list[str]:
        def query() -> list[str]:
            with tenancy.session(organization) as session:
                return list(session.scalars(select(Note.body).order_by(Note.id)))

        return copy_context().run(_unbound, query)

    return read


def _unbound(function: Callable[[], list[str]]) -> list[str]:
    with bind(organization_var, None), bind(session_var, None):
        return function()


@pytest.fixture(autouse=True)
def nothing_is_left(tenancy: Tenancy) -> Iterator[None]:
    """No request leaves anything bound, or a connection checked out."""
    gc.freeze()  # so that only what the test made is looked at, which takes no time
    yield
    gc.collect()
    gc.unfreeze()
    assert [variable.get() for variable in (organization_var, session_var, actor_var)] == [None] * 3
    assert checked_out(tenancy) == 0


def checked_out(tenancy: Tenancy) -> int:
    pool = tenancy.engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout()


Ask = Callable[..., Answer]
Bodies = Callable[[Organization], list[str]]


# --- the context of a request


def test_views_know_their_organization_and_actor(ask: Ask, organization: Organization) -> None:
    assert ask("GET", "/who", organization).text == f"alice@{organization.id}"


def test_async_views_know_them_too(ask: Ask, organization: Organization) -> None:
    assert ask("GET", "/who/async", organization).text == f"alice@{organization.id} True"


def test_requests_of_many_threads_never_mix(
    ask: Ask, two_organizations: tuple[Organization, Organization], bodies: Bodies
) -> None:
    def one(number: int) -> None:
        organization = two_organizations[number % 2]
        body = f"{organization.id}-{number}"
        if number % 5 == 0:
            assert ask("POST", "/fail/domain", organization).status == 409
        if number % 7 == 0:
            assert ask("GET", "/health", organization).json == {"bound": False}
        assert ask("POST", f"/notes/{number + 10}?body={body}", organization).json["body"] == body
        found = ask("GET", "/notes", organization).json
        assert body in found
        assert all(note.startswith(organization.id) for note in found)
        assert ask("GET", "/who", organization).text == f"alice@{organization.id}"

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(one, range(36)))
    for parity, organization in enumerate(two_organizations):
        assert bodies(organization) == [
            f"{organization.id}-{n}" for n in range(36) if n % 2 == parity
        ]


def test_a_request_in_a_request_gives_the_outer_one_its_context_back(
    ask: Ask, two_organizations: tuple[Organization, Organization], member: Member
) -> None:
    outer, inner = two_organizations
    headers = {"x-inner": member(inner, "bob")["authorization"]}
    answer = ask("GET", "/nested", outer, headers=headers)
    assert answer.text == f"bob@{inner.id} alice@{outer.id} {outer.id}"


@pytest.mark.parametrize("left", ["organization", "session", "actor"])
def test_a_request_that_ended_in_another_context_does_not_reach_the_next_one(
    app: Flask, member: Member, organization: Organization, left: str
) -> None:
    variables: dict[str, tuple[ContextVar[Any], object]] = {
        "organization": (organization_var, organization),
        "session": (session_var, Session()),
        "actor": (actor_var, Actor(id="alice")),
    }
    environ = wsgi.environ_of("GET", "/who", member(organization))

    def leave_behind() -> dict[str, bool]:
        context = app.request_context(environ)
        context.push()
        app.preprocess_request()
        app.do_teardown_request(None)
        variable, value = variables[left]
        variable.set(value)
        answer: dict[str, bool] = wsgi.request(app, "GET", "/health").json
        context.pop(None)
        return answer

    assert copy_context().run(leave_behind) == {"bound": False}


def test_teardown_may_come_twice_and_from_another_context(
    app: Flask, tenancy: Tenancy, member: Member, organization: Organization
) -> None:
    def twice() -> None:
        with app.request_context(wsgi.environ_of("GET", "/notes", member(organization))):
            app.preprocess_request()
            NoteRepository().list()
            assert checked_out(tenancy) == 1
            copy_context().run(app.do_teardown_request, None)
            assert checked_out(tenancy) == 0
            app.do_teardown_request(None)

    copy_context().run(twice)


def test_two_apps_have_a_tenancy_each(
    tenancy: Tenancy, tokens: TokenResolver, member: Member, organization: Organization
) -> None:
    extension = OrgTenancy(tenancy=tenancy, resolver=tokens, exempt=["/health"])
    apps = [Flask("one"), Flask("two"), Flask("none")]
    for app in apps:
        app.add_url_rule("/who", view_func=lambda: current_organization().id, endpoint="who")
    for app in apps[:2]:
        extension.init_app(app)
        assert app.extensions["orgtenancy"] is extension
        assert wsgi.request(app, "GET", "/who").status == 401
        assert wsgi.request(app, "GET", "/who", member(organization)).text == organization.id
    assert wsgi.request(apps[2], "GET", "/who", member(organization)).status == 500
    with pytest.raises(errors.ConfigurationError, match="'one' has a tenancy already"):
        extension.init_app(apps[0])


# --- the transaction of a request


def test_what_a_view_writes_is_committed_before_the_response_starts(
    ask: Ask, organization: Organization, bodies: Bodies
) -> None:
    at_start: list[list[str]] = []
    answer = ask(
        "POST",
        "/notes/1?body=hello",
        organization,
        on_start=lambda: at_start.append(bodies(organization)),
    )
    assert (answer.status, answer.json) == (200, {"body": "hello"})
    assert at_start == [["hello"]]


def test_a_view_that_asks_for_nothing_takes_no_connection(
    ask: Ask, organization: Organization
) -> None:
    assert ask("GET", "/idle", organization).text == "0"


@pytest.mark.parametrize(
    ("kind", "status"),
    [("bug", 500), ("domain", 409), ("page", 302), ("abort", 418), ("returned", 400)],
)
def test_whatever_is_wrong_rolls_back(
    kind: str, status: int, ask: Ask, organization: Organization, bodies: Bodies
) -> None:
    assert ask("POST", f"/fail/{kind}", organization).status == status
    assert bodies(organization) == []


def test_a_redirect_is_no_error(ask: Ask, organization: Organization, bodies: Bodies) -> None:
    assert ask("POST", "/fail/not-at-all", organization).status == 302
    assert bodies(organization) == ["never"]


def test_a_bug_that_the_test_client_raises_rolls_back_too(
    app: Flask, organization: Organization, member: Member, bodies: Bodies
) -> None:
    app.testing = True
    with pytest.raises(ZeroDivisionError):
        app.test_client().post("/fail/bug", headers=member(organization))
    assert bodies(organization) == []


def test_a_commit_that_fails_is_a_problem(
    ask: Ask, organization: Organization, bodies: Bodies
) -> None:
    answer = ask("POST", "/orphan", organization)
    assert (answer.status, answer.json["code"]) == (409, "conflict")
    assert answer.headers["content-type"] == "application/problem+json"
    assert organization.schema_name not in answer.text
    assert bodies(organization) == []


def test_a_commit_that_raises_anything_is_no_success(
    ask: Ask, organization: Organization, bodies: Bodies, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orgtenancy.database.sessions import OrganizationSession

    def lose(session: OrganizationSession) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(OrganizationSession, "commit", lose)
        assert ask("POST", "/notes/1?body=hello", organization).status == 500
    assert bodies(organization) == []


def test_what_other_hooks_write_when_the_request_ends_is_committed_with_it(
    tenancy: Tenancy,
    tokens: TokenResolver,
    organization: Organization,
    member: Member,
    bodies: Bodies,
) -> None:
    app = make_app(tenancy, tokens)

    @app.after_request
    def audit(response: Response) -> Response:
        NoteRepository().write(99, "audit")
        return response

    headers = member(organization)
    assert wsgi.request(app, "POST", "/notes/1?body=a", headers).status == 200
    assert bodies(organization) == ["a", "audit"]


# --- streams


def test_a_stream_works_in_its_organization_with_a_session_of_its_own(
    ask: Ask, organization: Organization, bodies: Bodies
) -> None:
    answer = ask("GET", "/stream", organization)
    expected = [f"alice@{organization.id} /stream {number} True" for number in range(3)]
    assert answer.text.splitlines() == expected
    assert seen == [None, organization.id]
    assert bodies(organization) == ["before the stream"]


@pytest.mark.parametrize("end", ["close", "abandon"])
def test_a_stream_that_nobody_reads_to_its_end_gives_its_connection_back(
    end: str,
    app: Flask,
    tenancy: Tenancy,
    organization: Organization,
    member: Member,
) -> None:
    _, chunks = wsgi.begin(app, wsgi.environ_of("GET", "/stream", member(organization)))
    assert next(iter(chunks)).startswith(b"alice@")
    assert checked_out(tenancy) == 1
    assert [organization_var.get(), session_var.get()] == [None, None]
    if end == "close":
        wsgi.close(chunks)
    else:
        del chunks
        gc.collect()
    assert checked_out(tenancy) == 0
    assert seen == [None, organization.id]


def test_a_stream_of_flask_s_own_is_outside_of_the_transaction(
    ask: Ask, organization: Organization, bodies: Bodies
) -> None:
    answer = ask("GET", "/stream/inside", organization)
    assert answer.text == "/stream/inside None"
    assert bodies(organization) == ["before the stream"]


def test_a_stream_of_no_organization_is_refused_at_once() -> None:
    with pytest.raises(errors.OrganizationContextMissing):
        stream_with_organization(iter(["a"]))


# --- who may enter


def test_a_scope_that_is_missing_is_403(ask: Ask, organization: Organization) -> None:
    for path in ("/moderate", "/moderate/async"):
        refused = ask("DELETE", path, organization, scope="posts:write")
        assert (refused.status, refused.json["code"]) == (403, "insufficient_scope")
        assert 'scope="posts:moderate"' in refused.headers["www-authenticate"]
        assert ask("DELETE", path, organization, scope="posts:moderate").text == "done"


def test_no_token_is_401_on_every_path(app: Flask) -> None:
    for path in ("/who", "/nowhere", "/notes"):
        answer = wsgi.request(app, "GET", path)
        assert (answer.status, answer.json["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("status", "expected"), [("suspended", 403), ("purged", 404), ("provisioning", 503)]
)
def test_an_organization_that_is_not_open_is_a_problem(
    status: str, expected: int, ask: Ask, organization: Organization, set_status: SetStatus
) -> None:
    set_status(organization, status)
    answer = ask("GET", "/who", organization)
    assert answer.status == expected
    assert ("retry-after" in answer.headers) == (expected == 503)


def test_a_header_without_membership_is_403(
    tenancy: Tenancy, by_header: HeaderResolver, organization: Organization, member: Member
) -> None:
    headers = {**member(None), "x-organization": organization.id}
    assert wsgi.request(make_app(tenancy, by_header), "GET", "/who", headers).status == 403
    app = make_app(tenancy, by_header, membership=AllowEveryone())
    assert wsgi.request(app, "GET", "/who", headers).status == 200


def test_a_header_that_was_sent_twice_is_401(
    tenancy: Tenancy, by_header: HeaderResolver, organization: Organization, member: Member
) -> None:
    """Servers join the two with a comma."""
    app = make_app(tenancy, by_header, membership=AllowEveryone())
    headers = {**member(None), "x-organization": organization.id}
    for name in ("authorization", "x-organization"):
        for separator in (",", ", "):
            twice = headers[name] + separator + headers[name]
            answer = wsgi.request(app, "GET", "/who", {**headers, name: twice})
            assert (answer.status, answer.json["code"]) == (401, "unauthenticated")
            assert "more than once" in answer.json["detail"]


def test_exempt_paths_are_served_without_an_organization(
    app: Flask, organization: Organization, member: Member
) -> None:
    for path in ("/health", "/open/all"):
        for headers in ({}, member(organization)):
            answer = wsgi.request(app, "GET", path, headers)
            assert (answer.status, answer.json) == (200, {"bound": False})
    answer = wsgi.request(app, "GET", "/open/session", member(organization))
    assert (answer.status, answer.json["code"]) == (500, "organization_context_missing")
    for path in ("/healthy", "/open", "/Health", "//health", "/health/"):
        assert wsgi.request(app, "GET", path).status == 401, path


def test_exempt_can_be_a_function_or_is_checked(tenancy: Tenancy, tokens: TokenResolver) -> None:
    app = make_app(tenancy, tokens, exempt=lambda request: request.method == "OPTIONS")
    assert wsgi.request(app, "OPTIONS", "/who").status == 200
    assert wsgi.request(app, "GET", "/who").status == 401
    with pytest.raises(errors.ConfigurationError, match=r"write \['/health'\]"):
        OrgTenancy(tenancy=tenancy, resolver=tokens, exempt="/health")


def test_a_request_is_described_as_it_was_sent() -> None:
    environ = wsgi.environ_of("GET", "/f%C3%BC?x=%20", {"X-A": "1, 2", "cookie": "a=1,2; b=3"})
    info = request_info({**environ, "SCRIPT_NAME": "/api", "HTTP_HOST": "[::1]:80"})
    assert (info.method, info.path, info.host, info.query) == ("GET", "/fü", "::1", "x=%20")
    assert (info.headers["x-a"], info.headers["cookie"]) == (["1", "2"], ["a=1,2; b=3"])
    assert request_info({**environ, "PATH_INFO": ""}).path == "/"


def test_a_command_says_itself_for_whom_it_works(
    app: Flask, tenancy: Tenancy, organization: Organization, bodies: Bodies
) -> None:
    @app.cli.command("write")
    def write() -> None:
        with tenancy.session(organization.id):
            NoteRepository().write(1, "from a command")

    result = app.test_cli_runner().invoke(args=["write"])
    assert result.exit_code == 0, result.output
    assert bodies(organization) == ["from a command"]
