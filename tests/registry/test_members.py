"""What is written of members: whatever the order in which it is heard, the end is the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import permutations
from uuid import uuid4

import pytest
from sqlalchemy import Connection

from orgtenancy import Tenancy
from orgtenancy.registry.members import (
    MemberStatus,
    Standing,
    find_standing,
    set_actor,
    set_member,
)
from tests.schemas.databases import FreshDatabase

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST, SECOND, THIRD = (START + timedelta(seconds=n) for n in range(3))


@pytest.fixture(scope="module")
def tenancy(database: FreshDatabase) -> Iterator[Tenancy]:
    with database.tenancy() as tenancy:
        yield tenancy


@pytest.fixture
def connection(tenancy: Tenancy) -> Iterator[Connection]:
    with tenancy._database.admin_engine.connect() as connection:
        yield connection
        connection.rollback()


def test_nothing_is_known_of_whom_nobody_told(connection: Connection) -> None:
    assert find_standing(connection, "acme", "ann") == Standing()


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_order_in_which_events_arrive_does_not_count(
    connection: Connection, order: tuple[int, ...]
) -> None:
    events: list[tuple[MemberStatus, datetime]] = [
        ("active", FIRST),
        ("removed", SECOND),
        ("active", THIRD),
    ]
    for number in order:
        status, at = events[number]
        set_member(connection, "acme", "ann", status, at)
    assert find_standing(connection, "acme", "ann") == Standing(
        member="active", changed_at=THIRD, removed_at=SECOND
    )


def test_what_is_older_or_known_is_no_news(connection: Connection) -> None:
    actor = uuid4().hex
    assert set_member(connection, "acme", actor, "removed", SECOND)
    assert not set_member(connection, "acme", actor, "removed", SECOND)
    assert not set_member(connection, "acme", actor, "active", FIRST)
    assert not set_member(connection, "acme", actor, "removed", FIRST)
    assert find_standing(connection, "acme", actor) == Standing("removed", SECOND, SECOND)
    assert set_member(connection, "acme", actor, "removed", THIRD)
    assert find_standing(connection, "acme", actor) == Standing("removed", THIRD, THIRD)
    assert find_standing(connection, "globex", actor) == Standing()


def test_a_removal_has_a_time_of_its_own_for_tokens(connection: Connection) -> None:
    actor = uuid4().hex
    set_member(connection, "acme", actor, "active", FIRST)
    assert set_member(connection, "acme", actor, "removed", SECOND, removed_at=THIRD)
    assert find_standing(connection, "acme", actor) == Standing("removed", SECOND, THIRD)
    assert set_member(
        connection, "acme", actor, "active", SECOND + timedelta.resolution, removed_at=None
    )
    assert find_standing(connection, "acme", actor).removed_at == THIRD


def test_what_became_of_an_actor_holds_in_every_organization(connection: Connection) -> None:
    actor = uuid4().hex
    assert set_actor(connection, actor, "suspended", SECOND)
    assert not set_actor(connection, actor, "active", FIRST)
    for organization in ("acme", "globex"):
        standing = find_standing(connection, organization, actor)
        assert standing == Standing(actor="suspended", actor_changed_at=SECOND)
    assert set_actor(connection, actor, "active", THIRD)
    assert find_standing(connection, "acme", actor).actor == "active"
