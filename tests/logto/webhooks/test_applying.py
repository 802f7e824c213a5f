"""What an event changes, in whatever status its organization is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from orgtenancy import OrganizationStatus
from orgtenancy.errors import OrganizationNotFound
from orgtenancy.identity.logto_sync import LogtoWorker
from orgtenancy.registry import store
from tests.lifecycle.worlds import CALLS, S, reach
from tests.logto.webhooks.world import World, ago, new_id, settings
from tests.schemas.databases import FreshDatabase, dsn
from tests.support.reservations import reserve


def test_a_creation_provisions_and_says_where_it_came_from(world: World) -> None:
    one = new_id()
    world.post("organization_created", organization=one, name="Acme")
    assert world.worker.run_once() == 1
    organization = world.tenancy.schemas.get(one)
    assert (organization.status, organization.name) == (S.ACTIVE, "Acme")
    assert (organization.source, organization.attributes) == ("logto", {})
    [entry] = world.audit(one)
    assert (entry.action, entry.result) == ("provisioned", "done")
    assert (entry.actor_id, entry.origin) == (None, "logto:webhook")


def test_a_creation_takes_a_spare_where_there_is_one(world: World) -> None:
    world.tenancy.schemas.spares.fill(1)
    ((role,),) = world.database.ask("SELECT role_name FROM orgtenancy.spares")
    world.post("organization_created", organization=(one := new_id()))
    world.worker.run_once()
    assert world.tenancy.schemas.get(one).role_name == role


def test_an_update_of_an_organization_that_is_not_there_provisions_it(world: World) -> None:
    world.post("organization_updated", organization=(one := new_id()), name="Acme 2")
    world.worker.run_once()
    assert world.tenancy.schemas.get(one).name == "Acme 2"
    assert world.tenancy.schemas.get(one).is_active


def test_an_update_renames(world: World) -> None:
    one = new_id()
    world.post("organization_created", organization=one, name="Acme", at=ago(9))
    world.worker.run_once()
    world.post("organization_updated", organization=one, name="Acme 2", at=ago(8))
    world.worker.run_once()
    assert world.tenancy.schemas.get(one).name == "Acme 2"
    assert world.actions(one) == ["provisioned", "renamed"]


def test_an_organization_made_by_hand_is_linked_renamed_and_keeps_its_labels(world: World) -> None:
    one = new_id()
    world.tenancy.schemas.provision(one, name="By hand", attributes={"region": "eu"})
    world.post("organization_created", organization=one, name="Acme")
    world.worker.run_once()
    organization = world.tenancy.schemas.get(one)
    assert (organization.source, organization.name) == ("logto", "Acme")
    assert organization.attributes == {"region": "eu"}
    assert world.actions(one) == ["provisioned", "linked", "renamed"]


def test_an_organization_of_another_source_stays_one(world: World) -> None:
    one = new_id()
    world.tenancy.schemas.provision(one, name="Acme", source="zitadel")
    world.post("organization_created", organization=one, name="Acme")
    world.worker.run_once()
    assert world.tenancy.schemas.get(one).source == "zitadel"


def test_the_hosts_function_gives_the_labels_and_others_stay(world: World) -> None:
    def labels(data: Any) -> dict[str, Any]:
        return {"plan": data["customData"].get("plan")}

    worker = LogtoWorker(world.tenancy, settings(), attributes=labels)
    one = new_id()
    world.post("organization_created", organization=one, customData={"plan": "pro"}, at=ago(9))
    worker.run_once()
    assert world.tenancy.schemas.get(one).attributes == {"plan": "pro"}
    world.tenancy.organizations.set_attributes(one, {"plan": "pro", "region": "eu"})
    world.post("organization_updated", organization=one, customData={"plan": "free"}, at=ago(8))
    worker.run_once()
    assert world.tenancy.schemas.get(one).attributes == {"plan": "free", "region": "eu"}


def test_a_deletion_archives_and_its_data_stays_for_a_while(world: World) -> None:
    one = new_id()
    world.tenancy.schemas.provision(one, source="logto")
    world.post("organization_deleted", organization=one)
    world.worker.run_once()
    organization = world.tenancy.schemas.get(one)
    assert organization.status is S.ARCHIVED
    assert organization.status_reason == "deleted at Logto"
    assert organization.purge_after is not None
    entry = world.audit(one)[-1]
    assert (entry.action, entry.origin) == ("archived", "logto:webhook")
    assert entry.details["source"] == "logto"


def test_a_deletion_of_what_was_never_there_keeps_it_from_coming(world: World) -> None:
    one = new_id()
    world.post("organization_deleted", organization=one, at=ago(1))
    world.worker.run_once()
    world.post("organization_created", organization=one, at=ago(9))
    world.post("organization_updated", organization=one, at=ago(0))  # another clock
    world.worker.run_once()
    assert world.outcomes() == ["done", "superseded", "superseded"]
    with pytest.raises(OrganizationNotFound):
        world.tenancy.schemas.get(one)
    assert world.audit(one) == []


def test_an_older_name_that_arrives_later_changes_nothing(world: World) -> None:
    one = new_id()
    world.post("organization_updated", organization=one, name="newest", at=ago(1))
    world.worker.run_once()
    world.post("organization_created", organization=one, name="oldest", at=ago(9))
    world.post("organization_updated", organization=one, name="older", at=ago(5))
    world.worker.run_once()
    assert world.tenancy.schemas.get(one).name == "newest"
    assert world.outcomes() == ["done", "superseded", "superseded"]


@pytest.mark.parametrize(
    ("status", "created", "deleted"),
    [
        (S.PROVISIONING, "done", "pending"),
        (S.ACTIVE, "done", "done"),
        (S.SUSPENDED, "done", "done"),
        (S.FENCED, "done", "pending"),
        (S.ARCHIVED, "done", "done"),
        (S.PURGED, "superseded", "done"),
    ],
)
def test_each_status_has_an_answer_to_a_creation_and_to_a_deletion(
    world: World, status: OrganizationStatus, created: str, deleted: str
) -> None:
    one, two = reach(world.tenancy, status), reach(world.tenancy, status)
    world.post("organization_created", organization=one, name="Acme")
    world.post("organization_deleted", organization=two)
    world.worker.run_once()
    assert world.outcomes() == [created, deleted]
    after = world.tenancy.schemas.get(one)
    if status is S.PROVISIONING:
        assert after.is_active
    else:
        assert after.status is status  # a webhook opens nothing that was shut
        assert (after.name == "Acme") == (created == "done")
    if deleted == "done":
        assert not world.tenancy.schemas.get(two).is_active


def test_a_fenced_organization_is_archived_when_it_is_open_again(world: World) -> None:
    one = reach(world.tenancy, S.FENCED)
    world.post("organization_deleted", organization=one)
    world.worker.run_once()
    assert world.inbox() == [("Organization.Deleted", one, "pending", 1)]
    world.tenancy.organizations.unfence(one)
    world.make_due()
    world.worker.run_once()
    assert world.inbox() == [("Organization.Deleted", one, "done", 2)]
    assert world.tenancy.schemas.get(one).status is S.ARCHIVED


def test_an_organization_that_is_being_purged_is_left_alone(world: World) -> None:
    one = reach(world.tenancy, S.ARCHIVED)
    world.database.ask(
        "UPDATE orgtenancy.organizations SET purge_started_at = now() WHERE id = %s", one
    )
    world.post("organization_updated", organization=one, name="Acme")
    world.worker.run_once()
    assert world.outcomes() == ["superseded"]
    CALLS["purge"](world.tenancy.organizations, one)


def test_an_id_that_cannot_be_an_organizations_is_not_tried_again(world: World) -> None:
    for kind in ("created", "updated", "deleted"):
        world.post(f"organization_{kind}", organization="../etc")
    world.post("member_removed", organization="a b")
    world.post("members_added", organization="a b")
    world.worker.run_once()
    assert world.outcomes()[2:] == ["failed"] * 3
    assert set(world.outcomes()[:2]) <= {"failed", "superseded"}
    assert not world.database.ask(
        "SELECT true FROM orgtenancy.members WHERE organization_id = 'a b'"
    )


def test_an_event_that_says_too_little_is_kept_as_failed_with_the_reason(world: World) -> None:
    world.send({"event": "Organization.Created", "createdAt": ago(1).isoformat()})
    world.send({"event": "User.Created", "createdAt": ago(1).isoformat()})
    world.worker.run_once()
    assert world.outcomes() == ["failed", "ignored"]
    assert world.database.ask("SELECT error FROM orgtenancy.inbox ORDER BY id") == [
        ("no data.id",),
        (None,),
    ]


def test_a_member_that_is_removed_is_written_down_once(world: World) -> None:
    one = new_id()
    world.tenancy.schemas.provision(one)
    world.post("member_removed", organization=one, user="bob", at=ago(5))
    world.worker.run_once()
    world.post("member_removed", organization=one, user="bob", at=ago(9))
    world.worker.run_once()
    assert world.member(one, "bob") == "removed"
    assert world.outcomes() == ["done", "superseded"]
    assert world.actions(one) == ["provisioned", "member_removed"]
    assert world.audit(one)[-1].details == {"member": "bob"}


def test_what_happened_to_a_user_last_counts(world: World) -> None:
    user = new_id()
    for kind, at in (("suspended", 9), ("resumed", 5), ("suspended", 7)):
        world.post(f"user_{kind}", user=user, at=ago(at))
        world.worker.run_once()
    assert world.actor(user) == "active"
    world.post("user_deleted", user=user, at=ago(1))
    world.post("user_suspended", user=user, at=ago(3))
    world.worker.run_once()
    assert world.actor(user) == "deleted"
    done = [e.action for e in world.audit() if e.details.get("actor") == user]
    assert done == ["actor_suspended", "actor_resumed", "actor_suspended", "actor_deleted"]


class Members:
    """A reconciliation that is only asked for members.

    Attributes:
        asked: For which organizations.
        during: What happens the next time while it reads.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.during: Callable[[], object] = lambda: None

    def run(self) -> None:
        raise NotImplementedError

    def refresh_members(self, organization_id: str) -> None:
        self.asked.append(organization_id)
        during, self.during = self.during, lambda: None
        during()

    def worker(self, world: World) -> LogtoWorker:
        return LogtoWorker(world.tenancy, settings(sync_members=True), sync=self)


