"""A webhook's delivery reaches its receiver as it was sent, in any framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from fastapi import Depends
from sqlalchemy.exc import OperationalError

from orgtenancy import Organization, current_actor
from orgtenancy.adapters import WEBHOOK_PATH
from orgtenancy.adapters.fastapi import webhook_router
from orgtenancy.adapters.flask import webhook_blueprint
from orgtenancy.adapters.starlette import webhook_route
from orgtenancy.context import current_origin, organization_var
from orgtenancy.errors import AccessDenied, WebhookForged, WebhookRefused
from orgtenancy.identity import RequestInfo
from orgtenancy.identity.webhooks import MAX_WEBHOOK_SIZE, Receipt
from tests.adapters.asgi import Answer
from tests.adapters.conftest import Member
from tests.adapters.trio import FRAMEWORKS, MakeTrio, Trio, with_header_twice

SIGNATURE = "logto-signature-sha-256"
EVERY_BYTE = bytes(range(256))
OTHER_PATH = "/hooks/v1.2"


class Recorder:
    """A receiver that remembers what it was given, and in which context."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.requests: list[RequestInfo] = []
        self.contexts: list[tuple[object, object, str]] = []
        self.error: Exception | None = None

    def receive(self, body: bytes, request: RequestInfo) -> Receipt:
        if self.error is not None:
            raise self.error
        is_new = body not in self.bodies
        self.bodies.append(body)
        self.requests.append(request)
        self.contexts.append((organization_var.get(), current_actor(), current_origin()))
        return Receipt(is_new=is_new)

    async def receive_async(self, body: bytes, request: RequestInfo) -> Receipt:
        return self.receive(body, request)


def add_webhook(trio: Trio, receiver: Recorder, *path: str) -> None:
    trio.starlette.router.routes.append(webhook_route(receiver, *path))
    trio.fastapi.include_router(webhook_router(receiver, *path))
    trio.flask.register_blueprint(webhook_blueprint(receiver, *path))


@pytest.fixture
def receiver() -> Recorder:
    return Recorder()


@pytest.fixture
def trio(trio_of: MakeTrio, receiver: Recorder) -> Trio:
    trio = trio_of(exempt=[WEBHOOK_PATH, OTHER_PATH])
    add_webhook(trio, receiver)
    return trio


def post(trio: Trio, *body: bytes, path: str = WEBHOOK_PATH, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return trio.ask("POST", path, named, body=body or (b"",))


def check_problem(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.json["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


# --- what arrives


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "nonsense", None])
def test_the_bytes_arrive_as_they_were_signed_whatever_they_are_called(
    content_type: str | None, trio: Trio, receiver: Recorder
) -> None:
    headers = {"content_length": str(len(EVERY_BYTE))}
    if content_type is not None:
        headers["content_type"] = content_type
    answer = post(trio, EVERY_BYTE, **headers)
    assert (answer.status, answer.json) == (200, {"received": True})
    assert answer.headers["content-type"] == "application/json"
    assert receiver.bodies == [EVERY_BYTE] * 3


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_a_form_is_not_read_as_one(content_type: str, trio: Trio, receiver: Recorder) -> None:
    body = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb=c&d\r\n--x--\r\n"
    answer = post(trio, body, content_type=content_type, content_length=str(len(body)))
    assert answer.status == 200
    assert receiver.bodies == [body] * 3


@pytest.mark.parametrize("pieces", [[b""], [b'{"a"', b": ", b"1}"], [EVERY_BYTE] * 100])
def test_a_body_may_come_in_pieces_without_a_length(
    pieces: Sequence[bytes], trio: Trio, receiver: Recorder
) -> None:
    answer = post(trio, *pieces, transfer_encoding="chunked")
    assert answer.status == 200
    assert receiver.bodies == [b"".join(pieces)] * 3


def test_the_receiver_sees_the_request(trio: Trio, receiver: Recorder) -> None:
    post(trio, b"{}", path=f"{WEBHOOK_PATH}?a=1", **{SIGNATURE: "abc"})
    for request in receiver.requests:
        assert request.header(SIGNATURE) == "abc"
        assert (request.method, request.path, request.query) == ("POST", WEBHOOK_PATH, "a=1")


def test_a_signature_that_was_sent_twice_is_seen_twice(trio: Trio, receiver: Recorder) -> None:
    post(with_header_twice(trio, SIGNATURE, "right", "wrong"), b"{}")
    assert [request.headers[SIGNATURE] for request in receiver.requests] == [["right", "wrong"]] * 3


def test_a_delivery_is_of_no_organization_and_of_nobody_even_with_a_token(
    trio: Trio, receiver: Recorder, organization: Organization, member: Member
) -> None:
    for headers in ({}, member(organization)):
        assert trio.ask("POST", WEBHOOK_PATH, headers, body=[b"{}"]).status == 200
    assert receiver.contexts == [(None, None, "http:127.0.0.1")] * 6


def test_what_came_before_is_received_all_the_same(trio: Trio, receiver: Recorder) -> None:
    first, again = post(trio, b"{}"), post(trio, b"{}")
    assert (first.status, first.body) == (again.status, again.body)
    assert len(receiver.bodies) == 6


def test_there_may_be_several_webhooks(trio: Trio, receiver: Recorder) -> None:
    other = Recorder()
    add_webhook(trio, other, OTHER_PATH)
    assert post(trio, b"other", path=OTHER_PATH).status == 200
    assert (receiver.bodies, other.bodies) == ([], [b"other"] * 3)


# --- what is refused


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (WebhookForged("the signature is wrong"), 401, "webhook_forged"),
        (WebhookRefused("it is too old"), 400, "webhook_refused"),
    ],
)
def test_what_the_receiver_refuses_is_a_problem(
    error: Exception, status: int, code: str, trio: Trio, receiver: Recorder
) -> None:
    receiver.error = error
    answer = post(trio, b"{}")
    check_problem(answer, status, code)
    assert answer.json["detail"] == str(error)
    assert "www-authenticate" not in answer.headers


