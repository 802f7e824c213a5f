"""The current organization, session and actor, in threads and tasks."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC, datetime
from threading import Barrier
from typing import Any, cast

import pytest
from contextvars_extras import ContextVarsRegistry

from orgtenancy import Actor, Organization, current_actor, current_organization, current_session
from orgtenancy.context import (
    OrganizationContext,
    actor_var,
    bind,
    organization_var,
    session_var,
)
from orgtenancy.errors import IsolationError, OrganizationContextMissing


def make(organization_id: str) -> Organization:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Organization(
        id=organization_id,
        name=organization_id,
        schema_name=f"org_{organization_id}",
        role_name=f"role_{organization_id}",
        created_at=now,
        updated_at=now,
    )


ACME, GLOBEX = make("acme"), make("globex")


def test_without_a_block_there_is_no_organization_and_no_session() -> None:
    with pytest.raises(OrganizationContextMissing, match=r"tenancy\.organization"):
        current_organization()
    with pytest.raises(OrganizationContextMissing, match=r"tenancy\.session"):
        current_session()
    assert current_actor() is None
    assert issubclass(OrganizationContextMissing, IsolationError)


def test_a_block_binds_and_restores_what_was_bound_before() -> None:
    with bind(organization_var, ACME) as bound:
        assert bound is ACME
        assert current_organization() is ACME
        with bind(organization_var, GLOBEX):
            assert current_organization() is GLOBEX
        assert current_organization() is ACME
    assert organization_var.get() is None


def test_a_block_restores_after_an_error() -> None:
    def fail() -> None:
        with bind(organization_var, ACME), bind(actor_var, Actor(id="u")):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert organization_var.get() is None
    assert current_actor() is None


def test_threads_do_not_see_each_others_organization() -> None:
    barrier = Barrier(8)

    def work(number: int) -> list[str]:
        before = organization_var.get()
        organization, seen = make(f"t{number}"), []
        with bind(organization_var, organization):
            for _ in range(50):
                barrier.wait()
                seen.append(current_organization().id)
        return seen if before is None and organization_var.get() is None else ["leaked"]

    with bind(organization_var, ACME), ThreadPoolExecutor(8) as threads:
        results = list(threads.map(work, range(8)))
        assert current_organization() is ACME
    assert results == [[f"t{n}"] * 50 for n in range(8)]


def test_a_new_thread_starts_without_an_organization() -> None:
    with bind(organization_var, ACME), ThreadPoolExecutor(1) as threads:
        assert threads.submit(organization_var.get).result() is None


def test_tasks_inherit_the_organization_and_do_not_share_changes() -> None:
    async def work(number: int) -> str:
        assert current_organization() is ACME
        with bind(organization_var, make(f"t{number}")):
            for _ in range(20):
                await asyncio.sleep(0)
            return current_organization().id

    async def main() -> list[str]:
        with bind(organization_var, ACME):
            found = await asyncio.gather(*(work(n) for n in range(50)))
            assert current_organization() is ACME
            assert await asyncio.to_thread(current_organization) is ACME
            return found

    assert asyncio.run(main()) == [f"t{n}" for n in range(50)]
    assert organization_var.get() is None


def test_a_cancelled_task_restores_its_organization() -> None:
    seen: list[Organization | None] = []

    async def work() -> None:
        try:
            with bind(organization_var, ACME):
                await asyncio.sleep(60)
        finally:
            seen.append(organization_var.get())

    async def main() -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert seen == [None]


def test_one_variable_bound_by_many_blocks_shares_no_token() -> None:
    first, second = bind(organization_var, ACME), bind(organization_var, GLOBEX)
    with first, second:
        assert current_organization() is GLOBEX
    assert organization_var.get() is None


def test_the_registry_lists_all_variables() -> None:
    assert issubclass(OrganizationContext, ContextVarsRegistry)
    context: Any = cast("Any", OrganizationContext)()
    with bind(organization_var, ACME), bind(actor_var, Actor(id="u")):
        assert dict(context) == {
            "organization": ACME,
            "session": None,
            "actor": Actor(id="u"),
            "origin": "python",
        }
        assert context.organization is ACME
    assert set(context) == {"organization", "session", "actor", "origin"}


def test_the_registry_reads_and_sets_the_variables_themselves() -> None:
    context: Any = cast("Any", OrganizationContext)()

    def work() -> None:
        with context(organization=GLOBEX):
            assert current_organization() is GLOBEX
        context.organization = ACME
        assert current_organization() is ACME
        assert session_var.get() is None

    copy_context().run(work)
    assert organization_var.get() is None


@pytest.mark.parametrize("name", ["organisation", "tenant", "_private"])
def test_an_unknown_name_is_refused_by_the_registry(name: str) -> None:
    context: Any = cast("Any", OrganizationContext)()
    with pytest.raises(AttributeError):
        setattr(context, name, ACME)
    with pytest.raises(AttributeError), context(**{name: ACME}):
        pytest.fail("it was taken")
    with pytest.raises(KeyError):
        context[name] = ACME
    assert set(context) == {"organization", "session", "actor", "origin"}
