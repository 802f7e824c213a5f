"""Fixtures for pytest.

A host names this module in its `conftest.py`:

    pytest_plugins = ["orgtenancy.testing.fixtures"]
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import EllipsisType
from typing import Any, Protocol

import pytest

from orgtenancy.testing.issuer import LocalIssuer
from orgtenancy.testing.logto import FakeLogto
from orgtenancy.testing.tokens import SHAPES, shape


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


@pytest.fixture
def issuer() -> Iterator[LocalIssuer]:
    """An issuer on this machine, with a key for ES384 and one for RS256."""
    with LocalIssuer("ES384", also=["RS256"]) as issuer:
        yield issuer


@pytest.fixture
def fake_logto() -> Iterator[FakeLogto]:
    """A Logto on this machine with nothing in it; `fake_logto.settings()` leads to it."""
    with FakeLogto() as fake:
        yield fake


@pytest.fixture
def signed_token(issuer: LocalIssuer) -> SignedToken:
    """Makes tokens of every provider's shape; `issuer.keys()` verifies them."""

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
