"""Requests of members and strangers, to apps on the real server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from starlette.types import ASGIApp

from orgtenancy import Organization, Tenancy, embedded
from orgtenancy.identity import HeaderResolver, Resolver, StaticKeys, TokenResolver, logto
from tests.adapters.asgi import Answer, request
from tests.adapters.board import board
from tests.adapters.hosts import Hosts, make_hosts
from tests.adapters.trio import MakeTrio, Trio, make_trio
from tests.identity.signing import Signer, claims, key_set
from tests.support.notes import notes

SIGNER = Signer("key")
LOGTO = logto("https://issuer.example", audiences=["https://api.example.com"])


@pytest.fixture(scope="session")
def tenancy(
    server: embedded.EmbeddedServer, event_loop_runner: asyncio.Runner
) -> Iterator[Tenancy]:
    """An installed tenancy without the community: its schemas are made in no time."""
    tenancy = Tenancy(server.url, admin_url=server.admin_url, modules=[notes])
    tenancy.install()
    yield tenancy
    event_loop_runner.run(tenancy.aclose())


@pytest.fixture(scope="session")
def tokens() -> TokenResolver:
    """Opens the organization that a token names."""
    return LOGTO.resolver(StaticKeys(key_set(SIGNER)))


@pytest.fixture(scope="session")
def by_header() -> HeaderResolver:
    """Opens the organization that `X-Organization` names."""
    return LOGTO.header_resolver(keys=StaticKeys(key_set(SIGNER)))


Member = Callable[..., dict[str, str]]


@pytest.fixture(scope="session")
def member() -> Member:
    """Makes the headers of an organization's member."""

    def headers(
        organization: Organization | str | None, user: str = "alice", scope: str = "", **more: Any
    ) -> dict[str, str]:
        known = organization.id if isinstance(organization, Organization) else organization
        token = SIGNER.sign(claims(organization_id=known, sub=user, scope=scope or None, **more))
        return {"authorization": f"Bearer {token}"}

    return headers


Call = Callable[..., Answer]


@pytest.fixture
def call(event_loop_runner: asyncio.Runner) -> Call:
    """Sends one request to an app, and returns the whole answer."""

    def send(app: ASGIApp, method: str, path: str, headers: dict[str, str] | None = None) -> Answer:
        return event_loop_runner.run(request(app, method, path, headers))

    return send


SetStatus = Callable[[Organization, str], None]


@pytest.fixture
def set_status(server: embedded.EmbeddedServer) -> SetStatus:
    """Writes a status into the registry, as another process would."""

    def write(organization: Organization, status: str) -> None:
        url = server.admin_url.replace("postgresql+psycopg://", "postgresql://", 1)
        with psycopg.connect(url) as connection:
            changed = connection.execute(
                "UPDATE orgtenancy.organizations SET status = %s WHERE id = %s",
                (status, organization.id),
            )
            assert changed.rowcount == 1

    return write


@pytest.fixture(scope="session")
def board_tenancy(
    server: embedded.EmbeddedServer, tenancy: Tenancy, event_loop_runner: asyncio.Runner
) -> Iterator[Tenancy]:
    """A tenancy on the same database, whose notes have an HTTP API."""
    board_tenancy = Tenancy(server.url, admin_url=server.admin_url, modules=[board])
    yield board_tenancy
    event_loop_runner.run(board_tenancy.aclose())


@pytest.fixture
def hosts(
    tenancy: Tenancy,
    board_tenancy: Tenancy,
    tokens: TokenResolver,
    member: Member,
    event_loop_runner: asyncio.Runner,
) -> Hosts:
    """Apps of all frameworks, with the board and an organization for each of them."""
    organizations = [tenancy.schemas.provision(f"t{uuid4().hex[:12]}") for _ in range(3)]
    return make_hosts(board_tenancy, tokens, organizations, member, event_loop_runner)


@pytest.fixture
def trio_of(tenancy: Tenancy, tokens: TokenResolver, event_loop_runner: asyncio.Runner) -> MakeTrio:
    """Makes an app of each framework, for a test to add its routes to."""

    def make(*, tenancy: Tenancy = tenancy, resolver: Resolver = tokens, **options: Any) -> Trio:
        return make_trio(tenancy, resolver, event_loop_runner, **options)

    return make
