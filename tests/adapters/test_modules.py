"""A module's endpoints answer the same in every framework, to the byte."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import QueuePool, event, select
from starlette.applications import Starlette
from starlette.middleware import Middleware

from orgtenancy import Organization, Tenancy, embedded
from orgtenancy.adapters import PROBLEM_MEDIA_TYPE
from orgtenancy.adapters.fastapi import module_router
from orgtenancy.adapters.flask import module_blueprint
from orgtenancy.adapters.starlette import OrganizationMiddleware, module_routes
from orgtenancy.endpoints import MAX_BODY_SIZE
from orgtenancy.errors import ConfigurationError
from orgtenancy.identity import TokenResolver
from orgtenancy.settings import ModuleSettings
from tests.adapters import asgi
from tests.adapters.asgi import Answer
from tests.adapters.board import FAILURES, SECRET, attempts, board, conflicts
from tests.adapters.conftest import Member
from tests.adapters.hosts import Hosts, fastapi_app, make_hosts
from tests.support.notes import Note


def check_problem(answer: Answer, status: int, code: str) -> list[Any]:
    assert (answer.status, answer.json["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == PROBLEM_MEDIA_TYPE
    assert answer.json["status"] == status
    assert "org_" not in answer.text
    errors: list[Any] = answer.json.get("errors", [])
    return errors


@pytest.fixture
def stored(tenancy: Tenancy, hosts: Hosts) -> Callable[[], list[list[str]]]:
    """Reads the notes of each host's organization, past the apps."""

    def read(organization: Organization) -> list[str]:
        with tenancy.session(organization) as session:
            return list(session.scalars(select(Note.body).order_by(Note.id)))

    return lambda: [read(host.organization) for host in hosts.each]


Stored = Callable[[], list[list[str]]]


@pytest.fixture
def statements(board_tenancy: Tenancy) -> Iterator[list[str]]:
    """What reaches the tables of organizations through the apps' tenancy."""
    seen: list[str] = []

    def record(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "orgtenancy." not in statement:  # the registry, which the middleware asks
            seen.append(statement)

    engines = (board_tenancy.engine, board_tenancy.async_engine.sync_engine)
    for engine in engines:
        event.listen(engine, "before_cursor_execute", record)
    yield seen
    for engine in engines:
        event.remove(engine, "before_cursor_execute", record)


# --- successes


def test_the_life_of_a_note(hosts: Hosts, stored: Stored) -> None:
    answer = hosts.ask("POST", "/notes", {"id": 1, "body": "grüße 🎈"})
    assert (answer.status, answer.text) == (201, '{"id":1,"body":"grüße 🎈"}')
    assert answer.headers["content-type"] == "application/json"
    assert hosts.ask("GET", "/notes/1").json == {"id": 1, "body": "grüße 🎈"}
    assert hosts.ask("PATCH", "/notes/1", {"body": "bye"}).json == {"id": 1, "body": "bye"}
    assert stored() == [["bye"]] * 3
    answer = hosts.ask("GET", "/notes?limit=1")
    assert answer.text == '{"items":[{"id":1,"body":"bye"}],"next_cursor":null}'
    answer = hosts.ask("DELETE", "/notes/1", scope="notes:delete")
    assert (answer.status, answer.body) == (204, b"")
    assert "content-type" not in answer.headers
    assert "content-length" not in answer.headers
    assert stored() == [[]] * 3
    check_problem(hosts.ask("GET", "/notes/1"), 404, "not_found")


def test_pages_follow_each_other(hosts: Hosts) -> None:
    for number in range(1, 4):
        hosts.ask("POST", "/notes", {"id": number, "body": str(number)})
    first = hosts.ask("GET", "/notes?limit=2").json
    rest = hosts.ask("GET", f"/notes?limit=2&cursor={first['next_cursor']}").json
    assert [item["body"] for item in first["items"] + rest["items"]] in (
        ["1", "2", "3"],
        ["3", "2", "1"],
    )


def test_a_literal_segment_goes_before_a_parameter(hosts: Hosts) -> None:
    assert hosts.ask("GET", "/notes/latest", scope="notes:read").json["body"] == "latest"


def test_the_inputs_arrive_as_they_were_sent(hosts: Hosts) -> None:
    answer = hosts.ask(
        "GET",
        "/echo/a%20%C3%BC%2B?limit=3&contains=x%26+y&colour=red&colour=blue&is-exact=true&exact=1"
        "&unknown=%20&flag",
    )
    assert answer.json["key"] == "a ü+"
    assert answer.json["listing"] == {
        "limit": 3,
        "cursor": None,
        "contains": "x& y",
        "colour": ["red", "blue"],
        "is-exact": True,
    }
    assert hosts.ask("GET", "/echo/a?colour=red").json["listing"]["colour"] == ["red"]
    assert hosts.ask("GET", "/echo/a?contains=").json["listing"]["contains"] == ""
    assert hosts.ask("GET", "/echo/%F0%9F%8E%88").json["key"] == "🎈"


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
        ("testclient", None),
        ("", None),
    ],
)
def test_the_caller_is_the_actor_at_an_address(
    client: str, expected: str | None, hosts: Hosts
) -> None:
    answer = hosts.ask("GET", "/echo/a", user="bob", client=client)
    assert (answer.json["actor"], answer.json["ip_address"]) == ("bob", expected)


