"""Marks: what tells whose a row is, wherever it turns up."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping

_MARK = re.compile(r"mark-[0-9a-f]{16}")


class Leaked(Exception):
    """Something of an organization was where it must not be."""


class NotApplicable(Exception):
    """There is nothing here that the leak could attack."""


class Marks:
    """A secret mark for each organization, which only its own rows carry.

    Args:
        *organizations: Their ids.
    """

    def __init__(self, *organizations: str) -> None:
        self._marks = {organization: new_mark() for organization in organizations}

    def __getitem__(self, organization: str) -> str:
        return self._marks[organization]

    def check(self, seen: object, organization: str | None) -> str:
        """Make sure that no mark of another organization is in what somebody saw.

        Args:
            seen: Rows, a response's body, an error: its text is looked through.
            organization: Who saw it; None for somebody who may see none.

        Returns:
            What was seen, as evidence.

        Raises:
            Leaked: If it is there.
        """
        found = set(_MARK.findall(_text(seen)))
        for owner, mark in self._marks.items():
            if owner != organization and mark in found:
                raise Leaked(f"{organization or 'somebody of no organization'} saw {owner}'s row")
        own = organization is not None and self._marks[organization] in found
        return "saw its own row" if own else "saw no row"


def new_mark() -> str:
    """Return a mark that was never used."""
    return f"mark-{secrets.token_hex(8)}"


def _text(seen: object) -> str:
    if isinstance(seen, str):
        return seen
    if isinstance(seen, bytes | bytearray | memoryview):
        return bytes(seen).decode("utf-8", "replace")
    if isinstance(seen, Mapping):
        return _text(seen.items())
    if isinstance(seen, Iterable):
        return "\n".join(_text(item) for item in seen)
    return str(seen)
