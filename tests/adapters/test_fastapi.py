"""Endpoints work in their organization, in one transaction that ends before the response."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import anyio
import pytest
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Depends,
    FastAPI,
    HTTPException,
    WebSocket,
)
from fastapi.responses import StreamingResponse
from sqlalchemy import QueuePool, select, text
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send

from orgtenancy import Organization, Tenancy, errors
from orgtenancy.adapters.fastapi import (
    CurrentActor,
    CurrentOrganization,
    CurrentSession,
    CurrentSyncSession,
    Repository,
    install,
    organization_session,
    organization_sync_session,
    problem_responses,
    requires_scopes,
)
from orgtenancy.adapters.starlette import OrganizationMiddleware
from orgtenancy.context import actor_var, current_session, organization_var, session_var
from orgtenancy.identity import Identity, RequestInfo, Resolver, TokenResolver
from tests.adapters.asgi import http_scope, request, websocket
from tests.adapters.conftest import Call, Member
from tests.support.notes import AsyncNoteRepository, Note, NoteRepository

router = APIRouter()
events: list[str] = []
the_tenancy: list[Tenancy] = []


@router.get("/who")
async def who(organization: CurrentOrganization, actor: CurrentActor) -> list[str]:
    return [organization.id, actor.id]


@router.get("/who/sync")
def who_sync(organization: CurrentOrganization, actor: CurrentActor) -> list[str]:
    return [organization.id, actor.id]


@router.post("/notes/{note_id}")
async def write(note_id: int, body: str, notes: Repository[AsyncNoteRepository]) -> str:
    note = await notes.write(note_id, body)
    return note.body


@router.post("/sync/notes/{note_id}")
def write_sync(note_id: int, body: str, notes: Repository[NoteRepository]) -> str:
    return notes.write(note_id, body).body


@router.get("/notes")
async def read(notes: Repository[AsyncNoteRepository]) -> list[str]:
    return [note.body for note in (await notes.list()).items]


@router.get("/sync/notes")
def read_sync(notes: Repository[NoteRepository]) -> list[str]:
    return [note.body for note in notes.list().items]


@router.get("/one-session")
async def one_session(
    session: CurrentSession,
    first: Repository[AsyncNoteRepository],
    again: Annotated[AsyncNoteRepository, Depends(lambda: AsyncNoteRepository())],
) -> bool:
    return session is first.session is again.session is current_session()


@router.get("/sync/one-session")
def one_sync_session(session: CurrentSyncSession, first: Repository[NoteRepository]) -> bool:
    return session is first.session is NoteRepository().session is current_session()


FAILURES: dict[str, Callable[[], Exception]] = {
    "http": lambda: HTTPException(418, "teapot"),
    "domain": lambda: errors.Conflict("taken"),
    "bug": lambda: ZeroDivisionError("bug"),
}


@router.post("/fail/{kind}")
async def fail(kind: str, notes: Repository[AsyncNoteRepository]) -> None:
    await notes.write(1, "never")
    raise FAILURES[kind]()


@router.post("/sync/fail/{kind}")
def fail_sync(kind: str, notes: Repository[NoteRepository]) -> None:
    notes.write(1, "never")
    raise FAILURES[kind]()


DEFER = text("SET CONSTRAINTS ALL DEFERRED")


@router.post("/commit-fails")
async def commit_fails(session: CurrentSession) -> str:
    await session.execute(DEFER)
    session.add(Note(id=1, body="an orphan", parent_id=99))
    await session.flush()
    return "all is well"


@router.post("/sync/commit-fails")
def commit_fails_sync(session: CurrentSyncSession) -> str:
    session.execute(DEFER)
    session.add(Note(id=1, body="an orphan", parent_id=99))
    session.flush()
    return "all is well"


@router.get("/background")
async def background(tasks: BackgroundTasks, notes: Repository[AsyncNoteRepository]) -> None:
    await notes.write(1, "in the request")

    async def later() -> None:
        async with the_tenancy[0].session():
            events.extend(note.body for note in (await AsyncNoteRepository().list()).items)

    tasks.add_task(later)


@router.get("/stream")
async def stream(session: CurrentSession) -> StreamingResponse:
    async def chunks() -> AsyncIterator[str]:
        async with the_tenancy[0].session() as own:
            yield f"{own.organization.id} {own is session}"

    return StreamingResponse(chunks())


@router.websocket("/socket")
async def socket(websocket: WebSocket, notes: Repository[AsyncNoteRepository]) -> None:
    await websocket.accept()
    async for message in websocket.iter_text():
        note = await notes.write(len(message), message)
        await websocket.send_text(note.body)


@router.delete("/moderate", dependencies=[requires_scopes("posts:moderate")])
async def moderate() -> str:
    return "done"


@router.get("/slow")
def slow(session: CurrentSyncSession) -> None:
    events.append("slow begun")
    session.execute(text("SELECT pg_sleep(0.3)"))
    events.append("slow done")


@router.get("/sync/slow-notes")
def slow_notes(session: CurrentSyncSession) -> list[str]:
    session.execute(text("SELECT pg_sleep(0.02)"))
    return []


@router.get("/no-session-here")
async def exempt_with_session(session: CurrentSession) -> None: ...


@router.get("/open")
async def open_to_all() -> bool:
    return organization_var.get() is None and actor_var.get() is None


@router.get("/open/actor")
async def open_with_actor(actor: CurrentActor) -> None: ...


def make_app(tenancy: Tenancy, tokens: TokenResolver) -> FastAPI:
    events.clear()
    the_tenancy[:] = [tenancy]
    app = FastAPI()
    install(app, tenancy, resolver=tokens, exempt=["/no-session-here", "/open", "/open/*"])
    app.include_router(router)
    return app


@pytest.fixture
def app(tenancy: Tenancy, tokens: TokenResolver) -> FastAPI:
    return make_app(tenancy, tokens)


@pytest.fixture
def bodies(tenancy: Tenancy) -> Callable[[Organization], list[str]]:
    """Reads an organization's notes, past the app."""

    def read(organization: Organization) -> list[str]:
        with tenancy.session(organization) as session:
            return list(session.scalars(select(Note.body).order_by(Note.id)))

    return read