def work_on_one(worker: LogtoWorker) -> None:
    assert worker.run_while(iter([True, False]).__next__) == 1


@pytest.mark.parametrize("sync_members", [True, False])
def test_members_that_changed_somehow_are_read_anew_if_wanted_and_caches_are_told(
    world: World, sync_members: bool
) -> None:
    members = Members()
    worker = LogtoWorker(world.tenancy, settings(sync_members=sync_members), sync=members)
    one = new_id()
    with psycopg.connect(dsn(world.database.url), autocommit=True) as listening:
        listening.execute("LISTEN orgtenancy_members")
        world.post("members_added", organization=one)
        world.post("applications_added", organization=one)
        worker.run_once()
        heard = [n.payload for n in listening.notifies(timeout=30, stop_after=2)]
    assert members.asked == ([one] if sync_members else [])
    assert heard == [one, one]
    assert world.outcomes() == ["done", "done"]


def test_the_members_of_one_organization_are_read_once_for_many_events(world: World) -> None:
    members = Members()
    one, two = new_id(), new_id()
    for number in range(20):
        world.post("members_added", organization=one, at=ago(60 - number))
    world.post("members_added", organization=two)
    assert members.worker(world).run_once() == 21
    assert members.asked == [one, two]
    assert world.outcomes() == ["done"] * 21


