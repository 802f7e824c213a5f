"""What is taken as a webhook of Logto's, and what is not."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from orgtenancy.errors import ConfigurationError, WebhookForged, WebhookRefused
from orgtenancy.identity.logto_sync.inbound import webhooks
from orgtenancy.identity.logto_sync.inbound.webhooks import SIGNATURE_HEADER, LogtoWebhooks
from orgtenancy.identity.requests import RequestInfo
from orgtenancy.identity.webhooks import WebhookReceiver
from orgtenancy.testing import WEBHOOKS, SignedWebhook, logto_webhook, signed_webhook
from tests.logto.webhooks.world import KEY, World, ago, recent, recordings, request_of, settings
from tests.schemas.databases import FreshDatabase

# What `openssl dgst -sha256 -hmac` says of recorded bodies.
SIGNATURES = {
    3: "c81d8df5b69e3b62af8c5f615f13760552763ca0375b62c39cdac0505c95d239",
    6: "ce746933e59556d7861307806707e416bdade3e5f18c0c984e750b088041eb8e",
}


def receive(receiver: WebhookReceiver, body: bytes, *signatures: str) -> bool:
    request = RequestInfo("POST", "/", {SIGNATURE_HEADER: signatures})
    return receiver.receive(body, request).is_new


def good(**changes: Any) -> SignedWebhook:
    return signed_webhook({**logto_webhook("organization_created"), **changes}, KEY)


def test_the_signature_is_the_hmac_that_logto_documents() -> None:
    for number, signature in SIGNATURES.items():
        assert signed_webhook(recordings()[number], KEY).headers[SIGNATURE_HEADER] == signature


def test_a_signed_body_is_written_down_with_the_rights_of_the_app(world: World) -> None:
    webhook = good()
    assert receive(world.receiver, webhook.body, webhook.headers[SIGNATURE_HEADER])
    [row] = world.database.ask("SELECT source, digest, event, subject, body FROM orgtenancy.inbox")
    digest = hashlib.sha256(webhook.body).hexdigest()
    assert row == ("logto", digest, "Organization.Created", "acme", json.loads(webhook.body))
    [(occurred_at,)] = world.database.ask("SELECT occurred_at FROM orgtenancy.inbox")
    assert occurred_at == datetime.fromisoformat(json.loads(webhook.body)["createdAt"])


def test_the_async_twin_does_the_same(world: World, event_loop_runner: asyncio.Runner) -> None:
    webhook = good()
    for is_new in (True, False):
        receipt = event_loop_runner.run(
            world.receiver.receive_async(webhook.body, request_of(webhook))
        )
        assert receipt.is_new == is_new
    assert len(world.inbox()) == 1


def test_a_receiver_needs_no_admin_url(database: FreshDatabase, world: World) -> None:
    from orgtenancy import Settings, Tenancy

    webhook = good()
    with Tenancy(database.url, settings=Settings(listen=False)) as tenancy:
        assert LogtoWebhooks(tenancy, settings()).receive(webhook.body, request_of(webhook)).is_new


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body, signature: (body, ()),
        lambda body, signature: (body, ("",)),
        lambda body, signature: (body, (signature, signature)),
        lambda body, signature: (body, (signature, "0" * 64)),
        lambda body, signature: (body, (f"{signature}, {signature}",)),
        lambda body, signature: (body, (signature[:-1],)),
        lambda body, signature: (body, (f"{signature}0",)),
        lambda body, signature: (body, (f"sha256={signature}",)),
        lambda body, signature: (body, ("ü" * 64,)),
        lambda body, signature: (body, ("\ud800" * 64,)),
        lambda body, signature: (body + b" ", (signature,)),
        lambda body, signature: (body.replace(b"acme", b"evil"), (signature,)),
        lambda body, signature: (
            body,
            (signed_webhook(body, "another").headers[SIGNATURE_HEADER],),
        ),
        lambda body, signature: (body, (signed_webhook(body, "").headers[SIGNATURE_HEADER],)),
        lambda body, signature: (body, (hashlib.sha256(body).hexdigest(),)),
        lambda body, signature: (b"", (signature,)),
    ],
)
def test_what_is_not_signed_with_the_key_is_forged_and_changes_nothing(
    world: World, spoil: Callable[[bytes, str], tuple[bytes, tuple[str, ...]]]
) -> None:
    webhook = good()
    before = len(world.audit())
    body, signatures = spoil(webhook.body, webhook.headers[SIGNATURE_HEADER])
    with pytest.raises(WebhookForged):
        receive(world.receiver, body, *signatures)
    assert world.inbox() == []
    assert len(world.audit()) == before


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_nothing_of_a_body_is_parsed_before_its_signature_is_right(
    world: World, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    def parse(body: bytes) -> Any:
        raise AssertionError("parsed")

    monkeypatch.setattr(webhooks, "_parse", parse)
    with pytest.raises(WebhookForged):
        receive(world.receiver, body, "0" * 64)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"null",
        b"[]",
        b'"Organization.Created"',
        b"{}",
        b'{"event":"Organization.Created"}',
        b'{"event":7,"createdAt":"2026-11-23T04:33:10.896Z"}',
        b'{"event":"","createdAt":"2026-11-23T04:33:10.896Z"}',
        b'{"event":"x","createdAt":1795408390885}',
        b'{"event":"x","createdAt":"yesterday"}',
        b'{"event":"x","createdAt":"2026-11-23T04:33:10.896"}',
        b'{"event":"x","createdAt":null}',
    ],
)
def test_a_signed_body_that_is_no_event_is_refused(world: World, body: bytes) -> None:
    with pytest.raises(WebhookRefused) as caught:
        world.send(body)
    assert not isinstance(caught.value, WebhookForged)
    assert world.inbox() == []


@pytest.mark.parametrize(
    "name", [r'"\u0000"', r'"\ud800"', "NaN", "-Infinity", "1e999", "1" * 5000]
)
def test_a_signed_body_with_what_cannot_be_stored_is_refused_or_stored(
    world: World, name: str
) -> None:
    body = json.dumps(logto_webhook("organization_created", name="NAME"))
    try:
        world.send(body.replace('"NAME"', name).encode())
    except WebhookRefused:
        assert world.inbox() == []
    world.worker.run_once()
    assert set(world.outcomes()) <= {"done", "failed"}


@pytest.mark.parametrize(
    ("age", "is_taken"), [(290, True), (310, False), (-50, True), (-70, False)]
)
def test_a_webhook_that_is_too_old_or_from_the_future_is_refused(
    world: World, age: float, is_taken: bool
) -> None:
    body = logto_webhook("organization_created", at=ago(age))
    if is_taken:
        assert world.send(body)
        return
    with pytest.raises(WebhookRefused):
        world.send(body)
    assert world.inbox() == []


def test_the_age_is_the_settings(world: World) -> None:
    receiver = LogtoWebhooks(world.tenancy, settings(webhook_max_age=5))
    webhook = signed_webhook(logto_webhook("organization_created", at=ago(6)), KEY)
    with pytest.raises(WebhookRefused):
        receiver.receive(webhook.body, request_of(webhook))


def test_the_age_counts_whatever_zone_it_is_written_in(world: World) -> None:
    body = logto_webhook("organization_created")
    local = datetime.now(UTC).isoformat().replace("+00:00", "+02:00")  # two hours ago
    with pytest.raises(WebhookRefused, match="older"):
        world.send({**body, "createdAt": local})


def test_the_same_webhook_sent_again_is_no_news(world: World) -> None:
    body = logto_webhook("organization_created")
    assert [world.send(body) for _ in range(3)] == [True, False, False]
    assert len(world.inbox()) == 1
    world.worker.run_once()
    assert not world.send(body)
    assert world.worker.run_once() == 0
    assert world.outcomes() == ["done"]


def test_while_the_key_is_changed_both_are_right(world: World) -> None:
    receiver = LogtoWebhooks(world.tenancy, settings(webhook_key=f"new-key , {KEY},"))
    for key, is_right in (("new-key", True), (KEY, True), ("another", False), ("", False)):
        webhook = signed_webhook(logto_webhook("organization_created", name=f"by {key}"), key)
        if is_right:
            assert receiver.receive(webhook.body, request_of(webhook)).is_new
        else:
            with pytest.raises(WebhookForged):
                receiver.receive(webhook.body, request_of(webhook))


@pytest.mark.parametrize("key", [None, "", " ", ",", " , "])
def test_without_a_key_there_is_no_receiver(world: World, key: str | None) -> None:
    with pytest.raises(ConfigurationError, match="webhook_key"):
        LogtoWebhooks(world.tenancy, settings(webhook_key=key))


def test_the_key_is_in_no_text_of_the_settings() -> None:
    assert KEY not in repr(settings()) + str(settings()) + settings().model_dump_json()


def test_a_database_that_is_gone_is_no_refusal(world: World) -> None:
    from orgtenancy import Settings, Tenancy

    webhook = good()
    nowhere = "postgresql+psycopg://app@127.0.0.1:1/app"
    with (
        Tenancy(nowhere, settings=Settings(listen=False)) as tenancy,
        pytest.raises(OperationalError),
    ):
        LogtoWebhooks(tenancy, settings()).receive(webhook.body, request_of(webhook))


def test_every_recorded_body_is_taken(world: World) -> None:
    for body in recordings():
        assert world.send(recent(body))
    subjects = {subject for _, subject, _, _ in world.inbox()}
    assert subjects == {"7zp7flxblujn", "afb6zw2tnuqy"}


@pytest.mark.parametrize("kind", WEBHOOKS)
def test_the_webhooks_of_the_test_kit_have_the_members_of_the_recorded_ones(kind: str) -> None:
    def shape(body: dict[str, Any]) -> Any:
        data = sorted(body.get("data", {}))
        return sorted(body), body["event"], body["method"], body["matchedRoute"], data

    made = shape(logto_webhook(kind))
    if kind == "user_deleted":  # was not recorded
        return
    assert made in [shape(json.loads(body)) for body in recordings()]
