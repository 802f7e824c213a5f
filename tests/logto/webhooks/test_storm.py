"""A thousand events in any order, and workers that die: the end is what Logto has."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orgtenancy.testing import SignedWebhook, logto_webhook, signed_webhook
from tests.adapters.asgi import request
from tests.logto.webhooks.world import KEY, World, app_of, new_id
from tests.registry.worker import Dialogue, dialogue
from tests.schemas.databases import all_organizations, eventually

pytestmark = pytest.mark.slow

ORGANIZATIONS = 60
EVENTS = 1000


class Source:
    """Logto: what happened there, and how it is in the end.

    Attributes:
        bodies: What was sent, in the order in which it happened.
        names: The organizations that there are, by id, and their names.
        deleted: The ids of those that there were.
        removed: Who was removed from which organization.
        actors: What became of users.
    """

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.bodies: list[dict[str, Any]] = []
        self.names: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.removed: set[tuple[str, str]] = set()
        self.actors: dict[str, str] = {}
        self.clock = datetime.now(UTC) - timedelta(seconds=120)

    def live(self, count: int) -> None:
        """Let so many things happen."""
        ids = [new_id() for _ in range(ORGANIZATIONS)]
        users = [f"u{new_id()}" for _ in range(15)]
        while len(self.bodies) < count:
            if ids and self.dice.random() < 0.1:
                self._create(ids.pop())
            elif self.names:
                self._happen(self.dice.choice(sorted(self.names)), self.dice.choice(users))

    def _create(self, one: str) -> None:
        self.names[one] = f"{one} at first"
        self._tell("organization_created", organization=one, name=self.names[one])

    def _happen(self, one: str, user: str) -> None:
        match self.dice.choices(["rename", "remove", "add", "user", "delete"], [6, 3, 2, 2, 0.5])[
            0
        ]:
            case "rename":
                self.names[one] = f"{one} {len(self.bodies)}"
                self._tell("organization_updated", organization=one, name=self.names[one])
            case "remove":
                self.removed.add((one, user))
                self._tell("member_removed", organization=one, user=user)
            case "add":
                self._tell("members_added", organization=one)
            case "user":
                is_out = self.actors.get(user) == "suspended"
                self.actors[user] = "active" if is_out else "suspended"
                self._tell("user_resumed" if is_out else "user_suspended", user=user)
            case "delete":
                del self.names[one]
                self.deleted.add(one)
                self._tell("organization_deleted", organization=one)

    def _tell(self, kind: str, **options: Any) -> None:
        self.clock += timedelta(milliseconds=self.dice.randint(1, 100))
        self.bodies.append(logto_webhook(kind, at=self.clock, **options))

    def evil(self, one: str) -> dict[str, Any]:
        """Return something that did not happen."""
        kind = self.dice.choice(["organization_created", "organization_deleted", "member_removed"])
        return logto_webhook(kind, organization=one, user="victim", at=self.clock)


@pytest.mark.parametrize("seed", [1])
def test_a_thousand_events_in_any_order_with_workers_that_die_end_as_the_source(
    world: World, event_loop_runner: asyncio.Runner, seed: int
) -> None:
    dice = random.Random(seed)
    source = Source(dice)
    source.live(EVENTS)
    genuine = [signed_webhook(body, KEY) for body in source.bodies]
    forged = [
        signed_webhook(source.evil(dice.choice([*source.names, new_id()])), "another key")
        for _ in range(60)
    ]
    stale = [
        signed_webhook({**source.evil(one), "createdAt": "2025-11-23T04:33:10.896Z"}, KEY)
        for one in dice.sample(sorted(source.names), 20)
    ]
    again = dice.sample(genuine, 150)
    # Some order is left, as it is in a network.
    deliveries = sorted(
        enumerate([*genuine, *forged, *stale]), key=lambda one: one[0] + dice.uniform(-200, 200)
    )
    posted = [*(webhook for _, webhook in deliveries), *again]
    posted[300:] = dice.sample(posted[300:], len(posted) - 300)
    world.tenancy.schemas.spares.fill(30)
    world.database.ask("TRUNCATE orgtenancy.audit")

    with working(world) as first, working(world) as second:
        statuses = post(world, event_loop_runner, posted[:700])
        first.process.kill()
        statuses += post(world, event_loop_runner, posted[700:])
        eventually(lambda: left(world) < EVENTS / 2, 120)
        second.process.kill()
        first.process.wait()
        second.process.wait()
    assert left(world) > 0, "the workers were too fast to be killed midway"
    world.database.wait_until_idle()
    with working(world) as third, working(world) as fourth:
        eventually(lambda: left(world) == 0, 180)
        for worker in (third, fourth):
            worker.process.stdin.close()  # type: ignore[union-attr]
            assert worker.process.wait(30) == 0

    assert Counter(statuses) == {200: EVENTS + len(again), 401: len(forged), 400: len(stale)}
    assert set(world.outcomes()) <= {"done", "superseded"}
    assert len(world.outcomes()) == EVENTS
    assert_same(world, source)


def assert_same(world: World, source: Source) -> None:
    """Compare the registry with the source, and the audit with both."""
    there = {o.id: o for o in all_organizations(world.tenancy)}
    assert {one: o.name for one, o in there.items() if o.is_active} == source.names
    closed = {one: o for one, o in there.items() if not o.is_active}
    assert closed.keys() <= source.deleted  # one whose deletion came first was never made
    assert {o.status for o in closed.values()} == {"archived"}
    assert {o.source for o in there.values()} == {"logto"}
    removed = world.database.ask("SELECT organization_id, actor_id FROM orgtenancy.members")
    assert set(removed) == source.removed
    assert dict(world.database.ask("SELECT id, status FROM orgtenancy.actors")) == source.actors
    told = world.database.ask(
        "SELECT organization_id, action, count(*) FROM orgtenancy.audit "
        "WHERE result = 'done' AND action IN ('provisioned', 'archived') GROUP BY 1, 2"
    )
    assert {one for one, _, _ in told} <= source.names.keys() | source.deleted
    assert {count for _, _, count in told} == {1}
    assert {(one, "provisioned", 1) for one in there} <= set(told)
    assert {one for one, action, _ in told if action == "archived"} == closed.keys()


def post(world: World, runner: asyncio.Runner, webhooks: list[SignedWebhook]) -> list[int]:
    """Post webhooks, some at a time, and return the answers' statuses."""
    app = app_of(world.receiver)

    async def one(webhook: SignedWebhook) -> int:
        headers = dict(webhook.headers)
        return (await request(app, "POST", "/webhooks/logto", headers, body=[webhook.body])).status

    async def all_of_them() -> list[int]:
        statuses: list[int] = []
        for start in range(0, len(webhooks), 4):
            statuses += await asyncio.gather(*map(one, webhooks[start : start + 4]))
        return statuses

    return runner.run(all_of_them())


