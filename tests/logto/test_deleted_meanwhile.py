"""An organization that is deleted at Logto while a reconciliation is about to make it."""

from __future__ import annotations

from typing import Any

import pytest

from orgtenancy.identity import RequestInfo
from orgtenancy.identity.logto_sync import LogtoWebhooks, LogtoWorker
from orgtenancy.testing import signed_webhook
from tests.logto.worlds import World


def hear_of_all(world: World) -> None:
    """Receive each webhook so far that was not received yet, and do what they say."""
    receive_all(world)
    LogtoWorker(world.tenancy, world.fake.settings(webhook_key="key")).run_once()


def receive_all(world: World) -> None:
    receiver = LogtoWebhooks(world.tenancy, world.fake.settings(webhook_key="key"))
    for event in world.data.events:
        webhook = signed_webhook(event, "key")
        headers = {name: [value] for name, value in webhook.headers.items()}
        receiver.receive(webhook.body, RequestInfo("POST", "/", headers))


@pytest.fixture
def gone(world: World) -> str:
    """An organization that is in Logto, and missing here: nobody told of its creation."""
    made = world.data.create_organization("Acme", organization_id="acme")
    world.data.events.clear()
    return made


def test_what_is_deleted_after_the_plan_is_not_made(world: World, gone: str) -> None:
    plan = world.sync().plan()
    assert plan.counts() == {"provision": 1}
    world.data.delete_organization(gone)
    hear_of_all(world)
    report = world.sync().apply(plan)
    assert (report.done, report.failures, world.statuses()) == ({}, (), {})
    assert [one.organization_id for one in report.left_alone] == [gone]


def test_what_is_deleted_while_it_is_made_is_archived(
    world: World, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    provision = world.tenancy.schemas.provision

    def in_a_moment(*args: Any, **options: Any) -> Any:
        world.data.delete_organization(gone)
        hear_of_all(world)
        return provision(*args, **options)

    monkeypatch.setattr(world.tenancy.schemas, "provision", in_a_moment)
    report = world.sync().run()
    assert (report.done, report.failures) == ({"provision": 1, "archive": 1}, ())
    assert world.statuses() == {gone: "archived"}


def test_what_is_deleted_while_making_it_fails_fails_once(
    world: World, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        world.data.delete_organization(gone)
        hear_of_all(world)
        raise RuntimeError("no luck")

    monkeypatch.setattr(world.tenancy.schemas, "provision", fail)
    report = world.sync().run()
    assert [one.action for one in report.failures] == ["provision"]


def test_what_is_deleted_again_after_the_plan_is_not_restored(world: World, gone: str) -> None:
    world.tenancy.schemas.provision(gone, name="Acme", source="logto")
    world.tenancy.organizations.archive(gone, source="logto")
    plan = world.sync().plan()
    assert plan.counts() == {"restore": 1}
    world.data.delete_organization(gone)
    hear_of_all(world)
    assert world.sync().apply(plan).done == {}
    assert world.statuses() == {gone: "archived"}


def test_what_is_told_of_others_or_of_a_new_name_keeps_nothing_from_being_made(
    world: World, gone: str
) -> None:
    other = world.data.create_organization("Globex", organization_id="globex")
    plan = world.sync().plan()
    world.data.update_organization(gone, name="Acme Ltd")
    world.data.delete_organization(other)
    receive_all(world)
    assert world.sync().apply(plan).done == {"provision": 1}
    assert world.statuses() == {gone: "active"}


def test_a_deletion_that_logto_told_before_the_reading_is_older_than_it(
    world: World, gone: str
) -> None:
    world.data.delete_organization(gone)
    hear_of_all(world)
    world.data.create_organization("Acme", organization_id=gone)  # from a backup
    assert world.sync().run().done == {"provision": 1}
    assert world.statuses() == {gone: "active"}
