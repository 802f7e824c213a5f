"""What the fixtures of the pytest plugin `pytest_orgtenancy` are, for a test's annotations.

A host's tests ask for the fixtures by their names; pytest finds the plugin by itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from types import EllipsisType
from typing import Any, Protocol

from orgtenancy.organizations import Organization
from orgtenancy.testing.issuer import LocalIssuer
from orgtenancy.testing.tokens import SHAPES, shape


class AssertIsolated(Protocol):
    """Says which organizations a block of work may change: the fixture `assert_isolated`."""

    def __call__(self, *organizations: Organization | str) -> AbstractContextManager[None]:
        """Return the block; it raises `NotIsolated` if something else was changed."""
        ...


class SignedToken(Protocol):
    """Makes a token as a provider makes it, signed by the fixture `issuer`."""

    def __call__(
        self,
        provider: str,
        *,
        organization: str | EllipsisType | None = ...,
        subject: str = "alice",
        scopes: Iterable[str] = (),
        **changes: Any,
    ) -> str:
        """Return the token; the arguments are those of `shape`."""
        ...


def token_signer(issuer: LocalIssuer) -> SignedToken:
    """Return what makes tokens of every provider's shape, signed by an issuer.

    Args:
        issuer: Has a key for ES384 and one for RS256.
    """

    def sign(
        provider: str,
        *,
        organization: str | EllipsisType | None = ...,
        subject: str = "alice",
        scopes: Iterable[str] = (),
        **changes: Any,
    ) -> str:
        claims = shape(
            provider, organization=organization, subject=subject, scopes=scopes, **changes
        )
        form = SHAPES[provider]
        return issuer.sign(claims, algorithm=form.algorithm, typ=form.token_type)

    return sign
