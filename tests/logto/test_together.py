"""Webhooks and the reconciliation together: one Logto, one truth."""

from __future__ import annotations

from orgtenancy.identity import RequestInfo
from orgtenancy.identity.logto_sync import LogtoWebhooks, LogtoWorker
from orgtenancy.identity.logto_sync.reconciliation.periodic import PeriodicSync
from orgtenancy.registry import members
from orgtenancy.testing import signed_webhook
from tests.logto.worlds import World


def test_what_webhooks_tell_and_what_a_reconciliation_finds_agree(world: World) -> None:
    world.data.create_organization("Acme", organization_id="acme")
    world.data.create_organization("Globex", organization_id="globex")
    alice = world.data.create_user("alice", user_id="alice")
    world.data.add_members("acme", [alice])
    world.data.update_organization("acme", name="Acme Ltd")
    world.data.delete_organization("globex")
    settings = world.fake.settings(webhook_key="key", sync_members=True)
    receiver = LogtoWebhooks(world.tenancy, settings)
    for event in world.data.events:
        webhook = signed_webhook(event, "key")
        headers = {name: [value] for name, value in webhook.headers.items()}
        assert receiver.receive(webhook.body, RequestInfo("POST", "/", headers)).is_new
    sync = world.sync(sync_members=True)
    worker = LogtoWorker(world.tenancy, settings, sync=sync)
    worker.run_once()
    assert world.names_here() == world.names_there() == {"acme": "Acme Ltd"}
    with world.tenancy.control_session() as session:
        assert members.find_standing(session, "acme", alice).member == "active"
    assert sync.plan().items == ()


def test_the_periodic_one_runs_it_when_it_is_due(world: World) -> None:
    world.data.create_organization("Acme", organization_id="acme")
    periodic = PeriodicSync(world.tenancy.schemas.builder.database, world.sync(), 600)
    assert periodic.run_if_due()
    assert not periodic.run_if_due()
    assert world.names_here() == {"acme": "Acme"}
