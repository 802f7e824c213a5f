"""The reconciliation makes the registry as Logto is, and leaves alone what is not Logto's."""

from __future__ import annotations

import asyncio

import pytest

from orgtenancy import Organization, Tenancy
from orgtenancy.community import UserProfile, community, sync_profile
from orgtenancy.errors import OrganizationUnavailable, SyncRefused
from orgtenancy.identity.logto_sync import LogtoUser, SyncItem
from tests.logto.worlds import World, plan_of, remember, snapshot
from tests.schemas.databases import FreshDatabase
from tests.support.notes import notes
from tests.support.reservations import reserve


def test_what_is_missing_is_provisioned(world: World) -> None:
    made = world.data.create_organization("Acme", custom_data={"plan": "pro"})
    report = world.sync(attributes=plan_of).run()
    assert (report.done, report.failures, report.left_alone) == ({"provision": 1}, (), ())
    found = world.tenancy.schemas.get(made)
    assert (found.name, found.source, found.attributes) == ("Acme", "logto", {"plan": "pro"})
    with world.tenancy.session(made):
        pass


def test_a_name_and_labels_are_taken_over(world: World) -> None:
    made = world.data.create_organization("Acme")
    world.sync().run()
    world.tenancy.organizations.set_attributes(made, {"region": "eu"})
    world.data.update_organization(made, name="Acme 2", custom_data={"plan": "pro"})
    report = world.sync(attributes=plan_of).run()
    assert report.done == {"rename": 1, "set_attributes": 1}
    found = world.tenancy.schemas.get(made)
    assert (found.name, found.attributes) == ("Acme 2", {"region": "eu", "plan": "pro"})
    assert world.sync(attributes=plan_of).run().done == {}
    assert world.sync().run().done == {}


def test_one_that_was_made_by_hand_becomes_logtos(world: World) -> None:
    made = world.data.create_organization("Acme")
    world.tenancy.schemas.provision(made, name="Acme")
    assert world.sync().run().done == {"link": 1}
    assert world.tenancy.schemas.get(made).source == "logto"
    (entry,) = world.audited("linked")
    assert (entry.organization_id, entry.details) == (made, {"source": "logto"})
    assert world.sync().run().done == {}


def test_what_is_gone_is_archived_and_comes_back(world: World) -> None:
    stays, goes = (world.data.create_organization(name) for name in ("Acme", "Globex"))
    world.sync().run()
    world.data.delete_organization(goes)
    assert world.sync().run().done == {"archive": 1}
    assert world.statuses() == {stays: "active", goes: "archived"}
    assert world.tenancy.schemas.get(goes).status_reason == "it is gone in Logto"
    assert world.sync().run().done == {}
    world.data.create_organization("Globex", organization_id=goes)
    assert world.sync().run().done == {"restore": 1}
    assert world.statuses() == {stays: "active", goes: "active"}


def test_one_that_was_suspended_comes_back_suspended(world: World) -> None:
    world.data.create_organization("Acme")
    made = world.data.create_organization("Globex")
    world.sync().run()
    world.tenancy.organizations.suspend(made)
    world.data.delete_organization(made)
    world.sync().run()
    world.data.create_organization("Globex", organization_id=made)
    world.sync().run()
    assert world.statuses()[made] == "suspended"


def test_what_people_made_or_archived_or_shut_stays_as_it_is(world: World) -> None:
    organizations = world.tenancy.organizations
    archived, suspended, purged = (
        world.data.create_organization(name, organization_id=name)
        for name in ("archived", "suspended", "purged")
    )
    world.sync().run()
    organizations.archive(archived)
    organizations.suspend(suspended)
    organizations.archive(purged)
    organizations.purge(purged, confirm=purged, now=True)
    world.tenancy.schemas.provision("by-hand")
    world.tenancy.schemas.provision("elsewhere", source="workos")
    report = world.sync().run()
    assert report.done == {}
    assert [(one.organization_id, one.reason) for one in report.left_alone] == [
        ("purged", "it was purged here")
    ]
    assert world.statuses() == {
        "archived": "archived",
        "suspended": "suspended",
        "purged": "purged",
        "by-hand": "active",
        "elsewhere": "active",
    }


def test_one_that_comes_from_another_source_stays_its_own(world: World) -> None:
    world.data.create_organization("Acme", organization_id="acme")
    world.tenancy.schemas.provision("acme", name="Old", source="workos")
    report = world.sync().run()
    assert (report.done, report.left_alone[0].reason) == ({}, "it comes from workos")
    assert world.tenancy.schemas.get("acme").name == "Old"


