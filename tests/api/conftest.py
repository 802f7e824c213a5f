"""What the tests of the whole API share: people with tokens, and apps of every framework."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import uuid4

import pytest

from orgtenancy import Organization, Tenancy
from orgtenancy.identity import StaticKeys, TokenResolver
from tests.adapters import asgi, wsgi
from tests.adapters.asgi import Answer
from tests.adapters.conftest import LOGTO, SIGNER
from tests.adapters.hosts import fastapi_app, flask_app, starlette_app
from tests.identity.signing import claims, key_set

Send = Callable[..., Answer]


def token_of(organization_id: str, user: str, scope: str = "") -> str:
    """Return a token of a person, whose claims name them."""
    known = {"username": user, "name": f"{user.title()} Lovelace"}
    return SIGNER.sign(claims(organization_id=organization_id, sub=user, scope=scope, **known))


@pytest.fixture(scope="session")
def tokens() -> TokenResolver:
    """Opens the organization that a token names."""
    return LOGTO.resolver(StaticKeys(key_set(SIGNER)))


@pytest.fixture
def pair(tenancy: Tenancy) -> Callable[[], dict[str, Organization]]:
    """Makes two fresh organizations, north and south."""
    return lambda: {
        name: tenancy.schemas.provision(f"t{uuid4().hex[:12]}") for name in ("north", "south")
    }


@pytest.fixture
def senders(
    tenancy: Tenancy, tokens: TokenResolver, event_loop_runner: asyncio.Runner
) -> dict[str, Send]:
    """Sends requests to an app of each framework."""
    fastapi, starlette = fastapi_app(tenancy, tokens), starlette_app(tenancy, tokens)
    flask = flask_app(tenancy, tokens)
    return {
        "fastapi": lambda *a, **k: event_loop_runner.run(asgi.request(fastapi, *a, **k)),
        "starlette": lambda *a, **k: event_loop_runner.run(asgi.request(starlette, *a, **k)),
        "flask": lambda *a, **k: wsgi.request(flask, *a, **k),
    }