def test_a_body_may_come_in_pieces_without_a_length(hosts: Hosts) -> None:
    pieces = [b'{"id": 7,', b' "body"', b': "in pieces"}']
    assert hosts.ask("POST", "/notes", pieces).json == {"id": 7, "body": "in pieces"}


@pytest.mark.parametrize(
    "media_type", ["application/json", "Application/JSON", "application/json; charset=utf-8"]
)
def test_json_is_json_with_whatever_parameters(media_type: str, hosts: Hosts) -> None:
    headers = {"content-type": media_type}
    assert hosts.ask("POST", "/notes", {"id": 1, "body": "a"}, headers=headers).status == 201


def test_a_body_that_nothing_reads_is_ignored(hosts: Hosts) -> None:
    headers = {"content-type": "text/plain", "content-length": str(MAX_BODY_SIZE + 1)}
    assert hosts.ask("GET", "/echo/a", headers=headers, body=b"{").status == 200


# --- malformed inputs


def test_everything_that_is_wrong_is_said_at_once(hosts: Hosts, statements: list[str]) -> None:
    answer = hosts.ask("PATCH", "/notes/zero", {"body": 1})
    errors = check_problem(answer, 422, "invalid")
    assert [(e["in"], e["field"]) for e in errors] == [("path", "note_id"), ("body", "body")]
    assert errors[0]["message"].startswith("Input should be a valid integer")
    answer = hosts.ask(
        "GET", "/echo/%00?limit=0&limit=1&colour=green&is-exact=perhaps&contains=%00"
    )
    errors = check_problem(answer, 422, "invalid")
    assert [(e["in"], e["field"]) for e in errors] == [("path", "key"), ("query", "contains")]
    answer = hosts.ask("GET", "/echo/a?limit=0&limit=1&colour=green&is-exact=perhaps")
    errors = check_problem(answer, 422, "invalid")
    assert [e["field"] for e in errors] == ["limit", "colour.0", "is-exact"]
    answer = hosts.ask(
        "POST", "/notes", {"body": "a", "authors": [{"name": "a"}, {"name": "b" * 21}], "x": 1}
    )
    errors = check_problem(answer, 422, "invalid")
    assert [e["field"] for e in errors] == ["id", "authors.1.name", "x"]
    assert statements == []


@pytest.mark.parametrize(
    "path",
    [
        "/notes/%ff",
        "/notes/%00",
        "/notes/1e3",
        "/notes/-1",
        f"/notes/{2**63}",
        "/notes/" + "9" * 5000,
        "/notes/%ED%A0%80",
        "/notes/%C0%80",
    ],
)
def test_a_path_that_is_no_number_is_422(path: str, hosts: Hosts) -> None:
    (error,) = check_problem(hosts.ask("GET", path), 422, "invalid")
    assert (error["in"], error["field"]) == ("path", "note_id")


def test_a_path_that_is_no_utf_8_has_replacement_characters(hosts: Hosts) -> None:
    assert hosts.ask("GET", "/echo/%ff").json["key"] == "\ufffd"


@pytest.mark.parametrize(
    "query",
    [
        "contains=%ff",
        "contains=\xff",
        "contains=%00",
        "contains=%ED%A0%80",
        "%ff=1",
        "limit=" + "9" * 5000,
        "limit=NaN",
        "limit=1&limit=1",
        "limit=",
        "colour=red&colour=red&colour=red&colour=red",
        "a&" * 1001,
    ],
)
def test_a_query_that_cannot_be_read_is_422(query: str, hosts: Hosts) -> None:
    errors = check_problem(hosts.ask("GET", f"/echo/a?{query}"), 422, "invalid")
    assert {error["in"] for error in errors} == {"query"}


