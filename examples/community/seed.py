"""Seed data that looks like real life, made from `texts/` by a seeded generator."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select

from examples.community.people import Person, Texts, members_of, person_named
from orgtenancy import Tenancy
from orgtenancy.community import Post, PostComment, PostLike, UserProfile, UserProfileRepository

_DAYS = 150
_MAX_DEPTH = 4
_HOURS = [7, 8, 9, 11, 12, 12, 13, 16, 17, 18, 18, 19, 19, 20, 20, 21, 21, 22]

Row = dict[str, Any]


def seed(tenancy: Tenancy, texts: Texts) -> bool:
    """Fill an organization in one transaction, unless it is filled; return whether it was not."""
    with tenancy.session(texts.id) as session:
        # Two processes that share a kept server wait for each other here.
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext(texts.id))))
        if UserProfileRepository(session).count():
            return False
        rows = Generator(texts, datetime.now(UTC)).rows()
        for model in (UserProfile, Post, PostLike, PostComment):
            session.execute(insert(model), rows[model])
        return True


class Generator:
    """Makes the rows of one organization, the same ones for the same texts and time.

    Args:
        texts: What to make them of.
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

    def rows(self) -> dict[type[Any], list[Row]]:
        """Return the rows to insert, by model."""
        posts, likes, comments = [], [], []
        for created in self._times(self.texts.posts):
            topic = self.random.choices(self.texts.topics, [t["weight"] for t in self.texts.topics])
            post = self._post(topic[0], created)
            likes += (post_likes := list(self._likes(post)))
            comments += (post_comments := list(self._comments(post, topic[0])))
            post["likes_count"], post["comments_count"] = len(post_likes), len(post_comments)
            posts.append(post)
        profiles = [self._profile(name, bio) for name, bio in self.texts.people.items()]
        return {UserProfile: profiles, Post: posts, PostLike: likes, PostComment: comments}

    def _profile(self, name: str, bio: str) -> Row:
        person = person_named(name)
        joined = self.now - timedelta(days=_DAYS + self.random.randrange(900))
        return {
            "user_id": person.id,
            "username": person.username,
            "display_name": name,
            "bio": bio or None,
            "created_at": joined,
        }

    def _post(self, topic: Row, created: datetime) -> Row:
        author = self._somebody()
        content = self._new_text(topic["posts"], author)
        if self.random.random() < 0.15:
            content += " " + self._text(self.texts.tails, author)
        return {
            "id": self._key(created),
            "user_id": author.id,
            "content": content,
            "tags": [topic["tag"]] if topic["tag"] else [],
            "created_at": created,
        }

    def _likes(self, post: Row) -> Iterator[Row]:
        others = [member for member in self.members if member.id != post["user_id"]]
        number = self._uneven(0.9, most=len(others) - 3)
        for member in self.random.sample(others, number):
            liked = self._later(post["created_at"], hours=9)
            yield {"post_id": post["id"], "user_id": member.id, "created_at": liked}

    def _comments(self, post: Row, topic: Row) -> Iterator[Row]:
        number = self._uneven(0.7, most=14)
        written: list[Row] = []
        times = sorted(self._later(post["created_at"], hours=14) for _ in range(number))
        for created in times:
            parents = [c for c in written if c["depth"] < _MAX_DEPTH and c["created_at"] < created]
            # An answer mostly goes to something recent.
            is_reply = parents and self.random.random() < 0.6
            recent = -1 - int(self.random.random() ** 2 * len(parents))
            comment = self._comment(post, topic, created, parents[recent] if is_reply else None)
            if comment["content"] not in {other["content"] for other in written}:
                written.append(comment)
        yield from written

    def _comment(self, post: Row, topic: Row, created: datetime, parent: Row | None) -> Row:
        before = post["user_id"] if parent is None else parent["user_id"]
        author = self._somebody(besides=before)
        if parent is not None and self.random.random() < 0.4 and before != post["user_id"]:
            author = next(member for member in self.members if member.id == post["user_id"])
        choices = self.texts.replies
        if parent is None:
            is_general = self.random.random() < 0.3
            choices = self.texts.comments if is_general else topic["comments"]
        key = self._key(created)
        return {
            "id": key,
            "post_id": post["id"],
            "user_id": author.id,
            "parent_comment_id": parent["id"] if parent else None,
            "depth": parent["depth"] + 1 if parent else 0,
            "path": [*parent["path"], key] if parent else [key],
            "content": self._text(choices, author),
            "created_at": created,
        }

    def _uneven(self, shape: float, *, most: int) -> int:
        """Return a number by a power law: mostly none or a few, at times a lot."""
        while (number := int(self.random.paretovariate(shape) * 1.4) - 1) > most:
            pass
        return number

    def _somebody(self, besides: str | None = None) -> Person:
        while True:
            (person,) = self.random.choices(self.members, self.activity)
            if person.id != besides:
                return person

    def _new_text(self, choices: list[str], author: Person) -> str:
        while (text := self._text(choices, author)) in self.said:
            pass
        self.said.add(text)
        return text

    def _text(self, choices: list[str], author: Person) -> str:
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

    def _times(self, number: int) -> list[datetime]:
        """Return when something was posted, oldest first: in waking hours, more of it lately."""
        times = [self.now - timedelta(minutes=minutes) for minutes in (4, 26, 71)]
        while len(times) < number:
            day = self.now - timedelta(days=_DAYS * self.random.random() ** 1.4)
            hour, minute = self.random.choice(_HOURS), self.random.randrange(60)
            time = day.replace(hour=hour, minute=minute, second=self.random.randrange(60))
            if time < self.now - timedelta(minutes=90):
                times.append(time)
        return sorted(times)

    def _later(self, time: datetime, *, hours: float) -> datetime:
        """Return a time after another, soon or late, but never in the future."""
        minutes = self.random.expovariate(1 / (60 * hours)) + 1
        span = (self.now - time) / timedelta(minutes=1)
        return time + timedelta(minutes=span * (1 - math.exp(-minutes / span)))

    def _key(self, time: datetime) -> UUID:
        """Return a UUID version 7 of a time, so that the order by key is the order by time."""
        milliseconds = int(time.timestamp() * 1000)
        bits = self.random.getrandbits(74)
        upper, lower = bits >> 62, bits & (1 << 62) - 1
        return UUID(int=milliseconds << 80 | 7 << 76 | upper << 64 | 2 << 62 | lower)
