"""What `each` does with organizations that are closed before their turn, or during it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from orgtenancy import OrganizationStatus, Tenancy
from orgtenancy.errors import JobFailed
from orgtenancy.schemas.fleet import Job, JobProgress
from tests.fleet import functions
from tests.fleet.hosts import ONE, Host
from tests.support.statuses import ACTIVE, CLOSED, FENCED, SUSPENDED, set_status

pytestmark = pytest.mark.slow


@pytest.fixture
def two(host: Host) -> Iterator[Tenancy]:
    """Two organizations with a table for what is done in them."""
    host.module().add(
        "op.create_table('log', sa.Column('organization', sa.Text), sa.Column('role', sa.Text), "
        "sa.Column('path', sa.Text))"
    )
    yield host.install("acme", "globex")
    functions.happening.clear()


def each(tenancy: Tenancy, function: Callable[..., None], *organizations: str) -> Job:
    job = tenancy.schemas.fleet.each(function, organizations=organizations or None, options=ONE)
    assert job is not None
    return job


def written(host: Host, organization_id: str) -> int:
    ((count,),) = host.database.ask(f"SELECT count(*) FROM org_{organization_id}.log")
    return int(count)


@pytest.mark.parametrize("status", CLOSED)
def test_an_organization_that_is_closed_before_its_turn_is_skipped(
    host: Host, two: Tenancy, status: OrganizationStatus
) -> None:
    def tell(progress: JobProgress) -> None:
        if progress.label == "acme":
            set_status(host.database, "globex", status)

    two.schemas.fleet.each(functions.write_own_name, options=ONE, on_progress=tell)
    _, skipped = two.schemas.fleet.items(1)
    assert (skipped.organization_id, skipped.status) == ("globex", "skipped")
    assert skipped.error == f"it is {status}"
    assert written(host, "globex") == 0


@pytest.mark.parametrize("status", CLOSED)
def test_an_organization_that_is_closed_while_the_function_runs_is_skipped(
    host: Host, two: Tenancy, status: OrganizationStatus
) -> None:
    functions.happening.append(lambda: set_status(host.database, "acme", status))
    job = each(two, functions.write_after_a_pause)
    assert (job.status, job.done, job.failed) == ("finished", 2, 0)
    by_id = {one.organization_id: one for one in two.schemas.fleet.items(job.id)}
    assert (by_id["acme"].status, by_id["acme"].error) == ("skipped", f"it is {status}")
    assert by_id["globex"].status == "done"
    assert (written(host, "acme"), written(host, "globex")) == (0, 1)


def test_an_organization_that_is_fenced_for_a_moment_is_done_all_the_same(
    host: Host, two: Tenancy
) -> None:
    def fence_for_a_moment() -> None:
        set_status(host.database, "acme", FENCED)
        functions.happening.append(lambda: set_status(host.database, "acme", ACTIVE))

    functions.happening.append(fence_for_a_moment)
    job = each(two, functions.write_through_a_fence, "acme")
    assert (job.status, job.done, job.failed) == ("finished", 1, 0)
    assert written(host, "acme") == 1


def test_an_organization_that_is_dropped_while_the_function_runs_is_skipped(
    host: Host, two: Tenancy
) -> None:
    functions.happening.append(
        lambda: host.database.ask(
            "DELETE FROM orgtenancy.organizations WHERE id = 'acme'; "
            "ALTER SCHEMA org_acme RENAME TO elsewhere"
        )
    )
    job = each(two, functions.write_after_a_pause, "acme")
    (only,) = two.schemas.fleet.items(job.id)
    assert (only.status, only.error) == ("skipped", "it is dropped")


def test_what_a_function_does_wrong_is_a_failure_whatever_the_status(
    host: Host, two: Tenancy
) -> None:
    functions.happening.append(lambda: set_status(host.database, "acme", SUSPENDED))
    with pytest.raises(JobFailed):
        each(two, functions.fail_after_a_pause, "acme")
    (only,) = two.schemas.fleet.items(1)
    assert (only.status, only.error) == ("failed", "RuntimeError: no luck")
    resumed = two.schemas.fleet.resume(1)
    assert (resumed.status, resumed.failed) == ("finished", 0)


def test_a_table_that_is_not_there_is_a_failure_of_an_open_organization(
    host: Host, two: Tenancy
) -> None:
    host.database.ask("DROP TABLE org_acme.log")
    with pytest.raises(JobFailed):
        each(two, functions.write_own_name, "acme")
    (only,) = two.schemas.fleet.items(1)
    assert (only.status, str(only.error)[:5]) == ("failed", "42P01")
