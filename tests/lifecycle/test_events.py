"""What the host hears of, and when."""

from __future__ import annotations

import asyncio
import logging
import threading
from itertools import pairwise

import pytest

from orgtenancy import Tenancy, acting
from orgtenancy.errors import ConfigurationError, TransitionRefused
from orgtenancy.operations.lifecycle import LifecycleEvents
from orgtenancy.organizations import LifecycleEvent
from tests.lifecycle.worlds import S, history, new_id, reach
from tests.schemas.databases import FreshDatabase

KINDS = sorted(name for name in vars(LifecycleEvents) if name.startswith("on_"))


def listen(tenancy: Tenancy) -> list[LifecycleEvent]:
    """Register for everything, and return the list that it is put into."""
    heard: list[LifecycleEvent] = []
    for name in KINDS:
        register = getattr(tenancy.organizations, name)
        assert register(heard.append) is not None
    return heard


def test_a_life_is_told_in_its_order(installed: Tenancy) -> None:
    heard, organizations = listen(installed), installed.organizations
    organization_id, later = new_id(), new_id()
    with acting("jane", "test"):
        installed.schemas.provision(organization_id)
        organizations.suspend(organization_id)
        organizations.resume(organization_id)
        organizations.fence(organization_id)
        organizations.unfence(organization_id)
        organizations.rename(organization_id, "Acme")
        organizations.change_id(organization_id, later)
        organizations.archive(later)
        organizations.restore(later)
        organizations.archive(later)
        organizations.purge(later, confirm=later, now=True)
    kinds = [event.kind for event in heard]
    assert kinds == [
        *("provisioned", "suspended", "resumed", "fenced", "unfenced", "renamed", "id_changed"),
        *("archived", "restored", "archived", "purged"),
    ]
    # It moves where there are several placements: tests/placements/test_move.py. One that is
    # adopted comes from elsewhere.
    assert {f"on_{kind}" for kind in kinds} == set(KINDS) - {"on_moved", "on_adopted"}
    assert {(event.actor_id, event.origin) for event in heard} == {("jane", "test")}
    assert heard[0].previous is None
    for before, after in pairwise(heard):
        assert after.previous
        # That a purge begins is a change of the row as well.
        ignored = {"updated_at"}
        was, is_now = before.organization, after.previous
        assert is_now.model_dump(exclude=ignored) == was.model_dump(exclude=ignored)
    assert (heard[6].organization.id, heard[-1].organization.status) == (later, S.PURGED)


def test_what_changed_nothing_or_was_refused_is_not_told(installed: Tenancy) -> None:
    organization_id = reach(installed, S.SUSPENDED)
    heard = listen(installed)
    installed.organizations.suspend(organization_id)
    with pytest.raises(TransitionRefused):
        installed.organizations.fence(organization_id)
    active = reach(installed, S.ACTIVE)
    installed.schemas.provision(active)
    assert [event.kind for event in heard] == ["provisioned"]


def test_a_handler_runs_after_the_commit_in_the_thread_that_did_the_work(
    database: FreshDatabase, installed: Tenancy
) -> None:
    seen: list[tuple[object, bool]] = []

    @installed.organizations.on_suspended
    def look(event: LifecycleEvent) -> None:
        ((status,),) = database.ask(
            "SELECT status FROM orgtenancy.organizations WHERE id = %s", event.organization.id
        )
        seen.append((status, threading.current_thread() is threading.main_thread()))

    assert look.__name__ == "look"
    installed.organizations.suspend(reach(installed, S.ACTIVE))
    asyncio.run(installed.organizations.suspend_async(reach(installed, S.ACTIVE)))
    assert seen == [("suspended", True), ("suspended", False)]


def test_a_handler_that_fails_changes_nothing_and_keeps_no_other_from_hearing(
    installed: Tenancy, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    @installed.organizations.on_suspended
    def fail(event: LifecycleEvent) -> None:
        raise ValueError("of the host")

    @installed.organizations.on_suspended
    def hear(event: LifecycleEvent) -> None:
        heard.append(event.organization.id)

    organization_id = reach(installed, S.ACTIVE)
    with caplog.at_level(logging.ERROR, "orgtenancy.lifecycle"):
        assert installed.organizations.suspend(organization_id).status is S.SUSPENDED
    assert heard == [organization_id]
    assert "of the host" in caplog.text
    assert history(installed, organization_id)[-1].action == "suspended"


def test_a_coroutine_function_is_refused_as_a_handler(installed: Tenancy) -> None:
    async def handle(event: LifecycleEvent) -> None: ...

    class Handler:
        async def __call__(self, event: LifecycleEvent) -> None: ...

    for handler in (handle, Handler()):
        with pytest.raises(ConfigurationError, match="plain function"):
            installed.organizations.on_fenced(handler)  # type: ignore[arg-type]


def test_two_calls_that_provision_one_organization_tell_of_it_once(installed: Tenancy) -> None:
    heard = listen(installed)
    organization_id = new_id()
    threads = [
        threading.Thread(target=installed.schemas.provision, args=[organization_id])
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.kind for event in heard] == ["provisioned"]
    assert [entry.action for entry in history(installed, organization_id)] == ["provisioned"]
