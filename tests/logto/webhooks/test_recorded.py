"""Each recorded webhook, from the request to the registry."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orgtenancy import OrganizationStatus, Tenancy
from orgtenancy.identity.logto_sync.inbound.webhooks import SIGNATURE_HEADER
from orgtenancy.testing import signed_webhook
from tests.adapters.asgi import Answer, request
from tests.logto.webhooks.world import KEY, World, app_of, new_id, recent, recordings
from tests.schemas.databases import eventually

USER = "afb6zw2tnuqy"

Post = Callable[..., Answer]


@pytest.fixture
def post(world: World, event_loop_runner: asyncio.Runner) -> Post:
    app = app_of(world.receiver)

    def post(body: bytes, key: str = KEY) -> Answer:
        webhook = signed_webhook(body, key)
        return event_loop_runner.run(
            request(app, "POST", "/webhooks/logto", dict(webhook.headers), body=[webhook.body])
        )

    return post


@pytest.fixture
def working(world: World) -> Iterator[Tenancy]:
    """The tenancy, with a worker as an app's lifespan has one."""
    with world.worker:
        yield world.tenancy


def bodies(organization: str) -> list[bytes]:
    """Return the recorded bodies as of now, for an organization that no other test has."""
    return [recent(body).replace(b"7zp7flxblujn", organization.encode()) for body in recordings()]


def test_each_recorded_webhook_works_from_the_request_to_the_registry(
    world: World, working: Tenancy, post: Post, capsys: pytest.CaptureFixture[str]
) -> None:
    one = new_id()
    working.schemas.spares.fill(1)
    ((spare,),) = world.database.ask("SELECT role_name FROM orgtenancy.spares")
    created, members, updated, applications, removed, suspended, deleted = bodies(one)

    def take(body: bytes) -> None:
        answer = post(body)
        assert (answer.status, answer.json) == (200, {"received": True, "new": True})

    def done(count: int) -> None:
        eventually(lambda: world.outcomes() == ["done"] * count, 60)

    begun = time.perf_counter()
    take(created)
    answered = time.perf_counter()
    eventually(lambda: status_of(world, one) == "active", 60)
    active = time.perf_counter()
    with capsys.disabled():
        print(
            f"\nanswered after {(answered - begun) * 1000:.0f} ms, "
            f"active after {(active - begun) * 1000:.0f} ms"
        )
    done(1)
    organization = working.schemas.get(one)
    assert organization.role_name == spare
    assert (organization.name, organization.source) == ("Acme", "logto")
    with working.session(one):
        pass
    take(members)
    take(updated)
    take(applications)
    done(4)
    assert working.schemas.get(one).name == "Acme 2"
    take(removed)
    done(5)
    assert world.member(one, USER) == "removed"
    take(suspended)
    done(6)
    assert world.actor(USER) == "suspended"
    take(deleted)
    done(7)
    assert working.schemas.get(one).status is OrganizationStatus.ARCHIVED
    assert world.actions(one) == ["provisioned", "renamed", "member_removed", "archived"]
    assert {entry.origin for entry in world.audit(one)} == {"logto:webhook"}


@pytest.mark.parametrize("number", range(7))
def test_a_recorded_webhook_that_is_forged_stale_or_sent_twice_changes_nothing(
    world: World, post: Post, number: int
) -> None:
    one = new_id()
    body = bodies(one)[number]
    answer = post(body)
    assert (answer.status, answer.json["new"]) == (200, True)
    world.worker.run_once()
    before = (world.inbox(), world.audit())
    assert post(body).json == {"received": True, "new": False}
    content: dict[str, Any] = json.loads(body)
    stale = {**content, "createdAt": "2025-11-23T04:33:10.896Z"}
    assert post(json.dumps(stale).encode()).status == 400
    evil = body.replace(one.encode(), new_id().encode()) + b"\n"
    webhook = signed_webhook(evil, "another key")
    assert webhook.headers[SIGNATURE_HEADER] != signed_webhook(evil, KEY).headers[SIGNATURE_HEADER]
    assert post(evil, key="another key").status == 401
    world.worker.run_once()
    assert (world.inbox(), world.audit()) == before


def status_of(world: World, organization_id: str) -> str | None:
    found = world.database.ask(
        "SELECT status FROM orgtenancy.organizations WHERE id = %s", organization_id
    )
    return found[0][0] if found else None