class NoResolver(Resolver):
    def resolve(self, request: RequestInfo) -> Identity | None:
        return None


async def receive_nothing() -> Message:
    raise NotImplementedError


async def send_nothing(message: Message) -> None:
    raise NotImplementedError


def checked_out(tenancy: Tenancy) -> int:
    pool = tenancy.engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout()


Bodies = Callable[[Organization], list[str]]
KINDS = pytest.mark.parametrize("kind", ["", "/sync"], ids=["async", "sync"])


@pytest.mark.parametrize("path", ["/who", "/who/sync"])
def test_endpoints_know_their_organization_and_actor(
    path: str, app: FastAPI, organization: Organization, member: Member, call: Call
) -> None:
    assert call(app, "GET", path, member(organization)).json == [organization.id, "alice"]


@KINDS
def test_what_an_endpoint_writes_is_committed(
    kind: str,
    app: FastAPI,
    two_organizations: tuple[Organization, Organization],
    member: Member,
    call: Call,
    bodies: Bodies,
) -> None:
    first, second = two_organizations
    answer = call(app, "POST", f"{kind}/notes/1?body=hello", member(first))
    assert (answer.status, answer.json) == (200, "hello")
    assert call(app, "GET", f"{kind}/notes", member(first)).json == ["hello"]
    assert call(app, "GET", f"{kind}/notes", member(second)).json == []
    assert (bodies(first), bodies(second)) == (["hello"], [])


@KINDS
def test_all_repositories_of_a_request_share_one_session(
    kind: str, app: FastAPI, organization: Organization, member: Member, call: Call
) -> None:
    assert call(app, "GET", f"{kind}/one-session", member(organization)).json is True