@pytest.mark.parametrize("query", ["unknown=%00", "&&", "=", "limit=5&&unknown=1&unknown=2"])
def test_what_no_endpoint_asks_for_is_ignored(query: str, hosts: Hosts) -> None:
    assert hosts.ask("GET", f"/echo/a?{query}").status == 200


def test_a_cursor_of_something_else_is_422(hosts: Hosts) -> None:
    for cursor in ("x", "%C3%BC", "e30", "a" * 5000):
        assert hosts.ask("GET", f"/notes?cursor={cursor}").status == 422


NOT_JSON = [
    b"",
    b" ",
    b"{",
    b"{'id': 1}",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b'{"id": 1, "body": "a",}',
    b'{"id": NaN, "body": "a"}',
    b'{"id": 1, "body": "a", "extra": {"a": -Infinity}}',
    b'{"id": 1, "body": "\xff"}',
    b'{"id": 1, "body": "\\ud800"}',
    b'{"id": 1, "body": "\xed\xa0\x80"}',
    b'{"id": 1, "body": "\x00"}',
    b'{"id": 1' + b"0" * 5000 + b', "body": "a"}',
    b'{"id": 1, "body": "a", "extra": {"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}}",
    b"[" * 100_000,
]
NOT_A_NOTE = [
    b"null",
    b"[]",
    b'"text"',
    b'{"id": 1, "body": "\\u0000"}',
    b'{"id": 1, "body": "a", "extra": {"\\u0000": 1}}',
    b'{"id": 1, "body": "a", "extra": {"a": [1, {"b": "\\u0000"}]}}',
    b'{"id": 1, "body": "a", "extra": {"a": 1e999}}',
    b'{"id": 1' + b"0" * 4000 + b', "body": "a"}',
    b'{"id": 1.5, "body": "a"}',
    b'{"id": true, "body": []}',
]


@pytest.mark.parametrize("body", NOT_JSON + NOT_A_NOTE, ids=lambda body: repr(body[:40]))
def test_a_body_that_cannot_be_read_is_422(
    body: bytes, hosts: Hosts, stored: Stored, statements: list[str]
) -> None:
    errors = check_problem(hosts.ask("POST", "/notes", body), 422, "invalid")
    assert {error["in"] for error in errors} == {"body"}
    assert (body in NOT_JSON) == errors[0]["message"].startswith("is no JSON")
    assert statements == []
    assert stored() == [[]] * 3


def test_a_body_with_more_errors_than_anyone_reads_gets_a_short_answer(hosts: Hosts) -> None:
    body = {"id": 1, "body": "a", "authors": [1] * 10_000}
    (error,) = check_problem(hosts.ask("POST", "/notes", body), 422, "invalid")
    assert error["message"] == "has 10000 errors"


@pytest.mark.parametrize(
    "media_type",
    [
        "",
        "json",
        "text/plain",
        "application/jsonp",
        "application/x-www-form-urlencoded",
        "application/json, application/json",
        "multipart/form-data; boundary=x",
    ],
)
def test_a_body_that_is_no_json_is_415(media_type: str, hosts: Hosts) -> None:
    headers = {"content-type": media_type} if media_type else {}
    body = b'{"id": 1, "body": "a"}'
    answer = hosts.ask("POST", "/notes", headers={"content-length": str(len(body)), **headers})
    check_problem(answer, 415, "unsupported_media_type")


def test_a_content_type_that_was_sent_twice_is_415(
    board_tenancy: Tenancy,
    tokens: TokenResolver,
    organization: Organization,
    member: Member,
    event_loop_runner: asyncio.Runner,
) -> None:
    """As it is where a WSGI server joins the two."""
    app = fastapi_app(board_tenancy, tokens)

    async def twice(scope: Any, receive: Any, send: Any) -> None:
        kind = (b"content-type", b"application/json")
        await app({**scope, "headers": [*scope["headers"], kind, kind]}, receive, send)

    headers = member(organization)
    answer = event_loop_runner.run(asgi.request(twice, "POST", "/api/notes", headers))
    check_problem(answer, 415, "unsupported_media_type")


def test_a_body_that_is_announced_as_too_large_is_not_read(hosts: Hosts) -> None:
    pieces = [b" " * 2**16] * 20
    for length in (MAX_BODY_SIZE + 1, 10**30):
        headers = {"content-length": str(length)}
        answer = hosts.ask("POST", "/notes", pieces, headers=headers)
        check_problem(answer, 413, "payload_too_large")
        assert answer.unread >= 19


