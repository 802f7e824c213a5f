"""Webhooks and the reconciliation together: one Logto, one truth."""

from __future__ import annotations

from orgtenancy.identity import RequestInfo
from orgtenancy.identity.logto_sync import LogtoInbox, LogtoWebhooks, LogtoWorker
from orgtenancy.identity.logto_sync.reconciliation.periodic import PeriodicSync
from orgtenancy.registry import members
from orgtenancy.testing import signed_webhook
from tests.logto.times import Clock
from tests.logto.worlds import World


def hearing(world: World) -> LogtoWorker:
    """Receive all that happened at Logto, and return a worker for it."""
    settings = world.fake.settings(webhook_key="key", sync_members=True)
    receiver = LogtoWebhooks(world.tenancy, settings)
    for event in world.data.events:
        webhook = signed_webhook(event, "key")
        headers = {name: [value] for name, value in webhook.headers.items()}
        assert receiver.receive(webhook.body, RequestInfo("POST", "/", headers)).is_new
    return LogtoWorker(world.tenancy, settings, sync=world.sync(sync_members=True))


def member(world: World, organization_id: str, actor_id: str) -> str | None:
    with world.tenancy.control_session() as session:
        return members.find_standing(session, organization_id, actor_id).member


def test_what_webhooks_tell_and_what_a_reconciliation_finds_agree(world: World) -> None:
    world.data.create_organization("Acme", organization_id="acme")
    world.data.create_organization("Globex", organization_id="globex")
    alice = world.data.create_user("alice", user_id="alice")
    world.data.add_members("acme", [alice])
    world.data.update_organization("acme", name="Acme Ltd")
    world.data.delete_organization("globex")
    sync, worker = world.sync(sync_members=True), hearing(world)
    worker.run_once()
    assert world.names_here() == world.names_there() == {"acme": "Acme Ltd"}
    assert member(world, "acme", alice) == "active"
    assert sync.plan().items == ()


def test_many_who_come_go_and_come_back_are_read_a_few_times(world: World) -> None:
    world.data.create_organization("Acme", organization_id="acme")
    users = [world.data.create_user(f"u{n}", user_id=f"u{n}") for n in range(8)]
    for user in users:
        world.data.add_members("acme", [user])
    for user in users[:2]:
        world.data.remove_member("acme", user)
    world.data.add_members("acme", users[:1])
    hearing(world).run_once()
    assert [member(world, "acme", user) for user in users[:3]] == ["active", "removed", "active"]
    assert world.fake.requests("/api/organizations/acme/users") == 2


def test_a_logto_that_is_asked_too_much_does_not_hold_the_worker(
    world: World, clock: Clock
) -> None:
    world.data.create_organization("Acme", organization_id="acme")
    world.data.add_members("acme", [world.data.create_user("alice", user_id="alice")])
    worker = hearing(world)
    world.fake.fail_next(429, retry_after=40)
    worker.run_once()
    assert clock.slept == []
    assert member(world, "acme", "alice") is None
    events = LogtoInbox(world.tenancy).newest()
    [waiting] = [event for event in events if event.status == "pending"]
    assert waiting.event == "Organization.Membership.Updated"
    assert str(waiting.error).startswith("IdentityProviderUnavailable: Logto cannot be asked now")


def test_the_periodic_one_runs_it_when_it_is_due(world: World) -> None:
    world.data.create_organization("Acme", organization_id="acme")
    periodic = PeriodicSync(world.tenancy.schemas.builder.database, world.sync(), 600)
    assert periodic.run_if_due()
    assert not periodic.run_if_due()
    assert world.names_here() == {"acme": "Acme"}
