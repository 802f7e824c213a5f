"""From a token to the rows of its organization, in every adapter.

The issuer answers over HTTP, the app is the one of a host, and the rows say themselves whose
they are: an answer with another organization's would show.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from typing import Any, cast

import jwt
import pytest
from fastapi import FastAPI
from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from orgtenancy import Tenancy, current_actor, current_organization, current_session, embedded
from orgtenancy.adapters.fastapi import install
from orgtenancy.adapters.flask import OrgTenancy
from orgtenancy.adapters.starlette import OrganizationMiddleware, exception_handlers
from orgtenancy.identity import Resolver, logto
from orgtenancy.testing import SHAPES, LocalIssuer, shape
from tests.adapters import asgi, wsgi
from tests.adapters.asgi import Answer
from tests.identity.presets import PROVIDERS, SCOPES, UNASKED
from tests.identity.signing import API, recorded, recording
from tests.lifecycle.worlds import CALLS
from tests.schemas.databases import FreshDatabase, fresh_database

LOGTO_ENDPOINT = "http://127.0.0.1:33001"  # of the Logto that was recorded
ORGANIZATION = "7zp7flxblujn"
USER, MACHINE = "afb6zw2tnuqy", "ff8z24hozx8byeexhf1wk"
JWKS = "/oidc/jwks"
READ = "SELECT body FROM notes"

Ask = Callable[[Resolver, str], Answer]


@pytest.fixture(scope="module")
def issuer() -> Iterator[LocalIssuer]:
    """Signs with the recorded key id, and RS256 after Logto's rotation."""
    with LocalIssuer("ES384", also=["RS256"]) as issuer:
        issuer.rotate(kid=recording("user, organization")["header"]["kid"], keep=False)
        yield issuer


@pytest.fixture(scope="module")
def database(server: embedded.EmbeddedServer) -> Iterator[FreshDatabase]:
    with fresh_database(server.url, server.admin_url) as database:
        yield database


@pytest.fixture(scope="module")
def installed(database: FreshDatabase) -> Iterator[Tenancy]:
    """Organizations with ids as each provider makes them; each has a row that names it."""
    with database.tenancy() as tenancy:
        tenancy.install()
        for organization_id in {form.organization for form in SHAPES.values()}:
            furnish(tenancy, organization_id)
        yield tenancy


@pytest.fixture(scope="module")
def serving(
    database: FreshDatabase, installed: Tenancy, event_loop_runner: asyncio.Runner
) -> Iterator[Tenancy]:
    """The tenancy of a process that serves requests: it hears of nothing, and remembers."""
    tenancy = database.tenancy(registry_max_age=600)
    yield tenancy
    event_loop_runner.run(tenancy.aclose())


def furnish(tenancy: Tenancy, organization_id: str) -> str:
    tenancy.schemas.provision(organization_id)
    with tenancy.session(organization_id) as session:
        session.execute(text("INSERT INTO notes VALUES (1, :id)"), {"id": organization_id})
    return organization_id


def told(rows: list[str]) -> dict[str, Any]:
    actor = current_actor()
    assert actor is not None
    return {
        "organization": current_organization().id,
        "actor": actor.id,
        "scopes": sorted(actor.scopes),
        "rows": rows,
    }


def starlette_app(tenancy: Tenancy, resolver: Resolver) -> ASGIApp:
    async def endpoint(request: Request) -> JSONResponse:
        async with tenancy.session() as session:
            return JSONResponse(told(list(await session.scalars(text(READ)))))

    return Starlette(
        routes=[Route("/", endpoint)],
        middleware=[Middleware(OrganizationMiddleware, tenancy=tenancy, resolver=resolver)],
        exception_handlers=exception_handlers,
    )


def fastapi_app(tenancy: Tenancy, resolver: Resolver) -> ASGIApp:
    app = FastAPI()
    install(app, tenancy, resolver=resolver)

    @app.get("/")
    def endpoint() -> dict[str, Any]:
        with tenancy.session() as session:
            return told(list(session.scalars(text(READ))))

    return app


def flask_app(tenancy: Tenancy, resolver: Resolver) -> Flask:
    app = Flask(__name__)
    OrgTenancy(app, tenancy=tenancy, resolver=resolver)

    @app.get("/")
    def endpoint() -> dict[str, Any]:
        return told(list(cast(Session, current_session()).scalars(text(READ))))

    return app


@pytest.fixture(params=["starlette", "fastapi", "flask"])
def ask(request: pytest.FixtureRequest, serving: Tenancy, event_loop_runner: asyncio.Runner) -> Ask:
    """Sends one request with a token to an app that was made for it."""

    def send(resolver: Resolver, token: str) -> Answer:
        headers = {"authorization": f"Bearer {token}"}
        if request.param == "flask":
            return wsgi.request(flask_app(serving, resolver), "GET", "/", headers)
        make = {"starlette": starlette_app, "fastapi": fastapi_app}[request.param]
        return event_loop_runner.run(asgi.request(make(serving, resolver), "GET", "/", headers))

    return send


