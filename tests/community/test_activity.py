"""The activity log: written with what it records, read newest first, never changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from orgtenancy import Organization
from orgtenancy.community import ActivityLog
from orgtenancy.community.activity import (
    MAX_PURGE_BATCH,
    ActivityLogRepository,
    AsyncActivityLogRepository,
)
from orgtenancy.errors import Conflict, Invalid, InvalidCursor
from orgtenancy.pagination import Page, PageRequest
from tests.community.seeds import add_post
from tests.community.statements import number_of_statements
from tests.support.runner import Runner


def record(session: Session, action: str = "post.create", **values: Any) -> UUID:
    return ActivityLogRepository(session).record(action, **values).id


def ids(page: Page[ActivityLog]) -> list[UUID]:
    return [row.id for row in page.items]


def stored(session: Session) -> int:
    return ActivityLogRepository(session).count()


def test_the_twin_has_what_a_log_is_for() -> None:
    for name in ("record", "find", "for_target", "purge"):
        bridge = getattr(AsyncActivityLogRepository, name)
        assert bridge.method is getattr(ActivityLogRepository, name)
    assert AsyncActivityLogRepository.sync is ActivityLogRepository


def test_a_record_says_who_did_what_to_what(run: Runner, organization: Organization) -> None:
    post_id = uuid4()

    def write(session: Session) -> ActivityLog:
        return ActivityLogRepository(session).record(
            "post.create",
            user_id="ada",
            entity_type="post",
            entity_id=post_id,
            metadata={"tags": ["a"]},
            ip_address="2001:db8::1",
        )

    def read(session: Session) -> ActivityLog:
        return session.get_one(ActivityLog, written.id)

    written = run(organization, write)
    for row in (written, run(organization, read)):
        assert (row.user_id, row.action) == ("ada", "post.create")
        assert (row.entity_type, row.entity_id) == ("post", str(post_id))
        assert row.metadata_ == {"tags": ["a"]}
        assert str(row.ip_address) == "2001:db8::1"
        assert row.created_at.tzinfo is not None


def test_a_record_can_be_of_the_system(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> ActivityLog:
        return ActivityLogRepository(session).record("a" * 100)

    row = run(organization, body)
    assert (row.user_id, row.entity_type, row.entity_id, row.ip_address) == (None,) * 4
    assert row.metadata_ == {}


@pytest.mark.parametrize(
    "values",
    [
        {"action": ""},
        {"action": "a" * 101},
        {"action": "Post.create"},
        {"action": "post create"},
        {"action": "post.create\n"},
        {"action": "\u0661"},
        {"action": 7},
        {"user_id": ""},
        {"user_id": "a\0"},
        {"entity_type": ""},
        {"entity_id": "x" * 256},
        {"entity_id": "\ud800"},
        {"entity_id": 7},
        {"metadata": {"a": "\0"}},
        {"metadata": ["a"]},
        {"metadata": {"a": "x" * 20_000}},
        {"ip_address": ""},
        {"ip_address": "localhost"},
        {"ip_address": "10.0.0.0/8"},
        {"ip_address": "1.2.3.4 "},
        {"ip_address": "fe80::1%eth0"},
        {"ip_address": "1.2.3.\0"},
        {"ip_address": 2130706433},
        {"ip_address": b"\x7f\0\0\1"},
    ],
)
def test_bad_input_is_refused(
    run: Runner, organization: Organization, values: dict[str, Any]
) -> None:
    def body(session: Session) -> None:
        with pytest.raises(Invalid):
            record(session, **values)
        assert stored(session) == 0

    run(organization, body)


def test_what_is_rolled_back_leaves_no_record(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        record(session, entity_type="post", entity_id=add_post(session))
        raise LookupError

    with pytest.raises(LookupError):
        run(organization, body)
    assert run(organization, stored) == 0


def test_records_are_found_by_person_and_action_newest_first(
    run: Runner, organization: Organization
) -> None:
    def body(session: Session) -> None:
        log = ActivityLogRepository(session)
        first = record(session, "post.create", user_id="ada")
        second = record(session, "post.delete", user_id="ada")
        third = record(session, "post.create", user_id="bob")
        fourth = record(session, "cron.run")
        assert ids(log.find()) == [fourth, third, second, first]
        assert ids(log.find(user_id="ada")) == [second, first]
        assert ids(log.find(action="post.create")) == [third, first]
        assert ids(log.find(user_id="ada", action="post.create")) == [first]
        assert ids(log.find(user_id="eve")) == []
        assert ids(log.find(action="no.such")) == []
        page = log.find(PageRequest(limit=1), user_id="ada")
        rest = log.find(PageRequest(cursor=page.next_cursor), user_id="ada")
        assert (ids(page), ids(rest)) == ([second], [first])

    run(organization, body)


def test_records_are_found_by_what_they_are_about(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        log, key = ActivityLogRepository(session), uuid4()
        first = record(session, entity_type="post", entity_id=key)
        second = record(session, entity_type="post", entity_id=str(key))
        record(session, entity_type="group", entity_id=key)
        record(session, entity_type="post", entity_id="other")
        assert ids(log.for_target("post", key)) == [second, first]
        assert ids(log.for_target("post", str(key))) == [second, first]
        assert ids(log.for_target("post", "none")) == []
        other = log.find(PageRequest(limit=1)).next_cursor
        with pytest.raises(InvalidCursor):
            log.for_target("post", key, PageRequest(cursor=other))

    run(organization, body)


@pytest.mark.parametrize("value", ["a\0b", "\ud800", ""])
def test_what_cannot_be_stored_is_in_no_record(
    run: Runner, organization: Organization, value: str
) -> None:
    def body(session: Session) -> None:
        log = ActivityLogRepository(session)
        record(session)
        assert ids(log.find(user_id=value)) == []
        assert ids(log.find(action=value)) == []
        assert ids(log.for_target(value, "x")) == ids(log.for_target("post", value)) == []

    run(organization, body)


def test_a_page_of_any_size_is_one_statement(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        log = ActivityLogRepository(session)
        for _ in range(21):
            record(session, user_id="ada", entity_type="post", entity_id="x")
        for page in (PageRequest(limit=1), PageRequest(limit=20)):
            for read in (log.find, partial(log.find, user_id="ada")):
                assert len(read(page).items) == page.limit
                assert number_of_statements(session, partial(read, page)) == 1
            assert number_of_statements(session, partial(log.for_target, "post", "x", page)) == 1
        assert number_of_statements(session, partial(log.record, "a")) == 1
        later = datetime.now(UTC) + timedelta(hours=1)
        assert number_of_statements(session, partial(log.purge, later)) == 1

    run(organization, body)


def test_a_record_is_neither_changed_nor_deleted(run: Runner, organization: Organization) -> None:
    def change(session: Session) -> None:
        session.get_one(ActivityLog, key).action = "post.delete"

    def change_and_flush(session: Session) -> None:
        session.get_one(ActivityLog, key).metadata_ = {"a": 1}
        session.flush()

    def delete(session: Session) -> None:
        ActivityLogRepository(session).delete(session.get_one(ActivityLog, key))

    def set_to_the_same(session: Session) -> str:
        row = session.get_one(ActivityLog, key)
        row.action = "post.create"
        session.flush()
        return row.action

    key = run(organization, record)
    for forbidden in (change, change_and_flush, delete):
        with pytest.raises(Conflict, match="append-only"):
            run(organization, forbidden)
        assert run(organization, set_to_the_same) == "post.create"
    assert run(organization, stored) == 1


def add_old(session: Session, number: int) -> list[UUID]:
    """Write records of the last hours, one an hour, oldest first."""
    now = datetime.now(UTC)
    log = ActivityLogRepository(session)
    return [
        log.add(ActivityLog(action="old", created_at=now - timedelta(hours=age))).id
        for age in range(number)[::-1]
    ]


def test_the_oldest_records_are_purged_first(run: Runner, organization: Organization) -> None:
    keys = run(organization, add_old, 10)

    def purge(session: Session) -> None:
        log = ActivityLogRepository(session)
        held = session.get_one(ActivityLog, keys[0])
        before = datetime.now(UTC) - timedelta(hours=3, minutes=30)
        assert log.purge(before, batch=4) == 4
        assert held not in session
        assert ids(log.find()) == keys[:3:-1]
        assert log.purge(before, batch=4) == 2
        assert log.purge(before) == 0
        assert ids(log.find()) == keys[:5:-1]

    run(organization, purge)
    assert run(organization, stored) == 4


def test_a_purge_takes_no_more_than_its_batch_whatever_the_plan(
    run: Runner, organization: Organization
) -> None:
    run(organization, add_old, 40)

    def purge(session: Session) -> int:
        for name in ("hashjoin", "mergejoin", "hashagg", "material", "memoize", "sort"):
            session.execute(text(f"SET LOCAL enable_{name} = off"))
        return ActivityLogRepository(session).purge(datetime.now(UTC) + timedelta(1), batch=5)

    assert run(organization, purge) == 5
    assert run(organization, stored) == 35


def test_purges_at_the_same_time_share_the_work(run: Runner, organization: Organization) -> None:
    run(organization, add_old, 40)

    def purge(session: Session) -> int:
        session.execute(text("SET LOCAL lock_timeout = '150ms'"))
        number = ActivityLogRepository(session).purge(datetime.now(UTC) + timedelta(1), batch=10)
        session.execute(select(func.pg_sleep(0.3)))  # the others begin before this commits
        return number

    assert run.concurrently(organization, [purge] * 4) == [10] * 4
    assert run(organization, stored) == 0


def test_a_purge_needs_a_zone_and_a_batch(run: Runner, organization: Organization) -> None:
    def body(session: Session) -> None:
        log, now = ActivityLogRepository(session), datetime.now(UTC)
        record(session)
        with pytest.raises(Invalid, match="zone"):
            log.purge(now.replace(tzinfo=None))
        for batch in (0, -1, MAX_PURGE_BATCH + 1):
            with pytest.raises(Invalid, match="batch"):
                log.purge(now, batch=batch)
        assert log.purge(datetime.min.replace(tzinfo=UTC), batch=MAX_PURGE_BATCH) == 0
        assert log.purge(datetime.max.replace(tzinfo=UTC), batch=MAX_PURGE_BATCH) == 1

    run(organization, body)