def test_what_is_received_while_members_are_read_leads_to_another_reading(world: World) -> None:
    members = Members()
    one = new_id()
    members.during = lambda: world.post("members_added", organization=one, at=ago(5))
    world.post("members_added", organization=one, at=ago(1))  # also if it happened before
    members.worker(world).run_once()
    assert members.asked == [one, one]


def test_a_reading_that_failed_counts_for_nothing(world: World) -> None:
    def fail() -> None:
        raise LookupError

    members = Members()
    members.during = fail
    one = new_id()
    for seconds in (9, 8, 7):
        world.post("members_added", organization=one, at=ago(seconds))
    worker = members.worker(world)
    worker.run_once()
    assert members.asked == [one, one]
    assert world.outcomes() == ["pending", "done", "done"]
    world.make_due()
    worker.run_once()
    assert members.asked == [one, one]  # the one that succeeded began after all were received
    assert world.outcomes() == ["done"] * 3


@pytest.mark.parametrize("arrives_late", [False, True])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_who_came_back_after_a_removal_is_seen_by_another_reading(
    world: World, *, arrives_late: bool, elsewhere: bool
) -> None:
    """The reading may have been of a time when they were back, which the removal undid."""
    one = new_id()

    def remove() -> None:
        world.post("member_removed", organization=one, user="bob", at=ago(8))

    members = Members()
    worker = members.worker(world)
    for seconds in (9, 7, 6):
        world.post("members_added", organization=one, at=ago(seconds))
    if arrives_late:
        members.during = remove
    else:
        remove()
    work_on_one(worker)
    work_on_one(members.worker(world) if elsewhere else worker)
    assert world.member(one, "bob") == "removed"
    assert members.asked == [one]
    assert worker.run_once() == 2
    assert members.asked == [one, one]


