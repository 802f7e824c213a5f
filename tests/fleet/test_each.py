"""A function of the host for each organization: as its role, at least once, resumable."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from orgtenancy import OrganizationStatus, Tenancy
from orgtenancy.errors import ConfigurationError, JobFailed
from orgtenancy.registry import store
from orgtenancy.schemas.fleet import JobOptions, JobProgress, Wave
from tests.fleet import functions
from tests.fleet.hosts import ONE, QUICK, Host

pytestmark = pytest.mark.slow


@pytest.fixture
def three(host: Host) -> Tenancy:
    """Three organizations with a table for what is done in them, and a spare."""
    host.module().add(
        "op.create_table('log', sa.Column('organization', sa.Text), sa.Column('role', sa.Text), "
        "sa.Column('path', sa.Text))"
    )
    return host.install("acme", "globex", "initech", spares=1)


def logged(host: Host, organization_id: str) -> list[tuple[str, ...]]:
    return host.database.ask(f"SELECT organization, role, path FROM org_{organization_id}.log")


def test_a_function_runs_in_each_organization_as_its_role(host: Host, three: Tenancy) -> None:
    seen: list[JobProgress] = []
    job = three.schemas.fleet.each(functions.write_own_name, options=QUICK, on_progress=seen.append)
    assert job is not None
    assert (job.kind, job.status, job.done) == (
        "tests.fleet.functions:write_own_name",
        "finished",
        3,
    )
    assert {p.label for p in seen if p.label} == {"acme", "globex", "initech"}
    for organization_id in ("acme", "globex", "initech"):
        role = three.schemas.get(organization_id).role_name
        ((name, user, path),) = logged(host, organization_id)
        assert (name, user) == (organization_id, role)
        assert path == f"org_{organization_id}, pg_temp"


def test_a_function_cannot_read_another_organization(host: Host, three: Tenancy) -> None:
    with pytest.raises(JobFailed, match="2 of 3 schemas failed, 1 are done"):
        three.schemas.fleet.each(functions.read_another, options=QUICK)
    assert [(i.organization_id, i.error) for i in three.schemas.fleet.items(1, "failed")] == [  # type: ignore[arg-type]
        ("globex", "42501 permission denied for schema org_acme"),
        ("initech", "42501 permission denied for schema org_acme"),
    ]


def test_what_failed_is_rolled_back_and_a_resume_finds_the_function_again(
    host: Host, three: Tenancy
) -> None:
    options = JobOptions(workers=1, waves=(Wave(organizations=("initech",)),))
    with pytest.raises(JobFailed):
        three.schemas.fleet.each(functions.fail_for_globex, options=options)
    assert [len(logged(host, o)) for o in ("acme", "globex", "initech")] == [1, 0, 1]
    (failed, *_) = three.schemas.fleet.items(1)
    assert failed.error == "RuntimeError: no items yet"
    host.database.ask("INSERT INTO org_globex.items VALUES (1)")
    # Also from another process: the job's kind is the place of the function.
    job = host.release().schemas.fleet.resume(1)
    assert (job.status, job.done) == ("finished", 3)
    assert [len(logged(host, o)) for o in ("acme", "globex", "initech")] == [1, 1, 1]


def test_a_crash_between_the_work_and_the_journal_does_the_work_again(
    host: Host, three: Tenancy
) -> None:
    # The journal cannot be written once: as if the process had died at that moment.
    host.database.ask(
        "CREATE TABLE public.left_to_fail (n int); INSERT INTO public.left_to_fail VALUES (1);"
        "CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.status = 'done' AND NEW.organization_id = 'acme' THEN "
        "RAISE 'down' USING ERRCODE = '58000'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER fail BEFORE UPDATE ON orgtenancy.job_items "
        "FOR EACH ROW EXECUTE FUNCTION public.fail()"
    )
    with pytest.raises(JobFailed):
        three.schemas.fleet.each(functions.write_own_name, options=ONE)
    assert len(logged(host, "acme")) == 1
    host.database.ask("DROP TRIGGER fail ON orgtenancy.job_items")
    three.schemas.fleet.resume(1)
    assert [len(logged(host, o)) for o in ("acme", "globex", "initech")] == [2, 1, 1]


def test_only_active_organizations_are_worked_on(host: Host, three: Tenancy) -> None:
    with three._database.admin_engine.begin() as connection:
        store.change_status(connection, "globex", OrganizationStatus.SUSPENDED)
    job = three.schemas.fleet.each(functions.write_own_name, options=ONE)
    assert job is not None
    assert job.total == 2
    assert logged(host, "globex") == []
    job = three.schemas.fleet.each(functions.write_own_name, organizations=["acme"])
    assert job is not None
    assert job.total == 1


def test_an_organization_that_is_dropped_meanwhile_is_skipped_also_if_it_is_made_anew(
    host: Host, three: Tenancy
) -> None:
    def tell(progress: JobProgress) -> None:
        if progress.label == "acme":
            for organization_id in ("globex", "initech"):
                three.schemas.drop(organization_id, confirm=organization_id, force=True)
            three.schemas.provision("initech")

    three.schemas.fleet.each(functions.write_own_name, options=ONE, on_progress=tell)
    statuses = {i.organization_id: str(i.status) for i in three.schemas.fleet.items(1)}
    assert statuses == {"acme": "done", "globex": "skipped", "initech": "skipped"}
    assert logged(host, "initech") == []  # who comes later comes with what is new


def test_a_function_that_no_resume_could_find_is_refused(three: Tenancy) -> None:
    def inner(session: Session) -> None: ...

    for function in (inner, lambda session: None, functions.Host().method):
        with pytest.raises(ConfigurationError, match=r"nothing at|not what its name says"):
            three.schemas.fleet.each(function)
    assert three.schemas.fleet.jobs() == []


def test_a_job_whose_function_is_gone_stays_as_it_is(host: Host, three: Tenancy) -> None:
    with pytest.raises(JobFailed):
        three.schemas.fleet.each(functions.fail_for_globex, options=ONE)
    host.database.ask("UPDATE orgtenancy.jobs SET kind = 'tests.fleet.functions:removed'")
    with pytest.raises(ConfigurationError, match="nothing at"):
        three.schemas.fleet.resume(1)
    (job,) = three.schemas.fleet.jobs()
    assert (job.status, job.failed) == ("failed", 1)