def left(world: World) -> int:
    ((count,),) = world.database.ask(
        "SELECT count(*) FROM orgtenancy.inbox WHERE status = 'pending'"
    )
    return int(count)


@contextmanager
def working(world: World, seconds: float = 0) -> Iterator[Dialogue]:
    """Start a worker in another process, and wait until it works."""
    urls = [
        u.render_as_string(hide_password=False)
        for u in (world.database.url, world.database.admin_url)
    ]
    with ExitStack() as stack:
        worker = stack.enter_context(killable("tests.logto.webhooks.working", *urls, str(seconds)))
        assert worker.hear() == "begun"
        yield worker


@contextmanager
def killable(module: str, *arguments: str) -> Iterator[Dialogue]:
    try:
        with dialogue(module, *arguments) as process:
            yield process
    except AssertionError:
        if process.process.returncode != -9:
            raise


def test_an_event_whose_worker_is_killed_is_done_by_the_next_one(world: World) -> None:
    one = new_id()
    with working(world, seconds=60) as worker:
        world.post("organization_created", organization=one)
        assert worker.hear() == one  # in the middle of it
        assert world.worker.run_once() == 0  # as long as it lives, nobody else gets it
        worker.process.kill()
        worker.process.wait()
    world.database.wait_until_idle()
    end = time.monotonic() + 20
    while not world.worker.run_once():
        assert time.monotonic() < end
    assert world.inbox() == [("Organization.Created", one, "done", 1)]
    assert world.actions(one) == ["provisioned"]