def test_a_body_that_becomes_too_large_is_not_read_to_its_end(hosts: Hosts) -> None:
    pieces = [b" " * 2**16] * 100
    answer = hosts.ask("POST", "/notes", pieces)
    check_problem(answer, 413, "payload_too_large")
    assert answer.unread >= 80


def test_a_body_of_the_largest_size_is_read(hosts: Hosts) -> None:
    note = b'{"id": 1, "body": "a"}'
    body = note + b" " * (MAX_BODY_SIZE - len(note))
    assert hosts.ask("POST", "/notes", body).status == 201
    assert hosts.ask("POST", "/notes", [body[:7], body[7:]]).status == 409
    check_problem(hosts.ask("POST", "/notes", body + b" "), 413, "payload_too_large")


# --- who may


def test_nobody_gets_nothing(hosts: Hosts, statements: list[str]) -> None:
    for method, path in (("GET", "/notes"), ("POST", "/notes"), ("PUT", "/notes")):
        answer = hosts.ask(method, path, anonymous=True)
        check_problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert statements == []


def test_a_missing_scope_is_403_before_anything_is_read(
    hosts: Hosts, statements: list[str]
) -> None:
    for scope in ("", "notes:read", "notes:delete:all"):
        answer = hosts.ask("DELETE", "/notes/zero", scope=scope)
        check_problem(answer, 403, "insufficient_scope")
        assert answer.headers["www-authenticate"] == (
            'Bearer error="insufficient_scope", scope="notes:delete"'
        )
    assert statements == []


def test_settings_say_which_scopes_an_endpoint_asks_for(
    hosts: Hosts,
    make_tenancy_of: Callable[..., Tenancy],
    tokens: TokenResolver,
    member: Member,
    event_loop_runner: asyncio.Runner,
) -> None:
    settings = ModuleSettings(scopes={"list_notes": ("notes:list",), "delete_note": ()})
    organizations = [host.organization for host in hosts.each]
    tuned = make_hosts(
        make_tenancy_of(board.with_settings(settings)),
        tokens,
        organizations,
        member,
        event_loop_runner,
    )
    check_problem(tuned.ask("GET", "/notes"), 403, "insufficient_scope")
    assert tuned.ask("GET", "/notes", scope="notes:list").status == 200
    check_problem(tuned.ask("DELETE", "/notes/1"), 404, "not_found")
    check_problem(tuned.ask("GET", "/notes/latest"), 403, "insufficient_scope")


@pytest.fixture
def make_tenancy_of(
    server: embedded.EmbeddedServer, tenancy: Tenancy, event_loop_runner: asyncio.Runner
) -> Iterator[Callable[..., Tenancy]]:
    """Makes another tenancy on the same database, with other modules."""
    made: list[Tenancy] = []

    def make(*modules: Any) -> Tenancy:
        made.append(Tenancy(server.url, admin_url=server.admin_url, modules=modules))
        return made[-1]

    yield make
    for other in made:
        event_loop_runner.run(other.aclose())


# --- methods


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/notes", "GET, POST"),
        ("HEAD", "/notes", "GET, POST"),
        ("OPTIONS", "/notes", "GET, POST"),
        ("BREW", "/notes", "GET, POST"),
        ("get", "/notes", "GET, POST"),
        ("POST", "/notes/1", "DELETE, GET, PATCH"),
        ("POST", "/notes/zero", "DELETE, GET, PATCH"),
        ("DELETE", "/notes/latest", "GET"),
        ("GET", "/fail/conflict", "POST"),
    ],
)
def test_a_method_that_the_path_does_not_have_is_405(
    method: str, path: str, allow: str, hosts: Hosts
) -> None:
    answers = [
        host.send(method, f"/api{path}", hosts.member(host.organization)) for host in hosts.each
    ]
    for answer in answers:
        assert (answer.status, answer.headers["allow"]) == (405, allow)
        assert answer.headers["content-type"] == PROBLEM_MEDIA_TYPE
        assert answer.headers["content-length"] == answers[0].headers["content-length"]
    if method != "HEAD":  # which Flask sends no body to, and an ASGI server takes it away
        check_problem(hosts.ask(method, path), 405, "method_not_allowed")


def test_a_path_of_nobody_is_the_framework_s(hosts: Hosts) -> None:
    for host in hosts.each:
        for path in ("/api/nothing", "/notes", "/api/notes/1/2"):
            answer = host.send("GET", path, hosts.member(host.organization))
            assert answer.status == 404
            assert answer.headers["content-type"] != PROBLEM_MEDIA_TYPE


