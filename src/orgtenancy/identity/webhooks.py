"""Webhooks of identity providers, as the adapters see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from orgtenancy.identity.requests import RequestInfo

#: Bytes of a body that is read at all; Logto's are below 10 kB.
MAX_WEBHOOK_SIZE = 1_048_576


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery.

    Attributes:
        is_new: Whether it is written down now; False where it already was.
    """

    is_new: bool


class WebhookReceiver(Protocol):
    """Checks deliveries and writes them down; the work is done afterwards."""

    def receive(self, body: bytes, request: RequestInfo) -> Receipt:
        """Write a delivery down; it is committed when this returns.

        Args:
            body: The raw body, as it was signed.
            request: The request.

        Raises:
            WebhookForged: If the signature is missing or wrong. Nothing was parsed.
            WebhookRefused: If it is too old, or not what the provider sends.
        """
        ...

    async def receive_async(self, body: bytes, request: RequestInfo) -> Receipt:
        """Do the same, without blocking the event loop."""
        ...
