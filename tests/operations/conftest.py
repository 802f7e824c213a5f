"""Databases of a test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from orgtenancy import Tenancy, embedded
from tests.schemas.databases import FreshDatabase, fresh_database


@pytest.fixture
def database(server: embedded.EmbeddedServer) -> Iterator[FreshDatabase]:
    """A database in which nothing was installed."""
    with fresh_database(server.url, server.admin_url) as database:
        yield database


@pytest.fixture
def installed(database: FreshDatabase) -> Iterator[Tenancy]:
    """A tenancy on it, with two organizations."""
    with database.tenancy() as tenancy:
        tenancy.install()
        for name in ("a", "b"):
            tenancy.schemas.provision(name)
        yield tenancy


@pytest.fixture
def make_login(database: FreshDatabase) -> Iterator[Callable[[str], str]]:
    """Makes a login with attributes of its own."""
    made: list[str] = []

    def make(attributes: str) -> str:
        login = f"login_{uuid4().hex[:10]}"
        database.ask(f"CREATE ROLE {login} LOGIN PASSWORD 'secret' {attributes}")
        made.append(login)
        return login

    yield make
    for login in made:
        database.ask(f"DROP OWNED BY {login} CASCADE")
        database.ask(f"DROP ROLE {login}")
