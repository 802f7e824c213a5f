"""Every operation in every status, for real, against the table of the life."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from orgtenancy import OrganizationStatus, Tenancy
from orgtenancy.errors import (
    InvalidOrganizationId,
    OrganizationNotFound,
    OrganizationUnavailable,
    TransitionRefused,
)
from orgtenancy.operations.lifecycle import Organizations
from orgtenancy.organizations import LIFECYCLE
from tests.lifecycle.worlds import (
    CALLS,
    S,
    assert_consistent,
    count_notes,
    history,
    may_enter,
    new_id,
    reach,
    write,
)
from tests.schemas.databases import FreshDatabase


@pytest.mark.parametrize("status", OrganizationStatus)
@pytest.mark.parametrize("operation", LIFECYCLE)
def test_an_operation_does_what_the_table_says(
    database: FreshDatabase, installed: Tenancy, operation: str, status: OrganizationStatus
) -> None:
    organizations = installed.organizations
    organization_id = reach(installed, status)
    before = organizations.get(organization_id)
    entries = history(installed, organization_id)
    transition = LIFECYCLE[operation]
    assert before.status is status
    if status in transition.targets:
        CALLS[operation](organizations, organization_id)
        assert organizations.get(organization_id) == before
        assert history(installed, organization_id) == entries
    elif status not in transition.sources:
        with pytest.raises(TransitionRefused) as caught:
            CALLS[operation](organizations, organization_id)
        error = caught.value
        assert (error.operation, error.status) == (operation, status)
        assert error.organization_id == organization_id
        assert organizations.get(organization_id) == before
        assert history(installed, organization_id) == entries
    else:
        CALLS[operation](organizations, organization_id)
        if operation == "change_id":
            with pytest.raises(OrganizationNotFound):
                organizations.get(organization_id)
            organization_id += "-new"
        after = organizations.get(organization_id)
        expected = {S.ACTIVE} if operation == "restore" else transition.targets or {status}
        assert after.status in expected
        assert after.updated_at > before.updated_at
        assert (after.status_changed_at != before.status_changed_at) == bool(transition.targets)
        assert (after.purge_after is not None) == (after.status is S.ARCHIVED)
    if status is not S.PROVISIONING and operation != "change_id":
        assert_consistent(database, installed, organization_id)
    assert may_enter(database, organizations.get(organization_id)) == (
        organizations.get(organization_id).status is S.ACTIVE
    )


def test_a_status_is_changed_with_its_reason(installed: Tenancy) -> None:
    organizations, organization_id = installed.organizations, reach(installed, S.ACTIVE)
    suspended = organizations.suspend(organization_id, reason="unpaid")
    assert (suspended.status, suspended.status_reason) == (S.SUSPENDED, "unpaid")
    # There already: the first reason stands.
    assert organizations.suspend(organization_id, reason="another") == suspended
    assert organizations.resume(organization_id).status_reason is None


def test_restoring_does_not_lift_a_suspension(database: FreshDatabase, installed: Tenancy) -> None:
    organizations, organization_id = installed.organizations, reach(installed, S.SUSPENDED)
    organizations.archive(organization_id)
    restored = organizations.restore(organization_id)
    assert restored.status is S.SUSPENDED
    assert not may_enter(database, restored)
    assert organizations.resume(organization_id).is_active
    organizations.archive(organization_id)
    assert organizations.restore(organization_id).is_active
    assert_consistent(database, installed, organization_id)


def test_data_and_rights_are_as_before_after_the_whole_way_there_and_back(
    database: FreshDatabase, installed: Tenancy
) -> None:
    organizations, organization_id = installed.organizations, reach(installed, S.ACTIVE)
    rights = (
        "SELECT n.nspacl::text, (SELECT array_agg(c.relacl::text ORDER BY relname) FROM pg_class c "
        "WHERE c.relnamespace = n.oid) FROM pg_namespace n WHERE nspname = %s"
    )
    schema = organizations.get(organization_id).schema_name
    before = database.ask(rights, schema)
    write(installed, organization_id)
    for there, back in (("suspend", "resume"), ("fence", "unfence"), ("archive", "restore")):
        CALLS[there](organizations, organization_id)
        assert database.ask(rights, schema) != before
        CALLS[back](organizations, organization_id)
        assert database.ask(rights, schema) == before
    write(installed, organization_id, 2)
    assert count_notes(database, organizations.get(organization_id)) == 2


def test_a_grace_period_is_given_or_that_of_the_settings(
    database: FreshDatabase, installed: Tenancy
) -> None:
    def days(organization_id: str, **options: Any) -> float:
        archived = installed.organizations.archive(organization_id, **options)
        assert archived.purge_after
        assert archived.status_changed_at
        return (archived.purge_after - archived.status_changed_at) / timedelta(days=1)

    assert round(days(reach(installed, S.ACTIVE))) == 30
    assert round(days(reach(installed, S.ACTIVE), grace=timedelta(days=7))) == 7
    organization_id = reach(installed, S.ACTIVE)
    with pytest.raises(ValueError, match="negative"):
        installed.organizations.archive(organization_id, grace=timedelta(seconds=-1))
    with database.tenancy(archive_grace=timedelta(days=3)) as other:
        archived = other.organizations.archive(organization_id)
        assert archived.purge_after
        assert archived.status_changed_at
        assert (archived.purge_after - archived.status_changed_at) < timedelta(days=3, minutes=1)


@pytest.mark.parametrize("operation", CALLS)
def test_what_does_not_exist_and_what_is_no_id_is_told_apart(
    installed: Tenancy, operation: str
) -> None:
    with pytest.raises(OrganizationNotFound) as caught:
        CALLS[operation](installed.organizations, "nobody")
    assert caught.value.organization_id == "nobody"
    with pytest.raises(InvalidOrganizationId):
        CALLS[operation](installed.organizations, "-no id")


@pytest.mark.parametrize("twin", [n for n in CALLS if n not in ("purge", "rename", "change_id")])
def test_an_async_twin_does_the_same(
    database: FreshDatabase, installed: Tenancy, twin: str
) -> None:
    organization_id = reach(installed, sorted(LIFECYCLE[twin].sources)[0])
    method: Callable[..., Any] = getattr(installed.organizations, f"{twin}_async")
    changed = asyncio.run(method(organization_id))
    assert changed.status in LIFECYCLE[twin].targets
    assert_consistent(database, installed, organization_id)


def test_the_other_async_twins_do_the_same(installed: Tenancy) -> None:
    organizations, organization_id = installed.organizations, reach(installed, S.ACTIVE)

    async def live() -> None:
        renamed = await organizations.rename_async(organization_id, "Acme Ltd")
        assert await organizations.get_async(organization_id) == renamed
        await organizations.set_attributes_async(organization_id, {"plan": "paid"})
        moved = await organizations.change_id_async(organization_id, new_id())
        assert (moved.name, moved.attributes) == ("Acme Ltd", {"plan": "paid"})
        await organizations.archive_async(moved.id, grace=timedelta())
        assert moved.id in await organizations.purge_due_async()
        page = await organizations.list_async(status=S.PURGED)
        assert moved.id in {o.id for o in page.items}
        await organizations.purge_async(moved.id, confirm=moved.id)
        entries = await organizations.audit_async(organization_id=moved.id, action="purged")
        assert len(entries.items) == 1

    asyncio.run(live())


def test_every_method_has_a_twin_with_its_words() -> None:
    names = [n for n in vars(Organizations) if n.endswith("_async")]
    assert len(names) == 18
    for name in names:
        assert getattr(Organizations, name).__doc__
        assert getattr(Organizations, name).__name__ == name


def test_labels_are_replaced_as_a_whole(installed: Tenancy) -> None:
    organizations, organization_id = installed.organizations, reach(installed, S.ACTIVE)
    organizations.set_attributes(organization_id, {"plan": "free", "region": "eu"})
    changed = organizations.set_attributes(organization_id, {"plan": "paid"})
    assert changed.attributes == {"plan": "paid"}
    assert organizations.set_attributes(organization_id, {"plan": "paid"}) == changed
    done = [e for e in history(installed, organization_id) if e.action == "attributes_set"]
    assert [e.details for e in done] == [{"names": ["plan", "region"]}, {"names": ["plan"]}]
    purged = reach(installed, S.PURGED)
    with pytest.raises(TransitionRefused, match="set_attributes"):
        organizations.set_attributes(purged, {})


def test_provisioning_does_not_bring_back_what_was_purged(installed: Tenancy) -> None:
    organization_id = reach(installed, S.PURGED)
    with pytest.raises(OrganizationUnavailable) as caught:
        installed.schemas.provision(organization_id)
    assert caught.value.status == "purged"


def test_where_an_organization_came_from_is_kept(installed: Tenancy) -> None:
    made = installed.schemas.provision(new_id(), source="logto")
    assert made.source == "logto"
    assert installed.organizations.get(made.id) == made
    again = asyncio.run(installed.schemas.provision_async(new_id(), source="logto"))
    assert again.source == "logto"
    assert installed.schemas.provision(new_id()).source is None
