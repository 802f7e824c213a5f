"""Where a claim is in a token: the path to it.

A name is never split at dots, since names may be URLs: `("o", "id")` is the path to
`{"o": {"id": "acme"}}`, and `("https://example.com/org",)` to a claim of that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from orgtenancy.errors import Unauthenticated

Claims: TypeAlias = Mapping[str, Any]
ClaimPath: TypeAlias = tuple[str, ...]


def claim_at(claims: Claims, path: ClaimPath) -> Any:
    """Return what is at the end of a path; None where a step is absent or null.

    Raises:
        Unauthenticated: If a step on the way is something else than an object.
    """
    value: Any = claims
    for name in path:
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise malformed(path)
        value = value.get(name)
    return value


def malformed(path: ClaimPath) -> Unauthenticated:
    """Return the error for a claim that is not what its issuer writes there."""
    return Unauthenticated(f"the token's claim {'.'.join(path)!r} is malformed")
