"""Where an organization is known too is noted once, and changes nothing else."""

from __future__ import annotations

import asyncio

import pytest

from orgtenancy import OrganizationStatus, Tenancy
from orgtenancy.errors import OrganizationNotFound
from tests.lifecycle.worlds import history, new_id, reach
from tests.schemas.databases import FreshDatabase


@pytest.mark.parametrize("status", [OrganizationStatus.ACTIVE, OrganizationStatus.ARCHIVED])
def test_one_that_was_made_by_hand_gets_a_source(
    installed: Tenancy, status: OrganizationStatus
) -> None:
    organization_id = reach(installed, status)
    linked = installed.organizations.link(organization_id, source="logto")
    assert (linked.source, linked.status) == ("logto", status)
    assert installed.organizations.get(organization_id) == linked
    entry = history(installed, organization_id)[-1]
    assert (entry.action, entry.details) == ("linked", {"source": "logto"})


def test_one_that_has_a_source_keeps_it(installed: Tenancy) -> None:
    made = installed.schemas.provision(new_id(), source="workos")
    entries = history(installed, made.id)
    again = asyncio.run(installed.organizations.link_async(made.id, source="logto"))
    assert again == made
    assert history(installed, made.id) == entries


def test_one_that_is_not_there_is_told_in_the_audit(
    installed: Tenancy, database: FreshDatabase
) -> None:
    missing = new_id()
    with pytest.raises(OrganizationNotFound):
        installed.organizations.link(missing, source="logto")
    (entry,) = history(installed, missing, done=False)
    assert (entry.action, entry.result) == ("linked", "refused")
