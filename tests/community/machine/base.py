"""What all parts of the model share: its ids, its clock, and the rules of its inputs.

The model is written from `docs/explanation/community.md`, in dicts and lists. Where that page
does not say which of two broken rules is told, the order is: input, absent, forbidden,
conflict; the exceptions are said where they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from orgtenancy.errors import Invalid

Plain = dict[str, Any]


class Id(NamedTuple):
    """What the model calls a row: the numbers of one kind are in the order of creation."""

    kind: str
    number: int
    home: int

    def __repr__(self) -> str:
        return f"{self.kind}{self.number}@{'AB'[self.home]}"


class Numbers:
    """Gives out ids; what a transaction takes back stays used."""

    def __init__(self, home: int) -> None:
        self.home = home
        self.last = 0
        self.made: list[Id] = []

    def __deepcopy__(self, memo: dict[int, Any]) -> Numbers:
        return self

    def new(self, kind: str) -> Id:
        self.last += 1
        made = Id(kind, self.last, self.home)
        self.made.append(made)
        return made


class Base:
    """The state of one organization, without any rows yet.

    Attributes:
        numbers: Gives out ids.
        now: When the transaction began; equal for all that it does.
        clock: The time itself; it goes on within a transaction.
        seen: What the library returned, for what it chooses at random.
    """

    def __init__(self, home: int) -> None:
        self.numbers = Numbers(home)
        self.transaction = 0
        self.step = 0
        self.seen: Any = None

    @property
    def now(self) -> tuple[int, int]:
        return self.transaction, 0

    @property
    def clock(self) -> tuple[int, int]:
        return self.transaction, self.step

    def adopted(self, field: str) -> str:
        """Return what the library has chosen for a field."""
        return str(self.seen.get(field)) if isinstance(self.seen, dict) else ""


def storable(value: object) -> bool:
    return isinstance(value, str) and not any(
        character == "\0" or "\ud800" <= character <= "\udfff" for character in value
    )


def check(holds: object) -> None:
    """Refuse an input that breaks a rule."""
    if not holds:
        raise Invalid("the model says so")


def text(value: str, maximum: int) -> str:
    check(storable(value))
    check(1 <= len(value.strip()) <= maximum)
    return value.strip()


def optional(value: str | None, maximum: int) -> str | None:
    if value is None or (storable(value) and not value.strip()):
        return None
    return text(value, maximum)


def url(value: str | None) -> str | None:
    found = optional(value, 2048)
    check(found is None or re.match("https?://[^/]", found))
    return found


def person(*values: str) -> None:
    for value in values:
        check(storable(value) and 1 <= len(value) <= 255)


# --- searches: a few words, whose stems are known

STEMS = {
    "rope": "rope",
    "ropes": "rope",
    "knot": "knot",
    "knots": "knot",
    "sail": "sail",
    "sailing": "sail",
    "the": "",  # a stop word
}


def finds(query: str, content: str) -> bool:
    """Return whether a search in English finds a text of those words.

    Raises:
        Invalid: If nothing is searched for, or too much.
    """
    text(query, 200)
    stems = [STEMS.get(word, word) for word in content.lower().split()]
    if query.startswith('"'):
        phrase = [STEMS[word] for word in query.strip('"').split()]
        starts = range(len(stems) - len(phrase) + 1)
        return any(stems[start : start + len(phrase)] == phrase for start in starts)
    if " or " in query:
        return any(STEMS[word] in stems for word in query.split(" or "))
    words = [word for word in query.split() if word.strip("!-")]
    wanted = [STEMS[word] for word in words if not word.startswith("-") and STEMS[word]]
    unwanted = [STEMS[word[1:]] for word in words if word.startswith("-")]
    if not wanted and not unwanted:
        return False
    return all(stem in stems for stem in wanted) and not any(stem in stems for stem in unwanted)


def newest_first(ids: Iterable[Id]) -> list[Id]:
    return sorted(ids, reverse=True)
