"""Which scopes a token's claims grant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from orgtenancy.identity.claim_paths import ClaimPath, Claims

#: Reads the scopes of verified claims; what it does not understand grants nothing.
ScopeReader: TypeAlias = Callable[[Claims], frozenset[str]]


def scopes_in(claims: Claims, paths: Iterable[str | ClaimPath]) -> frozenset[str]:
    """Return the scopes that these claims hold, as one text with spaces or as a list.

    Args:
        claims: The claims of a token whose signature was checked.
        paths: A claim's name, or the path to it.
    """
    found: set[str] = set()
    for path in paths:
        value = _at(claims, (path,) if isinstance(path, str) else path)
        scopes = value.split() if isinstance(value, str) else value
        if isinstance(scopes, list):
            found.update(scope for scope in scopes if isinstance(scope, str))
    return frozenset(found)


def _at(claims: Claims, path: ClaimPath) -> Any:
    value: Any = claims
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
