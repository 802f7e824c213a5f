"""What a request is asked before its organization is known: its path, its host, its client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import ip_address
from typing import TypeAlias

from orgtenancy.errors import ConfigurationError
from orgtenancy.identity.requests import RequestInfo

#: Paths, or a function: `/health` is that path alone, `/static/*` everything below it.
Exempt: TypeAlias = Iterable[str] | Callable[[RequestInfo], bool]


class PathList:
    """Matches whole paths, and everything below those that end in `/*`.

    Args:
        patterns: Like `/health` or `/static/*`.

    Raises:
        ConfigurationError: If one would not do what it seems to.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        if isinstance(patterns, str):
            raise ConfigurationError(f"exempt takes several paths: write [{patterns!r}]")
        given = tuple(patterns)
        for pattern in given:
            if not pattern.startswith("/") or "*" in pattern.removesuffix("/*"):
                raise ConfigurationError(
                    f"an exempt path is like '/health' or '/static/*', not {pattern!r}"
                )
        self._paths = frozenset(pattern for pattern in given if not pattern.endswith("/*"))
        self._folders = tuple(pattern[:-1] for pattern in given if pattern.endswith("/*"))

    def __call__(self, request: RequestInfo) -> bool:
        """Return whether the path of a request is one of them."""
        return request.path in self._paths or request.path.startswith(self._folders)


def asked_host(values: Iterable[str]) -> str:
    """Return the host that the `Host` header names, or an empty text if it is not one."""
    given = list(values)
    if len(given) != 1:
        return ""
    host = given[0].strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def client_address(host: str | None) -> str | None:
    """Return an IP address in its one spelling, or None for anything else."""
    try:
        address = ip_address((host or "").partition("%")[0])
    except ValueError:
        return None  # a Unix socket, or a test client
    return str(getattr(address, "ipv4_mapped", None) or address)


@lru_cache(maxsize=4096)  # to parse an address takes longer than to look it up
def origin_of(host: str | None) -> str:
    """Return the origin of a request, as the audit tells it: `http:<address>`, or `http`.

    Args:
        host: The client's address, as the server saw it.
    """
    address = client_address(host)
    return "http" if address is None else f"http:{address}"
