"""Both ways to ask a gate, and a database of the module's own."""

from __future__ import annotations

import asyncio

import pytest

from orgtenancy.identity import Gate
from tests.identity.asking import Identify
from tests.registry.conftest import database
from tests.schemas.conftest import bare_database

__all__ = ["bare_database", "database"]


@pytest.fixture(params=["sync", "async"])
def identify(request: pytest.FixtureRequest, event_loop_runner: asyncio.Runner) -> Identify:
    """Asks a gate, in the sync and in the async way."""
    if request.param == "sync":
        return Gate.identify
    return lambda gate, asked: event_loop_runner.run(gate.identify_async(asked))
