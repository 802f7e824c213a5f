"""An installed database, and each PgBouncer before it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import URL

from orgtenancy import Organization, Tenancy, embedded
from orgtenancy.community import community
from tests.operations.bouncing import KINDS, Kind, pgbouncer
from tests.schemas.databases import FreshDatabase, fresh_database
from tests.support.notes import notes

MODULES = (community, notes)
MakeTenancy = Callable[..., Tenancy]


@pytest.fixture(scope="module")
def database(server: embedded.EmbeddedServer) -> Iterator[FreshDatabase]:
    with fresh_database(server.url, server.admin_url) as database:
        yield database


@pytest.fixture(scope="module")
def direct(database: FreshDatabase) -> Iterator[Tenancy]:
    """A tenancy with no PgBouncer before it, which also provisions."""
    with database.tenancy(MODULES) as tenancy:
        tenancy.install()
        yield tenancy


@pytest.fixture(scope="module")
def pair(direct: Tenancy) -> tuple[Organization, Organization]:
    """Two organizations."""
    return direct.schemas.provision("north"), direct.schemas.provision("south")


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each PgBouncer that the tests know; one that is missing is skipped with the reason."""
    kind: Kind = request.param
    if kind.missing is not None:
        pytest.skip(kind.missing)
    return kind


@pytest.fixture(scope="module")
def url(kind: Kind, database: FreshDatabase, direct: Tenancy) -> Iterator[URL]:
    """The app's login through it: many clients share two sessions of the server."""
    settings = {**kind.settings, "default_pool_size": 2}
    assert kind.program is not None
    with pgbouncer(
        database.url, pool_mode="transaction", program=kind.program, settings=settings
    ) as [url]:
        yield url


@pytest.fixture
def make(
    kind: Kind, url: URL, database: FreshDatabase, event_loop_runner: asyncio.Runner
) -> Iterator[MakeTenancy]:
    """Makes a tenancy through it, with the settings that the documentation asks for."""
    made: list[Tenancy] = []

    def new(**settings: Any) -> Tenancy:
        tenancy = database.tenancy(MODULES, url=url, **{**kind.app, **settings})
        made.append(tenancy)
        return tenancy

    yield new
    for tenancy in made:
        event_loop_runner.run(tenancy.aclose())


@pytest.fixture(params=[True, False], ids=["one-flush", "begin-by-itself"])
def tenancy(request: pytest.FixtureRequest, make: MakeTenancy) -> Tenancy:
    """A tenancy through it, whose `BEGIN` goes with the first statement, or before it."""
    return make(one_flush=request.param, refuse_session_state=True)