# --- transactions


PROBLEMS = {
    "not_found": (404, "not_found"),
    "forbidden": (403, "forbidden"),
    "conflict": (409, "conflict"),
    "teapot": (409, "teapot"),
    "invalid": (422, "invalid"),
    "invalid_cursor": (422, "invalid_cursor"),
    "isolation": (500, "organization_mismatch"),
    "configuration": (500, "configuration"),
    "unavailable": (503, "organization_unavailable"),
    "provider": (503, "identity_provider_unavailable"),
    "unique": (409, "conflict"),
    "too_large": (422, "invalid"),
    "cancelled": (503, "overloaded"),
    "pool": (503, "overloaded"),
}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_an_error_is_a_problem_and_undoes_the_work(kind: str, hosts: Hosts, stored: Stored) -> None:
    status, code = PROBLEMS[kind]
    answer = hosts.ask("POST", f"/fail/{kind}")
    assert check_problem(answer, status, code) == []
    assert "errors" not in answer.json
    assert SECRET not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)
    assert stored() == [[]] * 3


def test_a_bug_is_the_framework_s_and_undoes_the_work(hosts: Hosts, stored: Stored) -> None:
    assert set(FAILURES) == {*PROBLEMS, "bug"}
    for host in hosts.each:
        for path in ("/api/fail/bug", "/api/unwritable"):
            headers = hosts.member(host.organization)
            if host.name == "flask":
                assert host.send("POST", path, headers).status == 500
            else:
                with pytest.raises((ZeroDivisionError, ValueError)):
                    host.send("POST", path, headers)
    assert stored() == [[]] * 3


def test_a_commit_that_fails_is_a_problem(hosts: Hosts, stored: Stored) -> None:
    answer = hosts.ask("POST", "/orphans")
    check_problem(answer, 409, "conflict")
    assert "well" not in answer.text
    assert stored() == [[]] * 3


def test_a_transient_failure_is_tried_again_and_works_once(hosts: Hosts, stored: Stored) -> None:
    for host in hosts.each:
        attempts.clear()
        conflicts[0] = 2
        answer = host.send("POST", "/api/contended", hosts.member(host.organization))
        assert (answer.status, len(attempts)) == (200, 3)
    assert stored() == [["contended"]] * 3


def test_a_failure_that_stays_is_409(hosts: Hosts, stored: Stored, board_tenancy: Tenancy) -> None:
    conflicts[0] = 1000
    attempts.clear()
    try:
        check_problem(hosts.ask("POST", "/contended"), 409, "conflict")
    finally:
        conflicts[0] = 0
    assert len(attempts) == 3 * board_tenancy.settings.max_attempts
    assert stored() == [[]] * 3


def test_no_connection_stays_checked_out(hosts: Hosts, board_tenancy: Tenancy) -> None:
    for path in ("/notes", "/notes/1", "/fail/conflict", "/orphans"):
        for method in ("GET", "POST"):
            hosts.ask(method, path)
    for pool in (board_tenancy.engine.pool, board_tenancy.async_engine.sync_engine.pool):
        assert isinstance(pool, QueuePool)
        assert pool.checkedout() == 0


# --- mounting


def test_the_api_serves_below_a_root_path_and_at_the_root(
    board_tenancy: Tenancy,
    tokens: TokenResolver,
    organization: Organization,
    member: Member,
    event_loop_runner: asyncio.Runner,
) -> None:
    app = Starlette(
        routes=[*module_routes(board_tenancy, "notes")],
        middleware=[Middleware(OrganizationMiddleware, tenancy=board_tenancy, resolver=tokens)],
    )
    assert app.url_path_for("read_note", note_id=1) == "/notes/1"
    for root in ("", "/behind/a/proxy"):

        async def below(scope: Any, receive: Any, send: Any, root: str = root) -> None:
            await app({**scope, "root_path": root, "path": root + scope["path"]}, receive, send)

        answer = event_loop_runner.run(asgi.request(below, "GET", "/echo/a", member(organization)))
        assert answer.status == 200


@pytest.mark.parametrize("mount", [module_router, module_routes, module_blueprint])
def test_only_modules_with_endpoints_can_be_mounted_by_name(
    mount: Callable[..., Any], tenancy: Tenancy
) -> None:
    for name in ("billing", "notes"):
        with pytest.raises(ConfigurationError, match=f"no module '{name}' with endpoints"):
            mount(tenancy, name)
