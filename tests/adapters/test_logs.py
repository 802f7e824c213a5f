"""No log record holds a token, whatever level it has and however the token fared."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from orgtenancy import Organization, Tenancy, current_actor
from orgtenancy.identity import logto
from orgtenancy.telemetry.logging import ContextFilter
from orgtenancy.testing.keys import Signer
from tests.adapters.conftest import SIGNER, Member
from tests.adapters.trio import FRAMEWORKS, MakeTrio, Trio
from tests.identity.signing import claims

PRIVATE = "private-claim-of-ann"
FORMAT = "%(levelname)s %(name)s %(organization_id)s %(actor_id)s %(scopes)s %(origin)s %(message)s"

logger = logging.getLogger("tests.adapters.logs")


def serve() -> str:
    logger.info("served %r", current_actor())
    return "served"


def fail() -> str:
    logger.info("failing %s", current_actor())
    raise ZeroDivisionError("a bug")


def add_routes(trio: Trio) -> None:
    async def starlette_serve(request: Request) -> Response:
        return PlainTextResponse(serve())

    def starlette_fail(request: Request) -> Response:
        return PlainTextResponse(fail())

    trio.starlette.router.routes += [Route("/", starlette_serve), Route("/fail", starlette_fail)]
    for path, view in (("/", serve), ("/fail", fail)):
        trio.fastapi.add_api_route(path, view)
        trio.flask.add_url_rule(path, view.__name__, view)


class Texts(logging.Handler):
    """Keeps all that a handler could print of a record."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.addFilter(ContextFilter())
        self.setFormatter(logging.Formatter(FORMAT))
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))  # with the traceback
        self.texts.append(repr(record.__dict__))


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Everything that is logged, by anybody, from DEBUG on."""
    root, texts = logging.getLogger(), Texts()
    names = ["", *logging.root.manager.loggerDict]
    levels = {name: logging.getLogger(name).level for name in names}
    root.addHandler(texts)
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield texts.texts
    root.removeHandler(texts)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def bad_tokens(organization: Organization) -> dict[str, str]:
    def sign(signer: Signer = SIGNER, **changes: Any) -> str:
        return signer.sign(claims(organization_id=organization.id, email=PRIVATE, **changes))

    header, payload, signature = sign().split(".")
    return {
        "expired": sign(exp=int(time.time()) - 3600),
        "of another issuer": sign(iss="https://elsewhere.example"),
        "for another API": sign(aud="https://elsewhere.example"),
        "of a foreign key": sign(Signer("key")),
        "of an unknown key": sign(Signer("nobody-has-this-key")),
        "with a changed signature": f"{header}.{payload}.{signature[:-8]}AAAAAAAA",
        "unsigned": f"{header}.{payload}.",
        "without an organization": SIGNER.sign(claims(organization_id=None, email=PRIVATE)),
        "of an invalid organization": SIGNER.sign(claims(organization_id="a b", email=PRIVATE)),
        "of no organization there is": SIGNER.sign(claims(organization_id="nobody", email=PRIVATE)),
        "without a subject": sign(sub=None),
        "oversized": sign(filler="x" * 20_000),
        "nonsense": "nonsense-that-somebody-sent-as-a-token",
        "two words": f"{sign()} {payload}",
    }


def assert_not_logged(tokens: list[str], logged: list[str]) -> None:
    # The header is the same in all of them, and says nothing.
    parts = {part for token in tokens for part in token.replace(" ", ".").split(".")[1:] if part}
    for secret in {*tokens, *parts, PRIVATE, "Bearer "}:
        assert not [text for text in logged if secret in text], secret


def test_no_token_and_no_claim_is_logged(
    trio_of: MakeTrio, organization: Organization, member: Member, logged: list[str]
) -> None:
    trio = trio_of()
    add_routes(trio)
    good = member(organization, "ann", scope="read:posts", email=PRIVATE)
    for framework in FRAMEWORKS:
        assert trio.send(framework, "GET", "/", good).status == 200
        with suppress(ZeroDivisionError):
            trio.send(framework, "GET", "/fail", good)
    tokens = bad_tokens(organization)
    for name, token in tokens.items():
        answer = trio.ask("GET", "/", {"authorization": f"Bearer {token}"})
        assert 400 <= answer.status < 500, name
        assert PRIVATE not in answer.text
        assert token not in answer.text
    # Something was logged, and knows whose it is.
    told = f"INFO tests.adapters.logs {organization.id} ann read:posts http:127.0.0.1 served "
    assert len([text for text in logged if text.startswith(told)]) == len(FRAMEWORKS)
    assert_not_logged([*tokens.values(), good["authorization"].removeprefix("Bearer ")], logged)


def test_no_token_is_logged_while_the_provider_cannot_be_reached(
    trio_of: MakeTrio,
    tenancy: Tenancy,
    organization: Organization,
    member: Member,
    logged: list[str],
    event_loop_runner: asyncio.Runner,
) -> None:
    unreachable = logto("http://127.0.0.1:1", audiences=["https://api.example.com"]).resolver()
    trio = trio_of(resolver=unreachable)
    add_routes(trio)
    headers = member(organization, "ann", email=PRIVATE, iss="http://127.0.0.1:1/oidc")
    for framework in FRAMEWORKS:
        answer = trio.send(framework, "GET", "/", headers)
        assert (answer.status, answer.json["code"]) == (503, "identity_provider_unavailable")
    assert any(text.startswith("ERROR orgtenancy.adapters - -") for text in logged)
    assert_not_logged([headers["authorization"].removeprefix("Bearer ")], logged)
