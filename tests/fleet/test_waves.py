"""Who goes first, and what happens between the waves."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from orgtenancy import Tenancy
from orgtenancy.errors import ConfigurationError, JobFailed
from orgtenancy.schemas.fleet import JobOptions, JobProgress, Wave
from tests.fleet.hosts import Host, ids

pytestmark = pytest.mark.slow

CANARY = Wave(organizations=("o003",))
BROKEN = "op.execute('INSERT INTO items VALUES (1)')"


@pytest.fixture
def ten(host: Host) -> Tenancy:
    """A release that is one column ahead of ten organizations and two spares."""
    old = host.install(spares=2)
    for number, organization_id in enumerate(ids(10)):
        plan = "beta" if number in (4, 5) else "other"
        # Not of the spares, which are to remain.
        old.schemas.spares.discard(only_stale=False)
        old.schemas.provision(organization_id, attributes={"plan": plan, "n": number % 2})
    old.schemas.spares.fill(2)
    host.module().column("items", "a")
    return host.release()


def waves_of(tenancy: Tenancy, job_id: int) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for item in tenancy.schemas.fleet.items(job_id):
        name = "spare" if item.organization_id is None else item.organization_id
        found.setdefault(item.wave, []).append(name)
    return {wave: sorted(names) for wave, names in sorted(found.items())}


def test_spares_go_first_then_ids_then_labels_and_then_everybody_else(
    host: Host, ten: Tenancy
) -> None:
    seen: list[JobProgress] = []
    options = JobOptions(workers=1, waves=(CANARY, Wave(attributes={"plan": "beta", "n": 0})))
    job = ten.schemas.fleet.migrate(options=options, on_progress=seen.append)
    assert job is not None
    rest = [o for o in ids(10) if o not in ("o003", "o004")]
    assert waves_of(ten, job.id) == {0: ["o003", "spare", "spare"], 1: ["o004"], 2: rest}
    order = [p.label for p in seen if p.label is not None]
    assert all(str(label).startswith("orgtenancy_spare_") for label in order[:2])
    assert order[2:] == ["o003", "o004", *rest]
    assert [p.wave for p in seen if p.label is None] == [0, 1, 2]
    assert [p.done for p in seen if p.label is not None] == list(range(1, 13))
    assert {(p.job_id, p.kind, p.waves, p.total, p.failed) for p in seen} == {
        (job.id, "migrate", 3, 12, 0)
    }
    host.assert_all_at_heads(ten, job)


def test_a_share_is_always_made_of_the_same_organizations(host: Host, ten: Tenancy) -> None:
    def first_wave(percent: float) -> list[str]:
        options = JobOptions(workers=1, waves=(Wave(percent=percent),), pause=True)
        job = ten.schemas.fleet.migrate(options=options)
        assert job is not None
        assert job.status == "paused"
        ten.schemas.fleet.resume(job.id, options=JobOptions(waves=()))
        ten.schemas.fleet.migrate("app_0001", down=True)
        return [name for name in waves_of(ten, job.id)[0] if name != "spare"]

    few, again, more = first_wave(30), first_wave(30), first_wave(55)
    assert few == again
    assert (len(few), len(more)) == (3, 6)
    assert set(few) < set(more)
    assert few != ids(3)


@pytest.mark.parametrize(
    "wave", [Wave(organizations=("nobody",)), Wave(attributes={"plan": "alpha"})]
)
def test_a_wave_of_nobody_tries_nothing_out_and_is_refused(ten: Tenancy, wave: Wave) -> None:
    with pytest.raises(ConfigurationError, match="nobody is in wave 2"):
        ten.schemas.fleet.migrate(options=JobOptions(waves=(CANARY, wave)))
    assert ten.schemas.fleet.jobs() == []
    assert ten.schemas.fleet.migrate(options=JobOptions(waves=(CANARY,))) is not None


def test_a_wave_is_given_in_exactly_one_way() -> None:
    for given in ({}, {"percent": 0}, {"percent": 101}, {"percent": 1, "organizations": ("a",)}):
        with pytest.raises(ValidationError):
            Wave.model_validate(given)


def test_a_paused_job_goes_on_with_the_next_wave_when_it_is_resumed(
    host: Host, ten: Tenancy
) -> None:
    options = JobOptions(workers=2, waves=(CANARY, Wave(percent=50)), pause=True)
    job = ten.schemas.fleet.migrate(options=options)
    assert job is not None
    assert (job.status, job.done, job.can_be_resumed) == ("paused", 3, True)
    host.assert_journal_is_true(ten, job)
    job = ten.schemas.fleet.resume(job.id)
    assert job.status == "paused"
    assert 3 < job.done < job.total
    host.assert_journal_is_true(ten, job)
    job = ten.schemas.fleet.resume(job.id)
    assert (job.status, job.done, job.total) == ("finished", 12, 12)
    assert job.finished_at is not None
    host.assert_all_at_heads(ten, job)
    assert ten.schemas.fleet.resume(job.id) == job  # nothing is left


def test_a_failure_in_the_canary_stops_before_the_others(host: Host, ten: Tenancy) -> None:
    host.module().add(BROKEN)
    new = host.release()
    host.database.ask("INSERT INTO org_o003.items VALUES (1)")
    options = JobOptions(workers=2, waves=(CANARY,), max_failures=5)
    with pytest.raises(JobFailed, match="1 of 12 schemas failed, 2 are done") as caught:
        new.schemas.fleet.migrate(options=options)
    assert caught.value.job_id is not None
    job = new.schemas.fleet.job(caught.value.job_id)
    assert dict(job.items) == {"failed": 1, "done": 2, "pending": 9}
    host.assert_journal_is_true(new, job)
    with pytest.raises(JobFailed):  # the cause is still there, and the canary is tried again
        new.schemas.fleet.resume(job.id)
    assert dict(new.schemas.fleet.job(job.id).items) == {"failed": 1, "done": 2, "pending": 9}
    host.database.ask("DELETE FROM org_o003.items")
    job = new.schemas.fleet.resume(job.id)
    assert (job.status, job.done) == ("finished", 12)
    host.assert_all_at_heads(new, job)


@pytest.mark.parametrize(("allowed", "failed"), [(0, 1), (2, 3), (10, 4)])
def test_after_so_many_failures_nothing_else_is_begun(
    host: Host, ten: Tenancy, allowed: int, failed: int
) -> None:
    host.module().add(BROKEN)
    new = host.release()
    for organization_id in ("o001", "o002", "o003", "o005"):
        host.database.ask(f"INSERT INTO org_{organization_id}.items VALUES (1)")
    with pytest.raises(JobFailed):
        new.schemas.fleet.migrate(options=JobOptions(workers=1, max_failures=allowed))
    (job,) = new.schemas.fleet.jobs()
    assert (job.status, job.failed) == ("failed", failed)
    done = {0: 3, 2: 3, 10: 8}[allowed]  # two spares and o000 come before
    assert (job.done, job.items.get("pending", 0)) == (done, 12 - failed - done)  # type: ignore[call-overload]
    host.assert_journal_is_true(new, job)


def test_only_what_failed_and_what_is_left_is_done_by_a_resume(host: Host, ten: Tenancy) -> None:
    host.module().add(BROKEN)
    new = host.release()
    host.database.ask("INSERT INTO org_o004.items VALUES (1)")
    with pytest.raises(JobFailed):
        new.schemas.fleet.migrate(options=JobOptions(workers=1, max_failures=0))
    host.database.ask("DELETE FROM org_o004.items")
    seen: list[JobProgress] = []
    new.schemas.fleet.resume(1, on_progress=seen.append)
    assert [p.label for p in seen if p.label] == ids(10)[4:]
    assert seen[0].done == 6
    host.assert_all_at_heads(new, 1)
    (failed_first, *_) = new.schemas.fleet.items(1)
    assert failed_first.error is None
