"""The fixtures' sessions: bound or not, on any event loop, and nothing stays behind."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from orgtenancy import Organization, Tenancy, current_organization
from tests.support.notes import AsyncNoteRepository, NoteRepository
from tests.testing.conftest import Run

pytest_plugins = ["pytester"]


def test_the_session_is_bound_to_the_context(
    organization: Organization, organization_session: Session
) -> None:
    assert current_organization().id == organization.id
    NoteRepository().write(1, "hello")
    assert organization_session.scalar(text("SELECT body FROM notes")) == "hello"


def test_the_async_session_works_in_any_event_loop(
    tenancy: Tenancy, organization: Organization, organization_async_session: AsyncSession
) -> None:
    async def write() -> None:
        await AsyncNoteRepository(organization_async_session).write(1, "hello")
        await organization_async_session.commit()

    async def count() -> int:
        return await AsyncNoteRepository(organization_async_session).count()

    asyncio.run(write())
    with tenancy.session(organization):
        assert NoteRepository().count() == 1
    assert asyncio.run(count()) == 1


@pytest.mark.slow
def test_what_is_not_committed_is_rolled_back(run_on_server: Run) -> None:
    conftest = """
import pytest
from tests.support.notes import NoteRepository, notes

@pytest.fixture(scope="session")
def orgtenancy_modules():
    return [notes]

@pytest.fixture(autouse=True)
def looks_after_each_test(tenancy, organization):
    yield
    with tenancy.session(organization):
        assert NoteRepository().count() == 0
    assert tenancy.engine.pool.checkedout() == 0
    assert tenancy.async_engine.pool.checkedout() == 0
"""
    test = """
import asyncio
import pytest
from tests.support.notes import AsyncNoteRepository, NoteRepository

def test_sync(organization_session):
    NoteRepository().write(1, "hello")

def test_async(organization_async_session):
    asyncio.run(AsyncNoteRepository(organization_async_session).write(1, "hello"))

def test_unused(organization_session, organization_async_session):
    pass

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
@pytest.mark.parametrize("number", range(3))
async def test_anyio(number, organization_async_session, tenancy, organization):
    await AsyncNoteRepository(organization_async_session).write(1, "hello")
    async with tenancy.session(organization) as session:
        assert await AsyncNoteRepository(session).count() == 0
"""
    result = run_on_server({"conftest.py": conftest, "test_own.py": test}, "-W", "error")
    result.assert_outcomes(passed=6)