@KINDS
@pytest.mark.parametrize(("failure", "status"), [("http", 418), ("domain", 409)])
def test_an_error_rolls_back(
    kind: str,
    failure: str,
    status: int,
    app: FastAPI,
    organization: Organization,
    member: Member,
    call: Call,
    bodies: Bodies,
) -> None:
    answer = call(app, "POST", f"{kind}/fail/{failure}", member(organization))
    assert answer.status == status
    assert bodies(organization) == []


@KINDS
def test_a_bug_rolls_back_and_leaves_nothing_bound(
    kind: str,
    app: FastAPI,
    organization: Organization,
    member: Member,
    bodies: Bodies,
    event_loop_runner: asyncio.Runner,
) -> None:
    async def main() -> list[object]:
        with pytest.raises(ZeroDivisionError):
            await request(app, "POST", f"{kind}/fail/bug", member(organization))
        return [variable.get() for variable in (organization_var, session_var, actor_var)]

    assert event_loop_runner.run(main()) == [None, None, None]
    assert bodies(organization) == []


@KINDS
def test_a_failed_commit_is_an_error_response(
    kind: str,
    app: FastAPI,
    organization: Organization,
    member: Member,
    call: Call,
    bodies: Bodies,
) -> None:
    answer = call(app, "POST", f"{kind}/commit-fails", member(organization))
    assert answer.status == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["code"] == "conflict"
    assert "well" not in answer.text
    assert organization.schema_name not in answer.text
    assert bodies(organization) == []


@KINDS
def test_the_commit_happens_before_the_response_starts(
    kind: str,
    app: FastAPI,
    organization: Organization,
    member: Member,
    bodies: Bodies,
    event_loop_runner: asyncio.Runner,
) -> None:
    seen: list[list[str]] = []

    async def look() -> None:
        seen.append(await asyncio.to_thread(bodies, organization))

    path = f"{kind}/notes/1?body=hello"
    event_loop_runner.run(request(app, "POST", path, member(organization), on_start=look))
    assert seen == [["hello"]]


def test_background_tasks_see_the_committed_request_in_the_same_organization(
    app: FastAPI, organization: Organization, member: Member, call: Call
) -> None:
    assert call(app, "GET", "/background", member(organization)).status == 200
    assert events == ["in the request"]


def test_a_stream_opens_its_own_session_in_the_same_organization(
    app: FastAPI, organization: Organization, member: Member, call: Call
) -> None:
    answer = call(app, "GET", "/stream", member(organization))
    assert answer.text == f"{organization.id} False"


def test_a_websocket_endpoint_has_repositories_and_commits(
    app: FastAPI,
    organization: Organization,
    member: Member,
    bodies: Bodies,
    event_loop_runner: asyncio.Runner,
) -> None:
    sent = event_loop_runner.run(
        websocket(app, "/socket", member(organization), ["a", "bb", "ccc"])
    )
    assert [message.get("text") for message in sent[1:4]] == ["a", "bb", "ccc"]
    assert bodies(organization) == ["a", "bb", "ccc"]