def test_a_reservation_that_a_process_left_when_it_died_is_gone_after_a_deletion(
    world: World,
) -> None:
    one = reach(world.tenancy, S.PROVISIONING)
    make_old(world, one)
    world.post("organization_deleted", organization=one, at=ago(5))
    world.worker.run_once()
    assert world.inbox() == [("Organization.Deleted", one, "done", 1)]
    with pytest.raises(OrganizationNotFound):
        world.tenancy.schemas.get(one)
    [entry] = world.audit(one)
    assert (entry.action, entry.details) == ("dropped", {"from": "provisioning"})
    world.post("organization_created", organization=one, at=ago(9))
    world.worker.run_once()
    assert world.outcomes() == ["done", "superseded"]


def test_one_that_is_made_while_it_is_deleted_at_logto_is_archived_afterwards(
    world: World, database: FreshDatabase
) -> None:
    one = reach(world.tenancy, S.PROVISIONING)
    make_old(world, one)
    world.post("organization_deleted", organization=one)
    with database.tenancy(lifecycle_lock_timeout=0.1) as tenancy:
        worker = LogtoWorker(tenancy, settings())
        with tenancy._database.admin_engine.begin() as connection:
            store.find(connection, one, lock=True)  # as whoever makes it
            worker.run_once()
        assert world.outcomes() == ["pending"]
        tenancy.schemas.provision(one)
        world.make_due()
        worker.run_once()
    assert world.outcomes() == ["done"]
    assert world.tenancy.schemas.get(one).status is S.ARCHIVED


def make_old(world: World, organization_id: str) -> None:
    world.database.ask(
        "UPDATE orgtenancy.organizations SET created_at = now() - interval '61 s' WHERE id = %s",
        organization_id,
    )


def test_one_that_is_on_its_way_elsewhere_is_brought_to_its_end(world: World) -> None:
    one = new_id()
    with world.tenancy._database.admin_engine.begin() as connection:
        reserve(connection, one)
    world.post("organization_updated", organization=one, name="Acme")
    world.worker.run_once()
    organization = world.tenancy.schemas.get(one)
    assert (organization.is_active, organization.name) == (True, "Acme")
    assert organization.source == "logto"
