"""Logto's side of the tests: bodies as they were recorded, signed, and posted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from orgtenancy import PageRequest, Tenancy
from orgtenancy.errors import WebhookForged, WebhookRefused
from orgtenancy.identity.logto_sync import LogtoSettings, LogtoWebhooks, LogtoWorker
from orgtenancy.identity.requests import RequestInfo
from orgtenancy.organizations import AuditEntry
from orgtenancy.testing import SignedWebhook, logto_webhook, signed_webhook
from tests.schemas.databases import FreshDatabase

KEY = "wN7LUP2GXmVBSnJwRRvyTQHsLxyz5c0A"

RECORDINGS = Path(__file__).parents[2] / "data" / "logto" / "webhooks.jsonl"


def settings(**changes: Any) -> LogtoSettings:
    return LogtoSettings.model_validate(
        {"endpoint": "https://auth.example.com", "webhook_key": KEY, **changes}
    )


def recordings() -> list[bytes]:
    """Return the bodies as they came from a running server."""
    return RECORDINGS.read_bytes().splitlines()


def recent(recorded: bytes) -> bytes:
    """Return a recorded body as if the recording had ended just now."""
    last = _created(recordings()[-1])
    when = _created(recorded)
    now = datetime.now(UTC) - (last - when)
    old, new = (t.isoformat(timespec="milliseconds").replace("+00:00", "Z") for t in (when, now))
    assert recorded.count(old.encode()) == 1
    return recorded.replace(old.encode(), new.encode())


def _created(body: bytes) -> datetime:
    return datetime.fromisoformat(json.loads(body)["createdAt"])


def new_id() -> str:
    return f"t{uuid4().hex[:11]}"


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def request_of(webhook: SignedWebhook) -> RequestInfo:
    headers = {name: [value] for name, value in webhook.headers.items()}
    return RequestInfo("POST", "/webhooks/logto", headers)


class World:
    """A tenancy with Logto beside it.

    Attributes:
        database: Its database.
        tenancy: The tenancy.
        receiver: Takes webhooks.
        worker: Does what they say, when it is told to.
    """

    def __init__(self, database: FreshDatabase, tenancy: Tenancy) -> None:
        self.database = database
        self.tenancy = tenancy
        self.receiver = LogtoWebhooks(tenancy, settings())
        self.worker = LogtoWorker(tenancy, settings())

    def post(self, kind: str, **options: Any) -> bool:
        """Receive a webhook, and return whether it was new."""
        return self.send(logto_webhook(kind, **options))

    def send(self, body: Mapping[str, Any] | bytes, key: str = KEY) -> bool:
        webhook = signed_webhook(body, key)
        return self.receiver.receive(webhook.body, request_of(webhook)).is_new

    def inbox(self) -> list[tuple[Any, ...]]:
        """Return event, subject, status and attempts of all there is."""
        return self.database.ask(
            "SELECT event, subject, status, attempts FROM orgtenancy.inbox ORDER BY id"
        )

    def outcomes(self) -> list[str]:
        return [status for _, _, status, _ in self.inbox()]

    def audit(self, organization_id: str | None = None) -> list[AuditEntry]:
        """Return the audit, of all or of one organization, oldest first."""
        page = PageRequest(limit=100)
        return list(self.tenancy.organizations.audit(page, organization_id=organization_id).items)[
            ::-1
        ]

    def actions(self, organization_id: str) -> list[str]:
        return [entry.action for entry in self.audit(organization_id)]

    def member(self, organization_id: str, actor_id: str) -> str | None:
        found = self.database.ask(
            "SELECT status FROM orgtenancy.members WHERE organization_id = %s AND actor_id = %s",
            organization_id,
            actor_id,
        )
        return found[0][0] if found else None

    def actor(self, actor_id: str) -> str | None:
        found = self.database.ask("SELECT status FROM orgtenancy.actors WHERE id = %s", actor_id)
        return found[0][0] if found else None

    def make_due(self) -> None:
        """Let what waits for another attempt have waited enough."""
        self.database.ask("UPDATE orgtenancy.inbox SET available_at = now()")


def app_of(receiver: LogtoWebhooks) -> Starlette:
    """Return an app that takes webhooks at `/webhooks/logto`."""

    async def take(request: Request) -> Response:
        names = {name.lower() for name in request.headers}
        headers = {name: request.headers.getlist(name) for name in names}
        about = RequestInfo(request.method, request.url.path, headers)
        try:
            receipt = await receiver.receive_async(await request.body(), about)
        except WebhookRefused as error:
            status = 401 if isinstance(error, WebhookForged) else 400
            return JSONResponse({"code": error.code}, status)
        return JSONResponse({"received": True, "new": receipt.is_new})

    return Starlette(routes=[Route("/webhooks/logto", take, methods=["POST"])])
