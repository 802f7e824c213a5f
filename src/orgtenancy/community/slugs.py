"""Slugs: what names a group in an address."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Iterator

from orgtenancy.community.models.groups import MAX_SLUG_LENGTH
from orgtenancy.errors import Invalid

_is_slug = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*").fullmatch
_not_in_slugs = re.compile(r"[^a-z0-9]+").sub


def is_slug(value: object) -> bool:
    """Return whether a group could have this slug."""
    return isinstance(value, str) and len(value) <= MAX_SLUG_LENGTH and _is_slug(value) is not None


def checked(value: str) -> str:
    """Return a slug unchanged.

    ASCII only, so that no two look alike and no locale decides which are equal.

    Raises:
        Invalid: If it breaks a rule.
    """
    if not is_slug(value):
        raise Invalid(
            f"a slug is 1 to {MAX_SLUG_LENGTH} of A-Z, a-z, 0-9, '_' and '-', "
            "starting with a letter or digit"
        )
    return value


def made_from(name: str) -> Iterator[str]:
    """Yield slugs for a name: the plain one, then some with ever longer random suffixes."""
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    base = _cut(_not_in_slugs("-", ascii_only.lower()).strip("-"), MAX_SLUG_LENGTH) or "group"
    yield base
    for size in (2, 4, 8):
        suffix = secrets.token_hex(size)
        yield f"{_cut(base, MAX_SLUG_LENGTH - 1 - len(suffix))}-{suffix}"


def _cut(value: str, length: int) -> str:
    return value[:length].rstrip("-")
