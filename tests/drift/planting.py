"""A difference that somebody made by hand, and what a check is to say of it."""

from __future__ import annotations

from dataclasses import dataclass

from orgtenancy.schemas.drift import Change

MISSING, UNEXPECTED, DIFFERENT = Change.MISSING, Change.UNEXPECTED, Change.DIFFERENT

Found = tuple[str, str, Change]


@dataclass(frozen=True)
class Plant:
    """A difference made by hand.

    Attributes:
        name: What it is.
        statement: How it is made; `$s` is the schema, `$r` its role, `$o` another schema's role.
        found: All that a check is to name.
        expected: A part of what it says is expected.
        actual: A part of what it says is there.
        destructive: Whether mending it loses data.
    """

    name: str
    statement: str
    found: tuple[Found, ...]
    expected: str = ""
    actual: str = ""
    destructive: bool = False


def plant(name: str, statement: str, *found: Found, expected: str = "", actual: str = "") -> Plant:
    return Plant(name, statement, found, expected, actual)


def lossy(name: str, statement: str, *found: Found, expected: str = "", actual: str = "") -> Plant:
    return Plant(name, statement, found, expected, actual, destructive=True)
