"""A Logto on this machine, and a database for the organizations of one test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orgtenancy import Tenancy
from orgtenancy.testing import FakeLogto
from tests.logto.times import Clock
from tests.logto.worlds import World
from tests.schemas.conftest import bare_database, installed, make_module

__all__ = ["bare_database", "installed", "make_module"]


@pytest.fixture
def fake() -> Iterator[FakeLogto]:
    with FakeLogto() as fake:
        yield fake


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tenancy(installed: Tenancy) -> Tenancy:
    """A tenancy with nothing in its registry, in place of the one that all tests share."""
    return installed


@pytest.fixture
def world(fake: FakeLogto, tenancy: Tenancy, clock: Clock) -> Iterator[World]:
    with clock.api(fake, page_size=10) as api:
        yield World(fake, tenancy, api)
