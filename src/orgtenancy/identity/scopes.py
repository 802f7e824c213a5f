"""Scopes: what the actor was granted for the organization."""

from __future__ import annotations

from orgtenancy.context import current_actor
from orgtenancy.errors import InsufficientScope, Unauthenticated
from orgtenancy.organizations import Actor


def require_scopes(*scopes: str, actor: Actor | None = None) -> Actor:
    """Return the actor if it holds all of these scopes.

    Args:
        *scopes: What is needed.
        actor: Who; the context's actor if not given.

    Raises:
        Unauthenticated: If nobody was identified.
        InsufficientScope: Naming the scopes that are missing.
    """
    known = actor if actor is not None else current_actor()
    if known is None:
        raise Unauthenticated("nobody was identified")
    missing = sorted(set(scopes) - known.scopes)
    if missing:
        raise InsufficientScope(f"missing scope: {' '.join(missing)}", scopes=scopes)
    return known
