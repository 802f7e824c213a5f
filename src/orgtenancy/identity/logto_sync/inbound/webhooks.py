"""Logto's webhooks as they arrive: is it Logto's, is it recent, and is it written down.

Logto signs the raw body, and nothing else: no id, no sequence, no time outside of it. So a
delivery is the same one exactly if its bytes are, and how old it is stands in the body. Logto
does not send again what was not taken; what is lost, a reconciliation finds.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.exc import DataError
from sqlalchemy.orm import Session

from orgtenancy.errors import ConfigurationError, WebhookForged, WebhookRefused
from orgtenancy.identity.logto_sync.host import Host
from orgtenancy.identity.logto_sync.inbound.events import LogtoEvent, read_event
from orgtenancy.identity.logto_sync.names import SOURCE
from orgtenancy.identity.logto_sync.settings import CLOCK_SKEW, LogtoSettings
from orgtenancy.identity.requests import RequestInfo
from orgtenancy.identity.webhooks import Receipt
from orgtenancy.registry import inbox

SIGNATURE_HEADER = "logto-signature-sha-256"


@dataclass(frozen=True, slots=True)
class _Delivery:
    digest: str
    event: LogtoEvent
    body: Mapping[str, Any]


class LogtoWebhooks:
    """Checks Logto's webhooks, and writes them down in the registry's inbox.

    It needs no more than the app's rights: to add to the inbox, and not to read it. A
    `LogtoWorker` does what they say.

    Args:
        host: The tenancy.
        settings: With the webhook's signing key, and how old a delivery may be.

    Raises:
        ConfigurationError: If there is no key.
    """

    def __init__(self, host: Host, settings: LogtoSettings) -> None:
        self._host = host
        self._keys = _keys(settings)
        self._max_age = settings.webhook_max_age

    def receive(self, body: bytes, request: RequestInfo) -> Receipt:
        """Write a delivery down; it is committed when this returns.

        Args:
            body: The raw body, as it was signed.
            request: The request.

        Raises:
            WebhookForged: If it is not signed with one of the keys. Nothing was parsed.
            WebhookRefused: If it is too old, or from the future, or no event.
        """
        delivery = self._read(body, request)
        with _refusing_what_cannot_be_stored(), self._host.control_session() as session:
            is_new = _write(session, delivery)
        return Receipt(is_new)

    async def receive_async(self, body: bytes, request: RequestInfo) -> Receipt:
        """Do the same, without blocking the event loop."""
        delivery = self._read(body, request)
        with _refusing_what_cannot_be_stored():
            async with self._host.control_session() as session:
                is_new = await session.run_sync(_write, delivery)
        return Receipt(is_new)

    def _read(self, body: bytes, request: RequestInfo) -> _Delivery:
        verify_signature(body, request, self._keys)
        content = _parse(body)
        try:
            event = read_event(content)
        except ValueError as error:
            raise WebhookRefused(str(error)) from error
        age = datetime.now(UTC) - event.occurred_at
        if age > timedelta(seconds=self._max_age):
            raise WebhookRefused(f"the event is older than {self._max_age:g} s")
        if age < -CLOCK_SKEW:
            raise WebhookRefused("the event is from the future")
        return _Delivery(hashlib.sha256(body).hexdigest(), event, content)


def verify_signature(body: bytes, request: RequestInfo, keys: Sequence[bytes]) -> None:
    """Make sure that a body is signed with one of several keys.

    Raises:
        WebhookForged: If it is not, or if it has two signatures: a proxy before us may have
            looked at the other one.
    """
    signatures = request.headers.get(SIGNATURE_HEADER, ())
    if len(signatures) != 1:
        raise WebhookForged(f"the header {SIGNATURE_HEADER} was sent {len(signatures)} times")
    given = signatures[0].encode(errors="replace")
    # All keys are tried: how long it takes says nothing of which of them fits.
    fits = [
        hmac.compare_digest(hmac.new(key, body, hashlib.sha256).hexdigest().encode(), given)
        for key in keys
    ]
    if not any(fits):
        raise WebhookForged("the signature is not the webhook's")


def _keys(settings: LogtoSettings) -> tuple[bytes, ...]:
    given = settings.webhook_key.get_secret_value() if settings.webhook_key is not None else ""
    keys = tuple(key.strip().encode() for key in given.split(",") if key.strip())
    if not keys:
        raise ConfigurationError(
            "Logto's webhooks cannot be told from forged ones without their signing key: give "
            "webhook_key, or ORGTENANCY_LOGTO_WEBHOOK_KEY"
        )
    return keys


def _parse(body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise WebhookRefused("the body is no JSON") from error
    if not isinstance(content, dict):
        raise WebhookRefused("the body is no JSON object")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _write(session: Session, delivery: _Delivery) -> bool:
    return inbox.put(
        session,
        source=SOURCE,
        digest=delivery.digest,
        event=delivery.event.name,
        subject=delivery.event.subject,
        occurred_at=delivery.event.occurred_at,
        body=delivery.body,
    )


@contextmanager
def _refusing_what_cannot_be_stored() -> Iterator[None]:
    """Refuse what JSON can say and PostgreSQL cannot keep, such as a NUL in a text."""
    try:
        yield
    except DataError as error:
        raise WebhookRefused("the body has values that cannot be stored") from error
