"""What a migration does with organizations that are closed, and with those that become it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from orgtenancy import Tenancy
from orgtenancy.schemas.fleet import Job, JobItem, JobOptions, JobProgress
from tests.fleet.hosts import ONE, QUICK, Host
from tests.schemas.databases import dsn, eventually
from tests.support.statuses import ACTIVE, ARCHIVED, CLOSED, FENCED, SUSPENDED, set_status

pytestmark = pytest.mark.slow

# How a revision is applied.
KINDS: dict[str, Callable[[Host], str]] = {
    "sql": lambda host: host.module().column("items", "a"),
    "online": lambda host: host.module().online("items", "a"),
    "autocommit": lambda host: host.module().autocommit("items"),
}
WAIT_FOR_THE_TEST = "op.execute('SELECT pg_advisory_xact_lock(7)')"


@pytest.fixture
def three(host: Host) -> Host:
    """Three organizations, all at the newest revision."""
    host.install("acme", "globex", "initech")
    return host


def migrate(tenancy: Tenancy, *, options: JobOptions = ONE) -> Job:
    job = tenancy.schemas.fleet.migrate(options=options)
    assert job is not None
    return job


def migrate_and_after(tenancy: Tenancy, first: str, what: Callable[[], object]) -> Job:
    """Migrate one schema after the other, and do something after the first is done."""

    def tell(progress: JobProgress) -> None:
        if progress.label == first and progress.status == "done":
            what()

    job = tenancy.schemas.fleet.migrate(options=ONE, on_progress=tell)
    assert job is not None
    return job


def item(tenancy: Tenancy, job: Job, organization_id: str) -> JobItem:
    (found,) = [
        one for one in tenancy.schemas.fleet.items(job.id) if one.organization_id == organization_id
    ]
    return found


def at_heads(host: Host, organization_id: str) -> bool:
    return host.stamps(f"org_{organization_id}") == {host.module().head}


def test_what_is_suspended_or_archived_is_migrated_as_well(three: Host) -> None:
    set_status(three.database, "acme", SUSPENDED)
    set_status(three.database, "globex", ARCHIVED)
    three.module().column("items", "a")
    tenancy = three.release()
    assert migrate(tenancy).total == 3
    three.assert_all_at_heads(tenancy)


@pytest.mark.parametrize("kind", KINDS)
def test_a_migration_opens_nothing_that_is_closed(three: Host, kind: str) -> None:
    for organization_id, status in zip(("acme", "globex"), (SUSPENDED, ARCHIVED), strict=True):
        set_status(three.database, organization_id, status)
    KINDS[kind](three)
    migrate(three.release())
    rows = three.database.ask(
        "SELECT id FROM orgtenancy.organizations "
        "WHERE has_schema_privilege(role_name, schema_name, 'USAGE')"
    )
    assert rows == [("initech",)]


def test_what_is_fenced_is_left_alone_and_counted_as_behind(three: Host) -> None:
    set_status(three.database, "globex", FENCED)
    three.module().column("items", "a")
    tenancy = three.release()
    (step,) = tenancy.schemas.fleet.plan()
    assert (step.organizations, step.fenced, step.targets) == (3, 1, 2)
    job = migrate(tenancy)
    assert (job.status, job.total) == ("finished", 2)
    status = tenancy.schemas.fleet.status()
    assert (status.organizations, status.behind, status.fenced) == (3, 1, 1)
    assert not at_heads(three, "globex")
    assert tenancy.schemas.fleet.migrate() is None, "there is nothing that it may do"
    assert tenancy.schemas.fleet.migrate(organizations=["globex"]) is None
    set_status(three.database, "globex", ACTIVE)
    assert migrate(tenancy).total == 1
    three.assert_all_at_heads(tenancy)


def test_what_is_being_purged_is_nobodys_concern_any_more(three: Host) -> None:
    set_status(three.database, "globex", ARCHIVED, purge_started=True)
    three.database.ask("DROP TABLE org_globex.items")
    three.module().column("items", "a")
    tenancy = three.release()
    assert migrate(tenancy).total == 2
    status = tenancy.schemas.fleet.status()
    assert (status.organizations, status.behind) == (2, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_fenced_during_the_job_is_skipped_and_not_tried_again(
    three: Host, kind: str
) -> None:
    KINDS[kind](three)
    tenancy = three.release()
    job = migrate_and_after(tenancy, "acme", lambda: set_status(three.database, "globex", FENCED))
    assert (job.status, job.done, job.total) == ("finished", 3, 3)
    found = item(tenancy, job, "globex")
    assert (found.status, found.attempts) == ("skipped", 1)
    assert found.error == "schema org_globex is fenced or being purged"
    assert not at_heads(three, "globex")
    assert at_heads(three, "initech")
    three.assert_mirrored()
    set_status(three.database, "globex", ACTIVE)
    migrate(tenancy)
    three.assert_all_at_heads(tenancy)


@pytest.mark.parametrize("online", [False, True], ids=["sql", "online"])
def test_a_stage_that_began_before_the_fence_does_not_commit_after_it(
    three: Host, online: bool
) -> None:
    three.module().add(
        "op.add_column('items', sa.Column('a', sa.Text))\n"
        + ("op.get_bind()\n" if online else "")
        + WAIT_FOR_THE_TEST
    )
    tenancy = three.release()
    with (
        psycopg.connect(dsn(three.database.admin_url)) as gate,
        ThreadPoolExecutor(1) as threads,
        ThreadPoolExecutor(1) as others,
    ):
        gate.execute("SELECT pg_advisory_xact_lock(7)")
        patient = JobOptions(workers=1, lock_timeout=30)
        begun = threads.submit(
            tenancy.schemas.fleet.migrate, organizations=["acme"], options=patient
        )
        waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 7 AND NOT granted"
        eventually(lambda: three.database.ask(waiting), 60)
        if online:
            # It holds the organization's row: whoever fences it waits for its end.
            fencing = others.submit(set_status, three.database, "acme", FENCED)
            gate.rollback()
            fencing.result(30)
        else:
            set_status(three.database, "acme", FENCED)
            gate.rollback()
        job = begun.result(30)
    assert job is not None
    if online:
        assert at_heads(three, "acme"), "it was done before the fence"
    else:
        assert item(tenancy, job, "acme").status == "skipped"
        assert three.columns("acme", "items") == ["id"]
    three.assert_mirrored()


def test_what_is_dropped_half_way_during_the_job_is_skipped(three: Host) -> None:
    def begin_purge() -> None:
        set_status(three.database, "globex", ARCHIVED, purge_started=True)
        three.database.ask("DROP TABLE org_globex.items")

    three.module().column("items", "a")
    tenancy = three.release()
    job = migrate_and_after(tenancy, "acme", begin_purge)
    assert job.status == "finished"
    found = item(tenancy, job, "globex")
    assert (found.status, found.attempts) == ("skipped", 1)


def test_what_is_unfenced_during_the_job_is_brought_along(three: Host) -> None:
    set_status(three.database, "globex", FENCED)
    three.module().column("items", "a")
    tenancy = three.release()
    job = migrate_and_after(tenancy, "acme", lambda: set_status(three.database, "globex", ACTIVE))
    assert (job.status, job.done, job.total) == ("finished", 3, 3)
    three.assert_all_at_heads(tenancy, job)


def test_a_job_that_is_resumed_skips_what_was_fenced_meanwhile(three: Host) -> None:
    three.module().column("items", "a")
    tenancy = three.release()
    fleet = tenancy.schemas.fleet
    waves = JobOptions.model_validate({"waves": [{"organizations": ["acme"]}], "pause": True})
    assert migrate(tenancy, options=waves).status == "paused"
    for organization_id, status in zip(("globex", "initech"), (FENCED, SUSPENDED), strict=True):
        set_status(three.database, organization_id, status)
    job = fleet.resume(1)
    assert job.status == "finished"
    statuses = {str(one.organization_id): str(one.status) for one in fleet.items(1)}
    assert statuses == {"acme": "done", "globex": "skipped", "initech": "done"}
    assert item(tenancy, job, "globex").error == "it is dropped, or fenced"


def test_spares_are_open_whatever_becomes_of_organizations(three: Host) -> None:
    tenancy = three.release()
    tenancy.schemas.spares.fill(1)
    for organization_id, status in zip(("acme", "globex", "initech"), CLOSED, strict=True):
        set_status(three.database, organization_id, status)
    three.module().column("items", "a")
    tenancy = three.release()
    assert migrate(tenancy, options=QUICK).total == 3
    claimed = tenancy.schemas.provision("late")
    assert three.database.ask(
        "SELECT has_schema_privilege(%s, 'org_late', 'USAGE')", claimed.role_name
    ) == [(True,)]
    assert at_heads(three, "late")
