"""For a host's tests: organizations, isolation, and an identity provider on this machine.

pytest finds the fixtures by itself; `docs/how-to/testing.md` shows them. Without pytest:

    from orgtenancy.testing import LocalIssuer, isolated

    with LocalIssuer() as issuer:
        resolver = logto(issuer.url, audiences="https://api.example.com").resolver()
        token = issuer.token("alice", organization="acme", scopes=["read:posts"])

    with isolated(tenancy, "acme"):
        ...  # work that may change nothing but `acme`

The app verifies such tokens as it does those of its real provider: it fetches the keys over
HTTP, follows rotations, and survives outages. `FakeLogto` is Logto besides: its Management
API, and what its webhooks would say.

Strategies for Hypothesis are in `orgtenancy.testing.strategies`, and a state machine for a
host's repositories in `orgtenancy.testing.state_machine`.

Nothing here belongs into a running service.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orgtenancy.testing.changes import NotIsolated, isolated
    from orgtenancy.testing.cleaning import clean
    from orgtenancy.testing.issuer import LocalIssuer
    from orgtenancy.testing.keys import Signer, key_set
    from orgtenancy.testing.logto import FakeLogto
    from orgtenancy.testing.logto_data import LogtoData
    from orgtenancy.testing.stock import Stock
    from orgtenancy.testing.tokens import SHAPES, Shape, shape
    from orgtenancy.testing.webhooks import WEBHOOKS, SignedWebhook, logto_webhook, signed_webhook

# Imported when first asked for: not every test needs all that they import.
_MODULES = {
    "SHAPES": "tokens",
    "WEBHOOKS": "webhooks",
    "FakeLogto": "logto",
    "LocalIssuer": "issuer",
    "LogtoData": "logto_data",
    "NotIsolated": "changes",
    "Shape": "tokens",
    "SignedWebhook": "webhooks",
    "Signer": "keys",
    "Stock": "stock",
    "clean": "cleaning",
    "isolated": "changes",
    "key_set": "keys",
    "logto_webhook": "webhooks",
    "shape": "tokens",
    "signed_webhook": "webhooks",
}

__all__ = [
    "SHAPES",
    "WEBHOOKS",
    "FakeLogto",
    "LocalIssuer",
    "LogtoData",
    "NotIsolated",
    "Shape",
    "SignedWebhook",
    "Signer",
    "Stock",
    "clean",
    "isolated",
    "key_set",
    "logto_webhook",
    "shape",
    "signed_webhook",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
