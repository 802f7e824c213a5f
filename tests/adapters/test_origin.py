"""The audit tells from where an organization was changed, whatever framework served it."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from orgtenancy import Organization, Tenancy, current_organization
from orgtenancy.context import bind, current_origin, origin_var
from tests.adapters.conftest import Member
from tests.adapters.trio import FRAMEWORKS, MakeTrio, Trio


def add_to_starlette(app: Starlette, tenancy: Tenancy) -> None:
    async def rename_async(request: Request) -> Response:
        await tenancy.organizations.rename_async(current_organization().id, "Async")
        return PlainTextResponse(current_origin())

    def rename(request: Request) -> Response:
        tenancy.organizations.rename(current_organization().id, "Sync")
        return PlainTextResponse(current_origin())

    async def tell(request: Request) -> Response:
        return PlainTextResponse(current_origin())

    app.router.routes += [
        Route("/async", rename_async, methods=["POST"]),
        Route("/sync", rename, methods=["POST"]),
        Route("/open", tell),
    ]


def add_to_fastapi(app: FastAPI, tenancy: Tenancy) -> None:
    @app.post("/async")
    async def rename_async() -> Response:
        await tenancy.organizations.rename_async(current_organization().id, "Async")
        return PlainTextResponse(current_origin())

    @app.post("/sync")
    def rename() -> Response:
        tenancy.organizations.rename(current_organization().id, "Sync")
        return PlainTextResponse(current_origin())

    @app.get("/open")
    def tell() -> Response:
        return PlainTextResponse(current_origin())


def add_to_flask(app: Flask, tenancy: Tenancy) -> None:
    @app.post("/async")
    async def rename_async() -> str:
        await tenancy.organizations.rename_async(current_organization().id, "Async")
        return current_origin()

    @app.post("/sync")
    def rename() -> str:
        tenancy.organizations.rename(current_organization().id, "Sync")
        return current_origin()

    @app.get("/open")
    def tell() -> str:
        return current_origin()


@pytest.fixture
def trio(trio_of: MakeTrio, tenancy: Tenancy) -> Trio:
    trio = trio_of(exempt=["/open"])
    add_to_starlette(trio.starlette, tenancy)
    add_to_fastapi(trio.fastapi, tenancy)
    add_to_flask(trio.flask, tenancy)
    return trio


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(("path", "name"), [("/async", "Async"), ("/sync", "Sync")])
def test_the_audit_knows_who_renamed_an_organization_and_from_where(
    framework: str,
    path: str,
    name: str,
    trio: Trio,
    tenancy: Tenancy,
    organization: Organization,
    member: Member,
) -> None:
    headers = member(organization, "ann")
    answer = trio.send(framework, "POST", path, headers, client="203.0.113.7")
    assert (answer.status, answer.text) == (200, "http:203.0.113.7")
    entry = tenancy.organizations.audit(organization_id=organization.id).items[0]
    assert (entry.action, entry.actor_id, entry.origin, entry.result) == (
        "renamed",
        "ann",
        "http:203.0.113.7",
        "done",
    )
    assert tenancy.organizations.get(organization.id).name == name


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("client", "origin"),
    [
        ("203.0.113.7", "http:203.0.113.7"),
        ("::ffff:203.0.113.7", "http:203.0.113.7"),
        ("2001:DB8:0::1", "http:2001:db8::1"),
        ("fe80::1%eth0", "http:fe80::1"),
        ("testclient", "http"),
        ("", "http"),
    ],
)
def test_an_address_has_one_spelling_and_what_is_none_is_left_out(
    framework: str, client: str, origin: str, trio: Trio
) -> None:
    assert trio.send(framework, "GET", "/open", client=client).text == origin


def test_the_origin_ends_with_the_request(trio: Trio) -> None:
    with bind(origin_var, "cli:ann@host"):
        for framework in FRAMEWORKS:
            assert trio.send(framework, "GET", "/open").text == "http:127.0.0.1"
            assert current_origin() == "cli:ann@host"
