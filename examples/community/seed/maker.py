"""What all seed data is made with: one seeded generator, its people and its texts."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from examples.community.people import Person, Texts, members_of

DAYS = 150

_HOURS = [7, 8, 9, 11, 12, 12, 13, 16, 17, 18, 18, 19, 19, 20, 20, 21, 21, 22]

Row = dict[str, Any]
Rows = dict[type[Any], list[Row]]


class Maker:
    """Draws people, texts, times and keys: the same ones for the same texts and time.

    Args:
        texts: What to make rows of.
        now: When the newest of them was just written.
    """

    def __init__(self, texts: Texts, now: datetime) -> None:
        self.texts = texts
        self.now = now
        self.random = Random(f"orgtenancy {texts.id}")
        self.members = members_of(texts.id)
        self.random.shuffle(self.members)
        # A few write a lot, most write sometimes.
        self.activity = [1 / (rank + 3) for rank in range(len(self.members))]
        self.decks: dict[int, list[str]] = {}
        self.said: set[str] = set()

    def somebody(self, besides: str | None = None) -> Person:
        """Return a member; who writes a lot comes up often."""
        while True:
            (person,) = self.random.choices(self.members, self.activity)
            if person.id != besides:
                return person

    def new_text(self, choices: list[str], author: Person) -> str:
        """Return a text that has not been said yet."""
        while (text := self.text(choices, author)) in self.said:
            pass
        self.said.add(text)
        return text

    def text(self, choices: list[str], author: Person) -> str:
        """Return a text whose template comes up again only after all others did."""
        deck = self.decks.setdefault(id(choices), [])
        if not deck:
            deck += self.random.sample(choices, len(choices))
        used: list[str] = []

        def word(match: re.Match[str]) -> str:
            name = match[1]
            words = self.texts.words.get(name) or [
                member.name.split()[0] for member in self.members if member.id != author.id
            ]
            used.append(self.random.choice([word for word in words if word not in used] or words))
            return used[-1]

        text = re.sub(r"\{(\w+)\}", word, deck.pop())
        return re.sub(r"(^|[.!?] )([a-z])", lambda match: match[1] + match[2].upper(), text)

    def times(self, number: int) -> list[datetime]:
        """Return when something was posted, oldest first: in waking hours, more of it lately."""
        times = [self.now - timedelta(minutes=minutes) for minutes in (4, 26, 71)]
        while len(times) < number:
            day = self.now - timedelta(days=DAYS * self.random.random() ** 1.4)
            hour, minute = self.random.choice(_HOURS), self.random.randrange(60)
            time = day.replace(hour=hour, minute=minute, second=self.random.randrange(60))
            if time < self.now - timedelta(minutes=90):
                times.append(time)
        return sorted(times)

    def later(self, time: datetime, *, hours: float) -> datetime:
        """Return a time after another, soon or late, but never in the future."""
        minutes = self.random.expovariate(1 / (60 * hours)) + 1
        span = (self.now - time) / timedelta(minutes=1)
        return time + timedelta(minutes=span * (1 - math.exp(-minutes / span)))

    def key(self, time: datetime) -> UUID:
        """Return a UUID version 7 of a time, so that the order by key is the order by time."""
        milliseconds = int(time.timestamp() * 1000)
        bits = self.random.getrandbits(74)
        upper, lower = bits >> 62, bits & (1 << 62) - 1
        return UUID(int=milliseconds << 80 | 7 << 76 | upper << 64 | 2 << 62 | lower)
