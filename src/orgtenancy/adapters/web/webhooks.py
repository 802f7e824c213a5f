"""A webhook's delivery over HTTP: what is refused before its receiver sees it, and the answer."""

from __future__ import annotations

import re

from orgtenancy.context import organization_var
from orgtenancy.errors import ConfigurationError, MethodNotAllowed, PayloadTooLarge
from orgtenancy.identity.webhooks import MAX_WEBHOOK_SIZE

#: Where a webhook is served if the host says nothing else.
WEBHOOK_PATH = "/webhooks/logto"

#: The answer to every delivery that is written down, new or not: a provider that is told of
#: a conflict would deliver it once more.
RECEIVED = b'{"received":true}'


def check_delivery(method: str, content_length: str | None) -> None:
    """Refuse what is no delivery, before anything of its body is read.

    Args:
        method: The HTTP method.
        content_length: The header, or None if the length is not announced.

    Raises:
        ConfigurationError: If an organization is bound: the path is not exempt.
        MethodNotAllowed: If it was not posted.
        PayloadTooLarge: If it says so itself.
    """
    if organization_var.get() is not None:
        raise ConfigurationError("a webhook is of no organization: list its path in `exempt`")
    if method != "POST":
        raise MethodNotAllowed("a webhook is posted", allowed=["POST"])
    if content_length is not None and content_length.isdecimal():
        check_delivery_size(int(content_length))


def check_delivery_size(size: int) -> None:
    """Refuse a body of this many bytes, or of at least as many.

    Raises:
        PayloadTooLarge: If it is larger than `MAX_WEBHOOK_SIZE`.
    """
    if size > MAX_WEBHOOK_SIZE:
        raise PayloadTooLarge(f"the body has more than {MAX_WEBHOOK_SIZE} bytes")


def webhook_name(path: str) -> str:
    """Return the name of a webhook's route, such as `webhooks_logto`."""
    return re.sub(r"\W+", "_", path).strip("_") or "webhook"
