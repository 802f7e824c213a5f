"""A tenancy with one small table, and members of its organizations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from orgtenancy import Tenancy, embedded
from orgtenancy.identity import StaticKeys, TokenResolver, logto
from tests.identity.signing import Signer, claims, key_set
from tests.support.notes import notes

SIGNER = Signer("key")
RESOLVER: TokenResolver = logto(
    "https://issuer.example", audiences=["https://api.example.com"]
).resolver(StaticKeys(key_set(SIGNER)))


@pytest.fixture(scope="session")
def notes_tenancy(
    server: embedded.EmbeddedServer, tenancy: Tenancy, event_loop_runner: asyncio.Runner
) -> Iterator[Tenancy]:
    """A tenancy whose schemas are made in no time, on the same database."""
    notes_tenancy = Tenancy(server.url, admin_url=server.admin_url, modules=[notes])
    yield notes_tenancy
    event_loop_runner.run(notes_tenancy.aclose())


def as_member(organization: str) -> dict[str, str]:
    """Return the headers of an organization's member."""
    token = SIGNER.sign(claims(organization_id=organization, sub="alice"))
    return {"authorization": f"Bearer {token}"}


AsMember = Callable[[str], dict[str, str]]