def test_one_whose_id_was_changed_is_not_given_up(world: World) -> None:
    world.data.create_organization("Acme", organization_id="acme")
    world.sync().run()
    world.tenancy.organizations.change_id("acme", "acme-eu")
    assert world.sync().run().done == {"provision": 1}
    assert world.statuses() == {"acme": "active", "acme-eu": "active"}
    assert world.tenancy.schemas.get("acme-eu").source is None


def test_one_that_is_fenced_is_archived_when_it_is_open_again(world: World) -> None:
    world.data.create_organization("Acme")
    made = world.data.create_organization("Globex")
    world.sync().run()
    world.tenancy.organizations.fence(made)
    world.data.delete_organization(made)
    report = world.sync().run()
    assert (report.done, len(report.left_alone), report.failures) == ({}, 1, ())
    world.tenancy.organizations.unfence(made)
    assert world.sync().run().done == {"archive": 1}


def test_an_id_that_none_can_have_here_is_told_and_stops_no_other(world: World) -> None:
    world.data.create_organization("Odd", organization_id="odd.id")
    made = world.data.create_organization("Acme")
    report = world.sync().run()
    assert report.done == {"provision": 1}
    assert report.left_alone[0].organization_id == "odd.id"
    assert "only A-Z" in report.left_alone[0].reason
    assert set(world.here()) == {made}


def test_more_than_allowed_is_not_archived(world: World, bare_database: FreshDatabase) -> None:
    made = [world.data.create_organization(f"Acme {n}") for n in range(6)]
    world.sync().run()
    for gone in made[:4]:
        world.data.delete_organization(gone)
    world.data.update_organization(made[5], name="New")
    before = snapshot(bare_database)
    with pytest.raises(SyncRefused) as caught:
        world.sync(max_archived=3).run(dry_run=True)
    assert set(caught.value.would_archive) == set(made[:4])
    assert snapshot(bare_database) == before
    with pytest.raises(SyncRefused):
        world.sync(max_archived=3).run()
    (refused, _) = world.audited("logto.sync")
    assert (refused.result, refused.details["would_archive"]) == ("refused", 4)
    assert set(world.statuses().values()) == {"active"}
    # A plan that was made with another limit is refused as well, before anything of it is done.
    plan = world.sync(max_archived=4).plan()
    with pytest.raises(SyncRefused):
        world.sync(max_archived=3).apply(plan)
    assert world.here()[made[5]].name == "Acme 5"
    assert world.sync(max_archived=4).apply(plan).done == {"archive": 4, "rename": 1}


def test_a_logto_without_organizations_archives_none(world: World) -> None:
    made = world.data.create_organization("Acme")
    world.sync().run()
    world.data.delete_organization(made)
    with pytest.raises(SyncRefused, match="no organization at all"):
        world.sync().run()
    assert world.statuses() == {made: "active"}


def test_a_logto_without_organizations_is_fine_where_none_is_its_own(world: World) -> None:
    world.tenancy.schemas.provision("by-hand")
    assert world.sync().run().done == {}


def test_a_dry_run_changes_nothing(world: World, bare_database: FreshDatabase) -> None:
    gone, renamed, by_hand = (world.data.create_organization(f"Acme {n}") for n in range(3))
    world.tenancy.schemas.provision(by_hand)
    world.tenancy.organizations.archive(by_hand, source="logto")
    user = world.data.create_user("alice")
    world.sync().run()
    world.data.delete_organization(gone)
    world.data.update_organization(renamed, name="New")
    world.data.add_members(renamed, [user])
    world.data.suspend_user(user)
    new = world.data.create_organization("New one")
    before = snapshot(bare_database)
    told: list[tuple[str, str]] = []
    report = world.sync(sync_members=True, on_member=remember(told)).run(dry_run=True)
    assert snapshot(bare_database) == before
    assert (report.is_applied, report.done, told) == (False, {}, [])
    items = {(item.action, item.organization_id) for item in report.plan.items}
    assert items == {
        ("provision", new),
        ("rename", renamed),
        ("archive", gone),
        ("add_member", renamed),
        ("suspend_actor", None),
    }
    assert "alice" not in report.model_dump_json()


def test_what_changed_since_the_plan_stays_as_it_is(world: World) -> None:
    gone, renamed, stays = (world.data.create_organization(f"Acme {n}") for n in range(3))
    world.sync().run()
    new = world.data.create_organization("New")
    world.data.delete_organization(gone)
    world.data.update_organization(renamed, name="Older")
    world.data.update_organization(stays, name="Newer")
    plan = world.sync().plan()
    # As its webhook does it meanwhile.
    world.tenancy.organizations.rename(renamed, "Newest")
    world.tenancy.organizations.rename(gone, "Here again")
    world.tenancy.schemas.provision(new, name="Made by its webhook")
    report = world.sync().apply(plan)
    assert report.done == {"rename": 1}
    assert {one.organization_id for one in report.left_alone} == {gone, renamed, new}
    assert world.names_here() == {
        gone: "Here again",
        renamed: "Newest",
        stays: "Newer",
        new: "Made by its webhook",
    }