def test_two_organizations_at_once_never_mix(
    app: FastAPI,
    two_organizations: tuple[Organization, Organization],
    member: Member,
    bodies: Bodies,
    event_loop_runner: asyncio.Runner,
) -> None:
    async def one(number: int) -> None:
        organization = two_organizations[number % 2]
        headers = member(organization, f"user-{number}")
        kind = ("", "/sync")[number // 2 % 2]
        body = f"{organization.id}-{number}"
        if number % 5 == 0:
            path = f"{kind}/fail/domain"
            assert (await request(app, "POST", path, headers)).status == 409
        answer = await request(app, "POST", f"{kind}/notes/{number + 10}?body={body}", headers)
        assert answer.json == body
        answer = await request(app, "GET", f"{kind}/notes", headers)
        assert body in answer.json
        assert all(note.startswith(organization.id) for note in answer.json)
        assert (await request(app, "GET", "/who", headers)).json == [
            organization.id,
            f"user-{number}",
        ]

    async def main() -> None:
        # No more than a page of notes in each organization.
        await asyncio.gather(*(one(number) for number in range(36)))

    event_loop_runner.run(main())
    for parity, organization in enumerate(two_organizations):
        expected = [f"{organization.id}-{n}" for n in range(36) if n % 2 == parity]
        assert bodies(organization) == expected


@pytest.mark.slow
def test_more_def_endpoints_than_threads_and_connections_do_not_lock_each_other_out(
    make_tenancy: Callable[..., Tenancy],
    tokens: TokenResolver,
    organization: Organization,
    member: Member,
    event_loop_runner: asyncio.Runner,
) -> None:
    tenancy = make_tenancy(pool_size=2, max_overflow=0, pool_timeout=10)
    app = make_app(tenancy, tokens)
    headers = member(organization)

    async def main() -> list[int]:
        try:
            answers = await asyncio.gather(
                *(request(app, "GET", "/sync/slow-notes", headers) for _ in range(90))
            )
        finally:
            await tenancy.aclose()
        return [answer.status for answer in answers]

    assert event_loop_runner.run(main()) == [200] * 90


def test_a_def_endpoint_that_gets_no_connection_in_time_is_503(
    make_tenancy: Callable[..., Tenancy],
    tokens: TokenResolver,
    organization: Organization,
    member: Member,
    event_loop_runner: asyncio.Runner,
) -> None:
    tenancy = make_tenancy(pool_size=1, max_overflow=0, pool_timeout=0.1)
    app = make_app(tenancy, tokens)

    async def main() -> list[Any]:
        try:
            return await asyncio.gather(
                *(request(app, "GET", "/slow", member(organization)) for _ in range(2))
            )
        finally:
            await tenancy.aclose()

    served, refused = sorted(event_loop_runner.run(main()), key=lambda answer: answer.status)
    assert (served.status, refused.status) == (200, 503)
    assert (refused.json["code"], refused.headers["retry-after"]) == ("overloaded", "1")


def test_a_cancelled_request_gives_its_connection_back(
    tenancy: Tenancy,
    app: FastAPI,
    organization: Organization,
    member: Member,
    event_loop_runner: asyncio.Runner,
) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(request(app, "GET", "/slow", member(organization)))
        while not events:  # noqa: ASYNC110 - a thread appends
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    event_loop_runner.run(main())
    assert events == ["slow begun", "slow done"]
    assert checked_out(tenancy) == 0


def test_a_cancelled_scope_does_not_keep_the_connection_of_a_def_endpoint(
    tenancy: Tenancy, organization: Organization, event_loop_runner: asyncio.Runner
) -> None:
    # FastAPI shields the end of its dependencies only in later versions.
    async def null_app(scope: Scope, receive: Receive, send: Send) -> None: ...

    async def main() -> None:
        scope = http_scope("GET", "/open")
        middleware = OrganizationMiddleware(
            null_app, tenancy=tenancy, resolver=NoResolver(), exempt=["/open"]
        )
        await middleware(scope, receive_nothing, send_nothing)
        dependency = asynccontextmanager(organization_sync_session)
        async with tenancy.organization(organization):
            with anyio.CancelScope() as cancelled:
                async with dependency(HTTPConnection(scope)) as session:
                    await asyncio.to_thread(session.execute, text("SELECT 1"))
                    assert checked_out(tenancy) == 1
                    cancelled.cancel()
                    await anyio.sleep(1)

    event_loop_runner.run(main())
    assert checked_out(tenancy) == 0


def test_the_event_loop_goes_on_while_a_def_endpoint_commits(
    app: FastAPI,
    organization: Organization,
    member: Member,
    event_loop_runner: asyncio.Runner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from orgtenancy.database.sessions import OrganizationSession

    committed_in: list[int] = []
    commit = OrganizationSession.commit

    def record(session: OrganizationSession) -> None:
        committed_in.append(threading.get_ident())
        commit(session)

    monkeypatch.setattr(OrganizationSession, "commit", record)
    event_loop_runner.run(request(app, "POST", "/sync/notes/1?body=hello", member(organization)))
    assert committed_in
    assert committed_in != [threading.get_ident()]


def test_a_commit_that_raises_anything_is_no_success(
    app: FastAPI,
    organization: Organization,
    member: Member,
    call: Call,
    bodies: Bodies,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from orgtenancy.database.sessions import OrganizationAsyncSession

    async def lose(session: OrganizationAsyncSession) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(OrganizationAsyncSession, "commit", lose)
        with pytest.raises(ConnectionResetError):
            call(app, "POST", "/notes/1?body=hello", member(organization))
    assert bodies(organization) == []


def test_a_scope_that_is_missing_is_403(
    app: FastAPI, organization: Organization, member: Member, call: Call
) -> None:
    refused = call(app, "DELETE", "/moderate", member(organization, scope="posts:write"))
    assert (refused.status, refused.json["code"]) == (403, "insufficient_scope")
    assert 'scope="posts:moderate"' in refused.headers["www-authenticate"]
    granted = member(organization, scope="posts:write posts:moderate")
    assert call(app, "DELETE", "/moderate", granted).json == "done"


def test_no_session_opens_without_an_organization(app: FastAPI, call: Call) -> None:
    answer = call(app, "GET", "/no-session-here")
    assert (answer.status, answer.json["code"]) == (500, "organization_context_missing")
    assert call(app, "GET", "/open").json is True
    assert call(app, "GET", "/open/actor").status == 401


def test_an_app_that_was_not_installed_says_so(call: Call) -> None:
    app = FastAPI()
    app.include_router(router)
    with pytest.raises(errors.ConfigurationError, match="OrganizationMiddleware"):
        call(app, "GET", "/notes")


def test_the_openapi_pages_are_public_unless_the_host_says_otherwise(
    tenancy: Tenancy, tokens: TokenResolver, app: FastAPI, call: Call
) -> None:
    for path in ("/openapi.json", "/docs", "/redoc"):
        assert call(app, "GET", path).status == 200
    closed = FastAPI()
    install(closed, tenancy, resolver=tokens, exempt_docs=False)
    assert call(closed, "GET", "/openapi.json").status == 401
    by_function = FastAPI()
    install(by_function, tenancy, resolver=tokens, exempt=lambda r: r.path == "/open")
    by_function.include_router(router)
    assert call(by_function, "GET", "/docs").status == 200
    for beside in ("/docsmore", "/docs/deeper", "/openapi.json.old"):
        assert call(by_function, "GET", beside).status == 401
    assert call(by_function, "GET", "/open").status == 200
    assert call(by_function, "GET", "/who").status == 401


def test_openapi_documents_the_problems(app: FastAPI, call: Call) -> None:
    document: Any = call(app, "GET", "/openapi.json").json
    operation = document["paths"]["/notes"]["get"]
    assert set(operation["responses"]) >= {"200", "400", "401", "403", "404", "503"}
    content = operation["responses"]["404"]["content"]
    reference = content["application/problem+json"]["schema"]["$ref"]
    assert reference == "#/components/schemas/Problem"
    assert set(document["components"]["schemas"]["Problem"]["properties"]) == {
        "type",
        "title",
        "status",
        "code",
        "detail",
        "errors",
    }
    # Nothing of the plumbing is a parameter.
    assert "parameters" not in operation
    assert set(problem_responses(409, 422)) == {409, 422}


def test_a_dependency_that_outlives_the_transaction_is_refused_at_definition() -> None:
    app = FastAPI()

    async def outlives(session: CurrentSession) -> AsyncIterator[None]:
        yield None

    outlives.__annotations__["session"] = CurrentSession
    with pytest.raises(Exception, match="scope"):
        app.get("/x", dependencies=[Depends(outlives)])(open_to_all)
    app.get("/x", dependencies=[Depends(outlives, scope="function")])(open_to_all)


def test_only_repositories_can_be_asked_for_as_such() -> None:
    with pytest.raises(TypeError, match="no repository"):
        Repository[Note]


def test_a_test_can_put_another_session_in_place(
    tenancy: Tenancy, app: FastAPI, organization: Organization, member: Member, call: Call
) -> None:
    async def refused() -> None:
        raise HTTPException(418)

    app.dependency_overrides[organization_session] = refused
    assert call(app, "GET", "/notes", member(organization)).status == 418
