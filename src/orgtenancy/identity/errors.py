"""Errors of identity that say more than "who are you" and "you may not"."""

from __future__ import annotations

from collections.abc import Iterable

from orgtenancy.errors import AccessDenied, IdentityError


class IdentityProviderUnavailable(IdentityError):
    """A token cannot be checked now, because the issuer's keys cannot be fetched.

    The token may well be good: this is no `Unauthenticated`.

    Attributes:
        retry_after: Seconds after which the keys are fetched again.
    """

    code = "identity_provider_unavailable"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class InsufficientScope(AccessDenied):
    """The actor is let in, but was not granted a scope that the work needs.

    Attributes:
        scopes: What is needed.
    """

    code = "insufficient_scope"

    def __init__(self, message: str, *, scopes: Iterable[str]) -> None:
        super().__init__(message)
        self.scopes = frozenset(scopes)
