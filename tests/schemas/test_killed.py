"""SIGKILL at every statement of provisioning and dropping, before it is sent and after."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from orgtenancy import OrganizationStatus, Tenancy
from tests.registry.worker import Dialogue, dialogue
from tests.schemas.databases import (
    FreshDatabase,
    all_organizations,
    assert_nothing_is_unknown,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@pytest.fixture
def killing(bare_database: FreshDatabase, installed: Tenancy) -> Iterator[Dialogue]:
    urls = [
        u.render_as_string(hide_password=False)
        for u in (bare_database.url, bare_database.admin_url)
    ]
    with dialogue("tests.schemas.killing", *urls) as process:
        yield process


def points(killing: Dialogue, job: str, organization_id: str) -> int:
    """Do a job to its end, and return how many points it passed."""
    killing.say(f"{job} {organization_id} 0")
    return int(killing.hear())


@pytest.mark.slow
def test_provisioning_killed_at_any_statement_is_completed_by_the_next_call(
    bare_database: FreshDatabase, installed: Tenancy, killing: Dialogue
) -> None:
    count = points(killing, "provision", "whole")
    assert count > 20  # two transactions of several statements, two points each
    seen: dict[str, int] = {}
    for n in range(1, count + 1):
        killing.say(f"provision killed-{n} {n}")
        assert killing.hear() == "killed"
    bare_database.wait_until_idle()
    assert_nothing_is_unknown(bare_database, installed)
    for n in range(1, count + 1):
        known = {o.id: o for o in all_organizations(installed)}.get(f"killed-{n}")
        seen[str(known.status) if known else "none"] = n
        if known and not known.is_active:
            assert known.schema_name not in bare_database.schemas()
            assert known.role_name not in bare_database.roles()
        organization = installed.schemas.provision(f"killed-{n}")
        assert organization.is_active
        with installed.session(organization.id) as session:
            assert session.connection().exec_driver_sql("SELECT count(*) FROM notes").scalar() == 0
    # Killed early nothing is there, then a reservation, and after the last commit all of it.
    assert list(seen) == ["none", "provisioning", "active"]
    assert_nothing_is_unknown(bare_database, installed)
    known_all = all_organizations(installed)
    assert len(known_all) == count + 1
    assert bare_database.schemas() == {o.schema_name for o in known_all}
    assert bare_database.roles() == {o.role_name for o in known_all}


@pytest.mark.slow
def test_dropping_killed_at_any_statement_is_finished_by_the_next_call(
    bare_database: FreshDatabase, installed: Tenancy, killing: Dialogue
) -> None:
    def furnished(organization_id: str) -> None:
        organization = installed.schemas.provision(organization_id)
        for n in range(4):
            bare_database.ask(
                f'CREATE TABLE "{organization.schema_name}".more_{n} (id serial primary key)'
            )

    furnished("whole")
    count = points(killing, "drop", "whole")
    assert count > 40
    for n in range(1, count + 1):
        furnished(f"killed-{n}")
        killing.say(f"drop killed-{n} {n}")
        assert killing.hear() == "killed"
    bare_database.wait_until_idle()
    assert_nothing_is_unknown(bare_database, installed)
    statuses = [
        str(o.status) for o in sorted(all_organizations(installed), key=lambda o: int(o.id[7:]))
    ]
    assert set(statuses) == {"active", "archived"}
    assert statuses == sorted(statuses)  # once it is shut, it stays shut
    for organization in all_organizations(installed):
        force = organization.status is OrganizationStatus.ACTIVE
        installed.schemas.drop(organization.id, confirm=organization.id, force=force)
    assert all_organizations(installed) == []
    assert bare_database.schemas() == set()
    assert bare_database.roles() == set()
