"""What goes wrong in one schema is that schema's alone, and the journal says what it was."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection

from orgtenancy import Tenancy
from orgtenancy.errors import JobFailed, JobNotFound
from orgtenancy.schemas import messages
from orgtenancy.schemas.fleet import JobOptions, JobProgress
from orgtenancy.schemas.revisions import applying
from tests.fleet.hosts import ONE, QUICK, Host
from tests.schemas.databases import dsn


@contextmanager
def long_transaction(host: Host, statement: str) -> Iterator[psycopg.Connection[Any]]:
    """Hold a transaction open in which a statement was run."""
    with psycopg.connect(dsn(host.database.admin_url)) as connection:
        connection.execute(statement.encode())
        yield connection


@pytest.fixture
def three(host: Host) -> Tenancy:
    """A release that is one column ahead of three organizations."""
    host.install("acme", "globex", "initech")
    host.module().column("items", "a")
    return host.release()


def item_of(tenancy: Tenancy, organization_id: str, job_id: int = 1) -> Any:
    items = tenancy.schemas.fleet.items(job_id)
    return next(item for item in items if item.organization_id == organization_id)


def test_a_schema_that_is_locked_is_tried_again_while_the_others_go_on(
    host: Host, three: Tenancy
) -> None:
    seen: list[JobProgress] = []

    def tell(progress: JobProgress) -> None:
        seen.append(progress)
        if progress.status == "pending" and progress.done == 2:
            lock.rollback()

    with long_transaction(host, "INSERT INTO org_acme.items VALUES (1)") as lock:
        job = three.schemas.fleet.migrate(
            options=JobOptions(workers=1, lock_timeout=0.05), on_progress=tell
        )
    assert job is not None
    assert (job.status, job.done) == ("finished", 3)
    told = [(p.label, str(p.status)) for p in seen if p.label]
    assert told[0] == ("acme", "pending")
    assert {("globex", "done"), ("initech", "done")} < set(told)
    assert told[-1] == ("acme", "done")
    assert all("55P03" in str(p.error) for p in seen if p.status == "pending")
    item = item_of(three, "acme")
    assert item.attempts > 1
    assert item.error is None
    host.assert_all_at_heads(three, job)


def test_a_lock_that_never_comes_fails_with_its_reason(host: Host, three: Tenancy) -> None:
    with (
        long_transaction(host, "SELECT FROM org_acme.items"),
        pytest.raises(JobFailed, match="1 of 3"),
    ):
        three.schemas.fleet.migrate(
            options=JobOptions(workers=2, lock_timeout=0.02, max_attempts=3)
        )
    item = item_of(three, "acme")
    assert (item.status, item.attempts) == ("failed", 3)
    assert item.error == "55P03 canceling statement due to lock timeout"
    host.assert_journal_is_true(three, 1)
    three.schemas.fleet.resume(1)
    host.assert_all_at_heads(three, 1)


def test_a_lock_on_the_registrys_row_is_waited_for_in_the_same_way(
    host: Host, three: Tenancy
) -> None:
    row = "SELECT FROM orgtenancy.organizations WHERE id = 'acme' FOR UPDATE"
    with long_transaction(host, row), pytest.raises(JobFailed):
        three.schemas.fleet.migrate(
            options=JobOptions(workers=1, lock_timeout=0.02, max_attempts=2)
        )
    assert "55P03" in item_of(three, "acme").error
    host.assert_journal_is_true(three, 1)


@pytest.mark.parametrize(
    ("body", "options", "reason"),
    [
        (
            "op.execute('SELECT pg_sleep(20) FROM items')",
            {"statement_timeout": 0.1},
            "57014 canceling statement due to statement timeout",
        ),
        (
            # What a full disk says, raised by hand: the server's own needs a disk to fill.
            'op.execute("DO $$ BEGIN IF EXISTS (SELECT FROM items) THEN RAISE '
            "'could not extend file: No space left on device' USING ERRCODE = '53100'; "
            'END IF; END $$")',
            {},
            "53100 could not extend file: No space left on device",
        ),
        (
            "op.create_check_constraint('few', 'items', 'id < 0')",
            {},
            '23514 check constraint "few" of relation "items" is violated by some row',
        ),
        (
            "for row in op.get_bind().execute(sa.text('SELECT id FROM items')):\n"
            "    raise ValueError(f'what is {row.id}?')",
            {},
            "ValueError: what is 1?",
        ),
        (
            "op.get_bind()\nop.execute('SELECT pg_sleep(20) FROM items')",
            {"statement_timeout": 0.1},
            "57014 canceling statement due to statement timeout",
        ),
    ],
    ids=["statement timeout", "disk full", "constraint", "exception", "online timeout"],
)
def test_what_fails_in_one_schema_fails_there_alone(
    host: Host, three: Tenancy, body: str, options: dict[str, Any], reason: str
) -> None:
    host.module().add(body)
    host.database.ask("INSERT INTO org_globex.items VALUES (1)")
    new = host.release()
    with pytest.raises(JobFailed, match="1 of 3 schemas failed, 2 are done"):
        new.schemas.fleet.migrate(options=JobOptions(workers=2, **options))
    item = item_of(new, "globex")
    assert item.error == reason
    assert item.attempts == 1
    assert host.columns("globex", "items") == ["id"]
    host.assert_journal_is_true(new, 1)
    host.database.ask("DELETE FROM org_globex.items")
    new.schemas.fleet.resume(1)
    host.assert_all_at_heads(new, 1)


def test_a_schema_that_was_altered_by_hand_fails_alone(host: Host, three: Tenancy) -> None:
    host.database.ask("ALTER TABLE org_acme.items ADD COLUMN a integer")
    with pytest.raises(JobFailed, match="1 of 3 schemas failed, 2 are done"):
        three.schemas.fleet.migrate(options=QUICK)
    assert item_of(three, "acme").error == ('42701 column "a" of relation "items" already exists')
    host.assert_journal_is_true(three, 1)


def when_begun(three: Tenancy, first: str, what: Callable[[], object]) -> list[JobProgress]:
    """Run a job one schema after the other, and do something after the first is done."""
    seen: list[JobProgress] = []

    def tell(progress: JobProgress) -> None:
        seen.append(progress)
        if progress.label == first and progress.status == "done":
            what()

    three.schemas.fleet.migrate(options=ONE, on_progress=tell)
    return seen


def test_an_organization_that_is_dropped_meanwhile_is_skipped(host: Host, three: Tenancy) -> None:
    seen = when_begun(
        three, "acme", lambda: three.schemas.drop("initech", confirm="initech", force=True)
    )
    assert item_of(three, "initech").status == "skipped"
    assert [(p.label, p.done) for p in seen if p.status in ("done", "skipped")] == [
        ("acme", 1),
        ("globex", 2),
        ("initech", 3),
    ]
    (job,) = three.schemas.fleet.jobs()
    assert (job.status, job.done, job.total) == ("finished", 3, 3)
    host.assert_all_at_heads(three)


def test_a_spare_that_is_claimed_meanwhile_is_migrated_as_the_organization_it_became(
    host: Host,
) -> None:
    old = host.install("acme", spares=2)
    host.module().column("items", "a")
    new = host.release()
    seen: list[JobProgress] = []

    def tell(progress: JobProgress) -> None:
        seen.append(progress)
        if sum(p.status == "done" for p in seen) == 1 and progress.status == "done":
            # By a process of the release before, which takes one that is not migrated yet.
            old.schemas.provision("late")

    job = new.schemas.fleet.migrate(options=ONE, on_progress=tell)
    assert job is not None
    assert (job.status, job.total) == ("finished", 3)
    assert host.columns("late", "items") == ["id", "a"]
    host.assert_all_at_heads(new)
    assert host.database.ask("SELECT count(*) FROM orgtenancy.spares") == [(1,)]
    assert "pending" in [p.status for p in seen]  # it was not found under its old name


def test_an_organization_whose_schema_is_renamed_meanwhile_is_found_by_its_role(
    host: Host, three: Tenancy
) -> None:
    when_begun(
        three,
        "acme",
        lambda: host.database.ask(
            "UPDATE orgtenancy.organizations SET id = 'zeta', schema_name = 'org_zeta' "
            "WHERE id = 'initech'; ALTER SCHEMA org_initech RENAME TO org_zeta"
        ),
    )
    assert host.columns("zeta", "items") == ["id", "a"]
    host.assert_all_at_heads(three)


def test_an_organization_that_the_release_before_makes_meanwhile_is_picked_up(
    host: Host, three: Tenancy
) -> None:
    app = host.module()
    with host.database.tenancy([app.module()]) as other:
        # Its files are read now: it stands for the release before the next.
        other.schemas.revisions.fresh_path()
        app.column("items", "b")
        new = host.release()
        seen = when_begun(new, "initech", lambda: other.schemas.provision("late"))
    assert [p.label for p in seen if p.status == "done"][-1] == "late"
    assert (seen[-1].done, seen[-1].total) == (4, 4)
    host.assert_all_at_heads(new, 1)


def test_a_revision_of_autocommit_gives_up_on_a_lock_of_its_transaction(host: Host) -> None:
    host.install("acme")
    host.module().add(
        "op.add_column('items', sa.Column('a', sa.Text))\n"
        "with op.get_context().autocommit_block():\n"
        "    op.execute('CREATE INDEX CONCURRENTLY items_a ON items (a)')"
    )
    new = host.release()
    inserted = long_transaction(host, "INSERT INTO org_acme.items VALUES (1)")
    with inserted, pytest.raises(JobFailed):
        new.schemas.fleet.migrate(options=JobOptions(workers=1, lock_timeout=0.02, max_attempts=2))
    assert "55P03" in item_of(new, "acme").error
    host.assert_journal_is_true(new, 1)


def test_a_commit_whose_answer_is_lost_is_not_done_twice(
    host: Host, three: Tenancy, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.module().column("items", "b")
    real = messages.send_transaction
    lost: list[Connection] = []

    def lose_the_answer(connection: Connection, message: bytes) -> None:
        real(connection, message)
        if not lost:
            lost.append(connection)
            raise psycopg.OperationalError("the connection was lost")

    monkeypatch.setattr(applying, "send_transaction", lose_the_answer)
    job = host.release().schemas.fleet.migrate("+1", options=ONE)
    assert lost
    assert job is not None
    assert job.done == 3
    # A second time, `+1` would have led one further.
    assert host.stamps("org_acme") == {"app_0002"}
    host.assert_mirrored()


def test_what_is_at_the_heads_is_no_job(host: Host) -> None:
    tenancy = host.install("acme", spares=1)
    assert tenancy.schemas.fleet.migrate() is None
    assert tenancy.schemas.fleet.jobs() == []
    with pytest.raises(JobNotFound):
        tenancy.schemas.fleet.job(1)
    for ask in (tenancy.schemas.fleet.resume, tenancy.schemas.fleet.cancel):
        with pytest.raises(JobNotFound):
            ask(1)


def test_a_job_that_is_told_to_cancel_finishes_what_it_has_begun_and_nothing_more(
    host: Host, three: Tenancy
) -> None:
    cancel = threading.Event()

    def tell(progress: JobProgress) -> None:
        if progress.status == "done":
            cancel.set()

    job = three.schemas.fleet.migrate(options=ONE, on_progress=tell, cancel=cancel)
    assert job is not None
    assert (job.status, dict(job.items)) == ("cancelled", {"done": 1, "pending": 2})
    host.assert_journal_is_true(three, job)
    assert three.schemas.fleet.resume(job.id).status == "finished"
    host.assert_all_at_heads(three, job)


def test_ctrl_c_ends_the_job_in_order(host: Host, three: Tenancy) -> None:
    def tell(progress: JobProgress) -> None:
        if progress.status == "done":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        three.schemas.fleet.migrate(options=QUICK, on_progress=tell)
    (job,) = three.schemas.fleet.jobs()
    assert job.status == "cancelled"
    host.assert_journal_is_true(three, job)
    three.schemas.fleet.migrate(options=QUICK)  # a new job does as well as a resume
    host.assert_all_at_heads(three)
    assert [job.status for job in three.schemas.fleet.jobs()] == ["finished", "cancelled"]
