"""Who gets which event of the inbox, and when."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection

from orgtenancy import Tenancy
from orgtenancy.identity.logto_sync.names import SOURCE
from orgtenancy.registry import inbox
from orgtenancy.registry.inbox import InboxItem
from orgtenancy.schemas.waiting import limit_lock_wait
from tests.logto.webhooks.world import World, ago
from tests.schemas.databases import eventually

BLOCKED = (
    "SELECT true FROM pg_stat_activity WHERE datname = current_database() "
    "AND wait_event_type = 'Lock' AND wait_event = 'advisory'"
)


@contextmanager
def claiming(tenancy: Tenancy) -> Iterator[tuple[Connection, InboxItem | None]]:
    """Claim the next event as a worker does, and hold it for the block."""
    with tenancy._database.admin_engine.begin() as connection:
        limit_lock_wait(connection, 10)
        yield connection, inbox.claim_next(connection, SOURCE)


def put(world: World, subject: str, at: datetime, event: str = "e") -> None:
    with world.tenancy.control_session() as session:
        assert inbox.put(
            session,
            source=SOURCE,
            digest=f"{subject} {at} {event}",
            event=event,
            subject=subject,
            occurred_at=at,
            body={},
        )


def claim(world: World) -> tuple[str, datetime] | None:
    with claiming(world.tenancy) as (_, item):
        return None if item is None else (item.subject, item.occurred_at)


def test_the_event_that_happened_first_goes_first_whenever_it_arrived(world: World) -> None:
    first, second, third = ago(30), ago(20), ago(10)
    for at in (second, third, first):
        put(world, "acme", at)
    order = []
    for _ in range(3):
        with claiming(world.tenancy) as (connection, item):
            assert item is not None
            order.append(item.occurred_at)
            inbox.finish(connection, item, "done")
    assert order == [first, second, third]
    assert claim(world) is None


def test_what_one_has_claimed_nobody_else_gets_nor_anything_of_its_subject(world: World) -> None:
    for subject, seconds in (("acme", 30), ("acme", 20), ("globex", 10)):
        put(world, subject, ago(seconds))
    with claiming(world.tenancy) as (_, one), claiming(world.tenancy) as (_, two):
        assert (one and one.subject, two and two.subject) == ("acme", "globex")
        assert claim(world) is None


def test_an_event_that_waits_for_another_attempt_is_overtaken(world: World) -> None:
    first, second = ago(30), ago(20)
    for at in (first, second):
        put(world, "acme", at)
    with claiming(world.tenancy) as (connection, item):
        assert item is not None
        inbox.retry_later(connection, item, "no luck")
    assert claim(world) == ("acme", second)
    world.make_due()
    assert claim(world) == ("acme", first)


def test_an_earlier_event_that_arrives_only_now_waits_for_the_one_that_is_worked_on(
    world: World,
) -> None:
    put(world, "acme", ago(10))
    got: list[tuple[str, datetime] | None] = []
    other = threading.Thread(target=lambda: got.append(claim(world)))
    with claiming(world.tenancy) as (connection, item):
        assert item is not None
        put(world, "acme", ago(20))
        other.start()
        eventually(lambda: world.database.ask(BLOCKED), 60)
        assert got == []
        inbox.finish(connection, item, "done")
    other.join(10)
    assert got
    assert got[0] is not None


def test_when_its_holder_is_gone_an_event_is_free(world: World) -> None:
    put(world, "acme", ago(10))
    connection = world.tenancy._database.admin_engine.connect()
    assert inbox.claim_next(connection, SOURCE) is not None
    assert claim(world) is None
    connection.invalidate()  # the line is cut, and nothing is said
    connection.close()
    eventually(lambda: claim(world) is not None, 60)


def test_an_event_is_given_up_after_too_many_attempts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "_FIRST_DELAY", 1.0)
    put(world, "acme", ago(10))
    delays = []
    for attempt in range(1, inbox.MAX_ATTEMPTS + 1):
        world.make_due()
        with claiming(world.tenancy) as (connection, item):
            assert item is not None
            assert item.attempts == attempt - 1
            inbox.retry_later(connection, item, f"no luck {attempt}\0\ud800" + "x" * 5000)
        ((delay, error),) = world.database.ask(
            "SELECT available_at - now(), error FROM orgtenancy.inbox"
        )
        delays.append(delay)
        assert error.startswith(f"no luck {attempt}?x")
        assert len(error) == 2000 - 1
    assert world.inbox() == [("e", "acme", "failed", 10)]
    assert timedelta(seconds=0.3) < delays[0] < timedelta(seconds=1.6)
    assert all(delay <= timedelta(seconds=90) for delay in delays)
    assert delays[-2] > timedelta(seconds=25)


def test_a_failed_event_can_be_tried_again_and_no_other(world: World) -> None:
    put(world, "acme", ago(10))
    with claiming(world.tenancy) as (connection, item):
        assert item is not None
        inbox.finish(connection, item, "failed", "no luck")
    with world.tenancy._database.admin_engine.begin() as connection:
        assert not inbox.retry(connection, "another", item.id)
        assert inbox.retry(connection, SOURCE, item.id)
        assert not inbox.retry(connection, SOURCE, item.id)
        assert not inbox.retry(connection, SOURCE, -1)
    assert claim(world) == ("acme", item.occurred_at)


def test_what_is_old_and_done_is_pruned_and_what_is_pending_stays(world: World) -> None:
    for number in range(4):
        put(world, f"o{number}", ago(40 - number))
    for outcome in ("done", "failed", "done"):
        with claiming(world.tenancy) as (connection, item):
            assert item is not None
            inbox.finish(connection, item, outcome)
    world.database.ask(
        "UPDATE orgtenancy.inbox SET finished_at = finished_at - interval '8 days', "
        "received_at = received_at - interval '8 days' WHERE subject <> 'o2'"
    )
    assert world.worker.prune() == 2
    assert [subject for _, subject, _, _ in world.inbox()] == ["o2", "o3"]


@pytest.mark.parametrize(
    ("other", "seconds", "outcome", "is_superseded"),
    [
        ("update", 5, "pending", True),
        ("update", 5, "done", True),
        ("update", 5, "failed", False),
        ("update", 20, "done", False),
        ("delete", 5, "pending", True),
        ("delete", 20, "done", True),
        ("delete", 20, "failed", True),
        ("other", 5, "done", False),
    ],
)
def test_an_event_is_superseded_by_later_ones_and_by_some_at_any_time(
    world: World, other: str, seconds: float, outcome: str, is_superseded: bool
) -> None:
    put(world, "acme", ago(10), "update")
    put(world, "globex", ago(5), "delete")
    put(world, "acme", ago(seconds), other)
    world.database.ask(
        "UPDATE orgtenancy.inbox SET status = %s WHERE id = (SELECT max(id) FROM orgtenancy.inbox)",
        outcome,
    )
    ((number, at),) = world.database.ask("SELECT min(id), min(occurred_at) FROM orgtenancy.inbox")
    item = InboxItem(number, "update", "acme", max(at, ago(10.5)), at, {}, 0)
    with world.tenancy._database.admin_engine.begin() as connection:
        found = inbox.is_superseded(connection, SOURCE, item, by={"update": False, "delete": True})
    assert found == is_superseded
