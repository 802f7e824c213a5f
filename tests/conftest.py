"""One real server for the whole run; the organizations of the tests are the plugin's."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator

import pytest

import pytest_orgtenancy
from orgtenancy import Settings, Tenancy, embedded
from orgtenancy.community import community
from tests.support.notes import notes
from tests.support.runner import AsyncRunner, Runner, SyncRunner


def pytest_configure(config: pytest.Config) -> None:
    """Load the plugin also where this tree is on the path and not installed."""
    if not config.pluginmanager.has_plugin("orgtenancy"):
        config.pluginmanager.register(pytest_orgtenancy, "orgtenancy")


@pytest.fixture(scope="session", autouse=True)
def signals_as_in_a_terminal() -> None:
    """Processes started by tests end by the signals that their users send.

    A shell starts background jobs with SIGINT ignored, and `nohup` ignores SIGHUP; both
    are inherited.
    """
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def server() -> Iterator[embedded.EmbeddedServer]:
    """A PostgreSQL: `DATABASE_URL`, else the embedded one."""
    with embedded.server() as server:
        yield server


@pytest.fixture(scope="session")
def event_loop_runner() -> Iterator[asyncio.Runner]:
    """The one event loop that the shared async engine belongs to."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def tenancy(
    server: embedded.EmbeddedServer, event_loop_runner: asyncio.Runner
) -> Iterator[Tenancy]:
    """An installed tenancy with the community module and a small one of a host."""
    tenancy = Tenancy(server.url, admin_url=server.admin_url, modules=[community, notes])
    tenancy.install()
    yield tenancy
    event_loop_runner.run(tenancy.aclose())


@pytest.fixture
def make_tenancy(
    server: embedded.EmbeddedServer, tenancy: Tenancy
) -> Iterator[Callable[..., Tenancy]]:
    """Makes another tenancy on the same database, with pools and caches of its own."""
    made: list[Tenancy] = []

    def make(**changes: object) -> Tenancy:
        other = Tenancy(
            server.url,
            admin_url=server.admin_url,
            modules=[community, notes],
            settings=Settings.model_validate(changes),
        )
        made.append(other)
        return other

    yield make
    for other in made:
        other.close()


@pytest.fixture(params=["sync", "async"])
def run(
    request: pytest.FixtureRequest, tenancy: Tenancy, event_loop_runner: asyncio.Runner
) -> Runner:
    """Runs a function of a session, on the sync and on the async engine."""
    if request.param == "sync":
        return SyncRunner(tenancy)
    return AsyncRunner(tenancy, event_loop_runner)
