"""A good token does not open an organization that is closed, in any framework."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from flask import Flask
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from orgtenancy import Organization, Settings, Tenancy, current_session, embedded
from orgtenancy.adapters.fastapi import CurrentSession
from orgtenancy.operations.lifecycle import Organizations
from tests.adapters.asgi import Answer
from tests.adapters.conftest import Member
from tests.adapters.trio import FRAMEWORKS, MakeTrio, Trio
from tests.support.notes import notes

COUNT = text("SELECT count(*) FROM notes")


def purge(tenancy: Tenancy, organization_id: str) -> None:
    tenancy.organizations.archive(organization_id)
    tenancy.organizations.purge(organization_id, confirm=organization_id, now=True)


CLOSE: dict[str, Callable[[Tenancy, str], object]] = {
    "suspended": lambda t, i: t.organizations.suspend(i),
    "archived": lambda t, i: t.organizations.archive(i),
    "fenced": lambda t, i: t.organizations.fence(i),
    "purged": purge,
    "dropped": lambda t, i: t.schemas.drop(i, confirm=i, force=True),
}

UNAVAILABLE, UNKNOWN = "organization_unavailable", "organization_not_found"

#: What is answered then: status, code, Retry-After.
EXPECTED: dict[str, tuple[int, str, str | None]] = {
    "suspended": (403, UNAVAILABLE, None),
    "archived": (403, UNAVAILABLE, None),
    "fenced": (503, UNAVAILABLE, "1"),
    "purged": (404, UNKNOWN, None),
    "dropped": (404, UNKNOWN, None),
}


def add_routes(trio: Trio, tenancy: Tenancy) -> None:
    """An endpoint that counts, and one that asks the database for nothing."""

    async def count(request: Request) -> Response:
        async with tenancy.session() as session:
            return PlainTextResponse(str(await session.scalar(COUNT)))

    async def idle(request: Request) -> Response:
        return PlainTextResponse("0")

    starlette: Starlette = trio.starlette
    starlette.router.routes += [Route("/count", count), Route("/idle", idle)]
    fastapi: FastAPI = trio.fastapi

    @fastapi.get("/count")
    async def fastapi_count(session: CurrentSession) -> Response:
        return PlainTextResponse(str(await session.scalar(COUNT)))

    @fastapi.get("/idle")
    async def fastapi_idle() -> Response:
        return PlainTextResponse("0")

    flask: Flask = trio.flask

    @flask.get("/count")
    def flask_count() -> tuple[str, dict[str, str]]:
        return str(current_session().scalar(COUNT)), {"content-type": "text/plain; charset=utf-8"}

    @flask.get("/idle")
    def flask_idle() -> tuple[str, dict[str, str]]:
        return "0", {"content-type": "text/plain; charset=utf-8"}


def check(answer: Answer, status: int, code: str, retry_after: str | None) -> None:
    assert (answer.status, answer.json["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers.get("retry-after") == retry_after
    for inside in ("org_", "orgtenancy_", "SELECT", "notes"):
        assert inside not in answer.text


@pytest.mark.parametrize("status", CLOSE)
def test_a_closed_organization_is_refused_before_an_endpoint_runs(
    status: str,
    trio_of: MakeTrio,
    tenancy: Tenancy,
    organization: Organization,
    member: Member,
) -> None:
    trio = trio_of()
    add_routes(trio, tenancy)
    headers = member(organization)
    assert trio.ask("GET", "/count", headers).text == "0"
    CLOSE[status](tenancy, organization.id)
    for path in ("/idle", "/count", "/nowhere"):
        answer = trio.ask("GET", path, headers)
        check(answer, *EXPECTED[status])
        if answer.status == 403:
            assert answer.json["detail"] == f"the organization is {status}"


def test_an_organization_that_never_was_is_404(
    trio_of: MakeTrio, tenancy: Tenancy, member: Member
) -> None:
    trio = trio_of()
    add_routes(trio, tenancy)
    answer = trio.ask("GET", "/idle", member("nobody-knows-it"))
    check(answer, 404, UNKNOWN, None)


def test_one_that_is_opened_again_is_served(
    trio_of: MakeTrio, tenancy: Tenancy, organization: Organization, member: Member
) -> None:
    trio = trio_of()
    add_routes(trio, tenancy)
    for close, open_again in (
        (Organizations.suspend, Organizations.resume),
        (Organizations.archive, Organizations.restore),
        (Organizations.fence, Organizations.unfence),
    ):
        close(tenancy.organizations, organization.id)
        open_again(tenancy.organizations, organization.id)
        assert trio.ask("GET", "/count", member(organization)).text == "0"


@pytest.fixture
def elsewhere(
    server: embedded.EmbeddedServer, tenancy: Tenancy, event_loop_runner: asyncio.Runner
) -> Iterator[Tenancy]:
    """A process that hears of nothing, and remembers for long."""
    settings = Settings(listen=False, registry_max_age=600)
    elsewhere = Tenancy(server.url, modules=[notes], settings=settings)
    yield elsewhere
    event_loop_runner.run(elsewhere.aclose())


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("status", CLOSE)
def test_a_process_that_has_not_heard_of_it_is_refused_by_the_database(
    status: str,
    framework: str,
    trio_of: MakeTrio,
    tenancy: Tenancy,
    elsewhere: Tenancy,
    organization: Organization,
    member: Member,
) -> None:
    trio = trio_of(tenancy=elsewhere)
    add_routes(trio, elsewhere)
    headers = member(organization)
    assert trio.send(framework, "GET", "/count", headers).text == "0"
    CLOSE[status](tenancy, organization.id)
    # It still believes that the organization is open, until it asks.
    assert trio.send(framework, "GET", "/idle", headers).status == 200
    check(trio.send(framework, "GET", "/count", headers), *EXPECTED[status])
    assert trio.send(framework, "GET", "/idle", headers).status == EXPECTED[status][0]
