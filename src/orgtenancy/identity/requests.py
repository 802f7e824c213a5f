"""A request as identity sees it, free of any web framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orgtenancy.errors import Unauthenticated


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What of a request can say who asks, and for which organization.

    A dataclass and no model: one is made per request, from values that the server parsed.

    Attributes:
        method: The HTTP method, or `WEBSOCKET`.
        path: The decoded path, below where the app is mounted.
        headers: Values by lower-case name; a header that was sent twice has two.
        host: The host that the client asked for, without port, in lower case.
        query: The raw query string.
    """

    method: str
    path: str
    headers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    host: str = ""
    query: str = ""

    def header(self, name: str) -> str | None:
        """Return the one value of a header, or None where it was not sent.

        Args:
            name: Its lower-case name.

        Raises:
            Unauthenticated: If it was sent more than once. Proxies and servers disagree
                on which one counts, and identity must not depend on that.
        """
        values = self.headers.get(name)
        if not values:
            return None
        if len(values) > 1:
            raise Unauthenticated(f"the header {name!r} was sent more than once")
        return values[0]