def refused(answer: Answer) -> None:
    assert (answer.status, answer.json["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("kind", "actor", "scopes"),
    [
        ("machine, organization", MACHINE, ["manage:members", "read:posts"]),
        ("machine, API of organization", MACHINE, ["write:posts"]),
        ("user, organization", USER, ["read:posts"]),
        ("user, API of organization", USER, ["write:posts"]),
    ],
)
def test_a_recorded_token_of_logto_opens_its_organization(
    ask: Ask, issuer: LocalIssuer, kind: str, actor: str, scopes: list[str]
) -> None:
    resolver = logto(LOGTO_ENDPOINT, audiences=API).resolver(issuer.keys())
    token = issuer.sign(recorded(kind), **header(kind))
    assert jwt.get_unverified_header(token) == recording(kind)["header"]
    answer = ask(resolver, token)
    assert answer.status == 200
    assert answer.json == {
        "organization": ORGANIZATION,
        "actor": actor,
        "scopes": scopes,
        "rows": [ORGANIZATION],
    }


@pytest.mark.parametrize("kind", ["user, API alone", "management"])
def test_a_recorded_token_of_logto_without_an_organization_is_refused(
    ask: Ask, issuer: LocalIssuer, kind: str
) -> None:
    resolver = logto(LOGTO_ENDPOINT, audiences=API).resolver(issuer.keys())
    refused(ask(resolver, issuer.sign(recorded(kind), **header(kind))))


@pytest.mark.parametrize("name", SHAPES)
def test_a_token_of_each_provider_opens_exactly_its_organization(
    ask: Ask, issuer: LocalIssuer, name: str
) -> None:
    form, resolver = SHAPES[name], PROVIDERS[name].resolver(issuer.keys())

    def token(**changes: Any) -> str:
        claims = shape(name, subject="alice", scopes=SCOPES[name], **changes)
        return issuer.sign(claims, algorithm=form.algorithm, typ=form.token_type)

    answer = ask(resolver, token())
    assert answer.status == 200
    assert answer.json == {
        "organization": form.organization,
        "actor": "alice",
        "scopes": sorted({*SCOPES[name], *UNASKED.get(name, ())}),
        "rows": [form.organization],
    }
    refused(ask(resolver, token(organization=None)))
    refused(ask(resolver, token(lifetime=-60)))


def test_an_organization_that_only_the_provider_knows_is_not_found(
    ask: Ask, issuer: LocalIssuer
) -> None:
    resolver = logto(issuer.url, audiences=API).resolver()
    answer = ask(resolver, issuer.token("alice", organization="of-another-app"))
    assert (answer.status, answer.json["code"]) == (404, "organization_not_found")


@pytest.mark.parametrize(
    ("operations", "status", "code"),
    [
        (["suspend"], 403, "organization_unavailable"),
        (["fence"], 503, "organization_unavailable"),
        (["archive"], 403, "organization_unavailable"),
        (["archive", "purge"], 404, "organization_not_found"),
        (["drop"], 404, "organization_not_found"),
        (["change_id"], 404, "organization_not_found"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else None,
)
def test_the_token_of_an_organization_that_was_closed_opens_nothing(
    ask: Ask,
    issuer: LocalIssuer,
    installed: Tenancy,
    operations: list[str],
    status: int,
    code: str,
) -> None:
    # This process remembers an open organization: PostgreSQL refuses, and says so first.
    organization_id = furnish(installed, f"t{secrets.token_hex(6)}")
    resolver = logto(issuer.url, audiences=API).resolver()
    token = issuer.token("alice", organization=organization_id)
    assert ask(resolver, token).json["rows"] == [organization_id]
    for operation in operations:
        if operation == "drop":
            installed.schemas.drop(organization_id, confirm=organization_id, force=True)
        else:
            CALLS[operation](installed.organizations, organization_id)
    for _ in range(2):  # by what PostgreSQL says, and by what is known then
        answer = ask(resolver, token)
        assert (answer.status, answer.json["code"]) == (status, code)
        assert ("retry-after" in answer.headers) == (status == 503)


def test_a_rotation_is_followed_and_an_outage_is_survived(ask: Ask) -> None:
    with LocalIssuer("ES384") as issuer:
        keys = issuer.keys(cooldown=0)
        resolver = logto(issuer.url, audiences=API).resolver(keys)

        def status() -> int:
            return ask(resolver, issuer.token("alice", organization=ORGANIZATION)).status

        assert status() == 200
        assert issuer.requests(JWKS) == 1
        issuer.rotate("RS256")
        assert status() == 200
        assert issuer.requests(JWKS) == 2
        issuer.stop_answering()
        assert status() == 200
        issuer.rotate()  # the new key cannot be had
        answer = ask(resolver, issuer.token("alice", organization=ORGANIZATION))
        assert (answer.status, answer.json["code"]) == (503, "identity_provider_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        issuer.answer_again()
        assert status() == 200


def header(kind: str) -> dict[str, Any]:
    found = dict(recording(kind)["header"])
    del found["alg"]
    return found
