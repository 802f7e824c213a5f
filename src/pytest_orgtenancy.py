"""The pytest plugin of orgtenancy: fixtures for a host's tests.

pytest loads it wherever orgtenancy is installed, so it stands outside the package and imports
nothing of it until a test asks for a fixture. `docs/how-to/testing.md` shows how to use it.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orgtenancy import Organization, OrganizationModule, Settings, Tenancy
    from orgtenancy.database.sessions import OrganizationAsyncSession, OrganizationSession
    from orgtenancy.embedded import EmbeddedServer
    from orgtenancy.testing import FakeLogto, LocalIssuer
    from orgtenancy.testing.fixtures import AssertIsolated, SignedToken
    from orgtenancy.testing.stock import Stock

# What names a run to its workers, and the database that was made for this process.
_RUN = pytest.StashKey[str]()
_DATABASE = pytest.StashKey[str]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist which run it belongs to."""
    run = node.config.stash.setdefault(_RUN, secrets.token_hex(4))
    node.workerinput["orgtenancy_run"] = run


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the server that workers shared, when they are gone."""
    if run := config.stash.get(_RUN, None):
        from orgtenancy.testing.serving import remove_server

        remove_server(run)


@pytest.fixture(scope="session")
def orgtenancy_server(pytestconfig: pytest.Config) -> Iterator[EmbeddedServer]:
    """A PostgreSQL: that of `DATABASE_URL`, else an embedded one.

    It has a database of its own for each worker of pytest-xdist.
    """
    from orgtenancy.testing.serving import open_server

    worker = getattr(pytestconfig, "workerinput", {})
    with open_server(worker.get("orgtenancy_run"), worker.get("workerid")) as server:
        pytestconfig.stash[_DATABASE] = server.url
        yield server


@pytest.fixture(scope="session")
def orgtenancy_modules() -> Sequence[OrganizationModule]:
    """The modules of `tenancy`: none. A host overrides it to name its own."""
    return ()


@pytest.fixture(scope="session")
def orgtenancy_settings() -> Settings:
    """The settings of `tenancy`: those of the environment. A host may override it."""
    from orgtenancy import Settings

    return Settings()


@pytest.fixture(scope="session")
def tenancy(
    orgtenancy_server: EmbeddedServer,
    orgtenancy_modules: Sequence[OrganizationModule],
    orgtenancy_settings: Settings,
) -> Iterator[Tenancy]:
    """An installed tenancy. A host may override it with its own, which it installs itself."""
    from orgtenancy import Tenancy
    from orgtenancy.testing.pooled import watch_pools

    watch_pools()
    tenancy = Tenancy(
        orgtenancy_server.url,
        admin_url=orgtenancy_server.admin_url,
        modules=orgtenancy_modules,
        settings=orgtenancy_settings,
    )
    tenancy.install()
    yield tenancy
    asyncio.run(tenancy.aclose())


@pytest.fixture(scope="session")
def orgtenancy_stock(tenancy: Tenancy, pytestconfig: pytest.Config) -> Iterator[Stock]:
    """Where the organizations of the tests come from, and where they go back to."""
    from orgtenancy.testing.pooled import watch_pools
    from orgtenancy.testing.stock import Stock

    watch_pools()
    stock = Stock(tenancy)
    yield stock
    # A database that was made for this run is dropped as a whole.
    if str(tenancy.engine.url.render_as_string(False)) != pytestconfig.stash.get(_DATABASE, None):
        stock.close()


@pytest.fixture
def organization(orgtenancy_stock: Stock, tenancy: Tenancy) -> Iterator[Organization]:
    """An organization without a row, for this test."""
    from orgtenancy.testing.stock import lent

    with lent(orgtenancy_stock, tenancy, 1) as (organization,):
        yield organization


@pytest.fixture
def two_organizations(
    orgtenancy_stock: Stock, tenancy: Tenancy
) -> Iterator[tuple[Organization, Organization]]:
    """Two organizations without a row, neither of which is `organization`."""
    from orgtenancy.testing.stock import lent

    with lent(orgtenancy_stock, tenancy, 2) as (first, second):
        yield first, second


@pytest.fixture
def organization_session(
    tenancy: Tenancy, organization: Organization
) -> Iterator[OrganizationSession]:
    """A session of `organization`, which is bound to the context with it.

    What the test has not committed is rolled back behind it.
    """
    with tenancy.session(organization) as session:
        yield session
        session.rollback()


@pytest.fixture
def organization_async_session(
    tenancy: Tenancy, organization: Organization
) -> Iterator[OrganizationAsyncSession]:
    """An async session of `organization`, for whatever event loop the test has.

    It is not bound to the context, which an event loop may not see: give it to repositories.
    What the test has not committed is rolled back behind it.
    """
    session = tenancy._database.async_session(organization)
    yield session
    if session.in_transaction():  # the test's event loop may be gone
        asyncio.run(session.close())


@pytest.fixture
def assert_isolated(tenancy: Tenancy) -> AssertIsolated:
    """Returns a block in which only the organizations that it is given may be changed."""
    from functools import partial

    from orgtenancy.testing.changes import isolated

    return partial(isolated, tenancy)


@pytest.fixture
def issuer() -> Iterator[LocalIssuer]:
    """An issuer on this machine, with a key for ES384 and one for RS256."""
    from orgtenancy.testing import LocalIssuer

    with LocalIssuer("ES384", also=["RS256"]) as issuer:
        yield issuer


@pytest.fixture
def fake_logto() -> Iterator[FakeLogto]:
    """A Logto on this machine with nothing in it; `fake_logto.settings()` leads to it."""
    from orgtenancy.testing import FakeLogto

    with FakeLogto() as fake:
        yield fake


@pytest.fixture
def signed_token(issuer: LocalIssuer) -> SignedToken:
    """Makes tokens of every provider's shape; `issuer.keys()` verifies them."""
    from orgtenancy.testing.fixtures import token_signer

    return token_signer(issuer)
