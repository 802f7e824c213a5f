"""Another process binds the organization itself, once the registry says that it is open."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from orgtenancy import Organization, Tenancy, acting, copy_context, embedded
from orgtenancy.errors import (
    ConfigurationError,
    OrganizationContextMissing,
    OrganizationNotFound,
    OrganizationUnavailable,
)
from orgtenancy.propagation import for_process
from tests.propagation import processes
from tests.propagation.support import bound, marks, note, written

pytestmark = pytest.mark.slow

PLACE = "tests.propagation.processes:tenancy"
NOTHING = {"organization": None, "actor": None, "session": False}


@pytest.fixture(scope="module")
def pool(server: embedded.EmbeddedServer) -> Iterator[ProcessPoolExecutor]:
    """A pool of one process, which knows nothing of this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TESTS_URL", server.url)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            yield pool


def test_a_process_works_for_the_organization_and_nothing_is_left_in_it(
    tenancy: Tenancy,
    two_organizations: tuple[Organization, Organization],
    pool: ProcessPoolExecutor,
) -> None:
    children = set()
    for organization in two_organizations:
        with tenancy.session(organization), acting("ann", "http:1.2.3.4"):
            call = for_process(processes.write_here, tenancy=PLACE)
        children.add(pool.submit(call, "process").result(60))
        assert pool.submit(processes.look).result(60) == NOTHING
    assert os.getpid() not in children
    for organization in two_organizations:
        assert written(tenancy, organization) == [note(organization, "process", "http:1.2.3.4")]


def test_without_it_a_process_knows_no_organization(
    tenancy: Tenancy, organization: Organization, pool: ProcessPoolExecutor
) -> None:
    with tenancy.organization(organization):
        with pytest.raises(OrganizationContextMissing):
            pool.submit(processes.need_organization).result(60)
        with pytest.raises((pickle.PicklingError, AttributeError)):
            pool.submit(copy_context(processes.need_organization)).result(60)


def test_a_process_refuses_an_organization_that_is_closed_or_gone(
    tenancy: Tenancy, organization: Organization, pool: ProcessPoolExecutor
) -> None:
    with tenancy.organization(organization):
        call = for_process(processes.write_here, tenancy=PLACE)
    pool.submit(call, "open").result(60)
    tenancy.organizations.suspend(organization.id)
    with pytest.raises(OrganizationUnavailable) as refusal:
        pool.submit(call, "suspended").result(60)
    assert (refusal.value.status, refusal.value.organization_id) == ("suspended", organization.id)
    tenancy.organizations.resume(organization.id)
    assert marks(tenancy, organization) == ["open"]
    tenancy.schemas.drop(organization.id, confirm=organization.id, force=True)
    with pytest.raises(OrganizationNotFound):
        pool.submit(call, "gone").result(60)


def test_what_would_not_run_in_another_process_is_refused_here(
    tenancy: Tenancy, organization: Organization
) -> None:
    with pytest.raises(OrganizationContextMissing):
        for_process(processes.look, tenancy=PLACE)
    with tenancy.organization(organization):
        for fn in (processes.coroutine, processes.generator):
            with pytest.raises(TypeError, match="would not run"):
                for_process(fn, tenancy=PLACE)
        nowhere = for_process(processes.look, tenancy="tests.propagation.processes:no_tenancy")
    with pytest.raises(ConfigurationError, match="no Tenancy"):
        nowhere()


def test_a_call_binds_for_its_time_only(
    tenancy: Tenancy,
    two_organizations: tuple[Organization, Organization],
    server: embedded.EmbeddedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = two_organizations
    with Tenancy(server.url) as other:
        monkeypatch.setattr(processes, "tenancy", other)
        with tenancy.organization(a), acting("ann", "http"):
            call = for_process(processes.look, tenancy=PLACE)
        with tenancy.organization(b):
            assert call() == {"organization": a.id, "actor": "ann", "session": False}
            assert bound()["organization"] == b.id