def test_a_database_that_is_down_is_503_so_that_it_can_be_delivered_again(
    trio: Trio, receiver: Recorder
) -> None:
    with pytest.raises(psycopg.OperationalError) as refused:
        psycopg.connect("host=127.0.0.1 port=1 connect_timeout=5")
    receiver.error = OperationalError("INSERT INTO orgtenancy.inbox", {}, refused.value)
    answer = post(trio, b"{}")
    check_problem(answer, 503, "overloaded")
    assert answer.headers["retry-after"] == "1"
    assert "127.0.0.1" not in answer.text


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "post"])
def test_it_can_only_be_posted(method: str, trio: Trio, receiver: Recorder) -> None:
    answer = trio.ask(method, WEBHOOK_PATH, {}, body=[b"{}"])
    check_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    assert receiver.bodies == []


def test_a_body_that_is_announced_as_too_large_is_not_read(trio: Trio, receiver: Recorder) -> None:
    answer = post(trio, b"x", b"y", content_length=str(MAX_WEBHOOK_SIZE + 1))
    check_problem(answer, 413, "payload_too_large")
    assert answer.unread == 2
    assert receiver.bodies == []


def test_a_body_that_becomes_too_large_is_not_read_to_its_end(
    trio: Trio, receiver: Recorder
) -> None:
    half = b"x" * (MAX_WEBHOOK_SIZE // 2)
    answer = post(trio, half, half, b"x", b"never read")
    check_problem(answer, 413, "payload_too_large")
    assert answer.unread == 1
    assert post(trio, half, half).status == 200
    assert receiver.bodies == [half + half] * 3


def test_a_lower_limit_of_a_flask_app_is_413_too(trio: Trio, receiver: Recorder) -> None:
    trio.flask.config["MAX_CONTENT_LENGTH"] = 10
    answer = trio.send("flask", "POST", WEBHOOK_PATH, body=[b"x" * 20])
    check_problem(answer, 413, "payload_too_large")
    assert receiver.bodies == []


# --- the path has to be exempt


def test_a_path_that_is_not_exempt_receives_nothing(
    trio_of: MakeTrio,
    receiver: Recorder,
    organization: Organization,
    member: Member,
    caplog: pytest.LogCaptureFixture,
) -> None:
    trio = trio_of()
    add_webhook(trio, receiver)
    check_problem(post(trio, b"{}"), 401, "unauthenticated")
    answer = trio.ask("POST", WEBHOOK_PATH, member(organization), body=[b"{}"])
    check_problem(answer, 500, "configuration")
    assert caplog.text.count("list its path in `exempt`") >= len(FRAMEWORKS)
    assert receiver.bodies == []


def test_it_is_not_documented_and_the_host_s_dependencies_run_before_it(
    trio: Trio, receiver: Recorder
) -> None:
    def refuse() -> None:
        raise AccessDenied("not from there")

    document: dict[str, Any] = trio.fastapi.openapi()
    assert document["paths"] == {}
    guarded = webhook_router(receiver, OTHER_PATH)
    trio.fastapi.include_router(guarded, dependencies=[Depends(refuse)])
    answer = trio.send("fastapi", "POST", OTHER_PATH, body=[b"{}"])
    check_problem(answer, 403, "access_denied")
    assert receiver.bodies == []
