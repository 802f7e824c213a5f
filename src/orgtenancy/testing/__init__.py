"""For a host's tests: an identity provider on this machine, and tokens of every shape.

    from orgtenancy.testing import LocalIssuer

    with LocalIssuer() as issuer:
        resolver = logto(issuer.url, audiences="https://api.example.com").resolver()
        token = issuer.token("alice", organization="acme", scopes=["read:posts"])

The app verifies such tokens as it does those of its real provider: it fetches the keys over
HTTP, follows rotations, and survives outages. `FakeLogto` is Logto besides: its Management
API, and what its webhooks would say. Fixtures for pytest are in
`orgtenancy.testing.fixtures`.

Nothing here belongs into a running service.
"""

from orgtenancy.testing.issuer import LocalIssuer
from orgtenancy.testing.keys import Signer, key_set
from orgtenancy.testing.logto import FakeLogto
from orgtenancy.testing.logto_data import LogtoData
from orgtenancy.testing.tokens import SHAPES, Shape, shape
from orgtenancy.testing.webhooks import WEBHOOKS, SignedWebhook, logto_webhook, signed_webhook

__all__ = [
    "SHAPES",
    "WEBHOOKS",
    "FakeLogto",
    "LocalIssuer",
    "LogtoData",
    "Shape",
    "SignedWebhook",
    "Signer",
    "key_set",
    "logto_webhook",
    "shape",
    "signed_webhook",
]