def test_what_changed_since_the_reading_began_stays_as_it_is(world: World) -> None:
    gone, renamed = (world.data.create_organization(f"Acme {n}") for n in range(2))
    world.sync().run()
    world.data.delete_organization(gone)
    world.data.update_organization(renamed, name="Older")
    world.fake.shift_while_read(
        lambda: [world.tenancy.organizations.rename(one, "Newest") for one in (gone, renamed)]
    )
    plan = world.sync().plan()
    assert (plan.items, {one.organization_id for one in plan.left_alone}) == ((), {gone, renamed})


def test_the_audit_tells_of_each_run(world: World) -> None:
    made = world.data.create_organization("Acme")
    world.sync().run()
    (entry,) = world.audited("logto.sync")
    assert (entry.origin, entry.actor_id, entry.result) == ("logto:sync", None, "done")
    assert entry.details == {"provision": 1, "seen": 1, "failed": 0, "left_alone": 0}
    (provisioned,) = world.audited("provisioned")
    assert (provisioned.organization_id, provisioned.origin) == (made, "logto:sync")


def test_it_runs_beside_an_event_loop(world: World) -> None:
    world.data.create_organization("Acme")
    assert asyncio.run(world.sync().run_async()).done == {"provision": 1}
    assert asyncio.run(world.sync().run_async(dry_run=True)).plan.items == ()


def test_an_interrupted_provisioning_is_brought_to_its_end(
    world: World, bare_database: FreshDatabase
) -> None:
    made = world.data.create_organization("Acme")
    world.sync().run()
    with world.tenancy._database.admin_engine.begin() as connection:
        reserve(connection, "half-made")
    world.data.create_organization("Half", organization_id="half-made")
    assert world.sync().run().done == {"provision": 1}
    assert world.statuses() == {made: "active", "half-made": "active"}


@pytest.mark.slow
def test_members_get_profiles(world: World, bare_database: FreshDatabase) -> None:
    with bare_database.tenancy([community, notes]) as tenancy:
        made = world.data.create_organization("Acme")
        alice = world.data.create_user("alice", name="Alice")
        world.data.add_members(made, [alice])
        other = world.beside(tenancy)
        other.sync(sync_members=True, on_member=sync_profile).run()
        other.sync(sync_members=True, on_member=sync_profile).run()
        with tenancy.session(made) as session:
            profile = session.get(UserProfile, alice)
        assert profile is not None
        assert (profile.username, profile.display_name) == ("alice", "Alice")


@pytest.mark.slow
def test_a_thousand_organizations_converge(world: World, tenancy: Tenancy) -> None:
    made = [world.data.create_organization(f"Acme {n}") for n in range(1000)]
    tenancy.schemas.spares.fill(50)
    by_hand = {"by-hand", *made[:5]}
    for key in by_hand:
        tenancy.schemas.provision(key)
    report = world.sync().run()
    assert report.done == {"provision": 995, "link": 5, "rename": 5}
    assert world.names_here() == world.names_there() | {"by-hand": "by-hand"}
    for key in made[100:130]:
        world.data.delete_organization(key)
    for key in made[200:250]:
        world.data.update_organization(key, name=f"{key} Ltd")
    new = {world.data.create_organization(f"New {n}") for n in range(20)}
    report = world.sync(max_archived=30).run()
    assert report.done == {"provision": 20, "rename": 50, "archive": 30}
    assert world.names_here() == world.names_there() | {"by-hand": "by-hand"}
    assert new <= set(world.names_here())
    assert world.sync().plan().items == ()


def test_an_archived_organization_shuts_its_members_out(world: World) -> None:
    world.data.create_organization("Acme")
    made = world.data.create_organization("Globex")
    world.sync().run()
    world.data.delete_organization(made)
    world.sync().run()
    with pytest.raises(OrganizationUnavailable), world.tenancy.session(made):
        pass


def unused(session: object, organization: Organization, user: LogtoUser) -> None:
    """As the type of a function of the host."""


def test_a_plan_is_a_document(world: World) -> None:
    world.data.create_organization("Acme", organization_id="acme")
    plan = world.sync(on_member=unused).plan()
    assert plan.items == (
        SyncItem(action="provision", organization_id="acme", name="Acme", attributes={}),
    )
    assert (plan.counts(), plan.archived, plan.seen) == ({"provision": 1}, (), 1)
    assert type(plan).model_validate_json(plan.model_dump_json()) == plan
