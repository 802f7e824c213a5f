"""Conversations: between two people and among several, some of it not read yet."""

from __future__ import annotations

from datetime import datetime, timedelta

from examples.community.people import Person, person_named
from examples.community.seed.maker import Maker, Rows
from orgtenancy.community import Conversation, ConversationParticipant, Message
from orgtenancy.community.conversations import direct_key


class Talks:
    """Makes the conversations of an organization.

    Args:
        maker: What to draw with.
    """

    def __init__(self, maker: Maker) -> None:
        self.maker = maker
        self.random = maker.random
        self.made: Rows = {Conversation: [], ConversationParticipant: [], Message: []}
        self.pairs: set[str] = set()

    def rows(self) -> Rows:
        """Return the rows to insert, by model."""
        direct = [talk["lines"] for talk in self.maker.texts.talks if "name" not in talk]
        self._report(self.maker.texts.reported)
        # Everybody has somebody to talk to, and who is in both organizations a few more.
        for person in self.maker.members:
            others = [other for other in self.maker.members if other is not person]
            number = 3 if _is_regular(person) else 1
            for lines in self.random.sample(direct, number):
                self._direct([self.random.choice(others), person], lines)
        for talk in self.maker.texts.talks:
            if "name" in talk:
                regulars = [p for p in self.maker.members if len(p.organizations) > 1]
                others = [p for p in self.maker.members if p not in regulars]
                people = regulars + self.random.sample(others, talk["size"] - len(regulars))
                self._talk(people, talk["lines"], name=talk["name"])
        return self.made

    def _direct(self, people: list[Person], lines: list[str]) -> None:
        key = direct_key(people[0].id, people[1].id)
        if key not in self.pairs:
            self.pairs.add(key)
            self._talk(people, lines, direct_key=key)

    def _talk(
        self,
        people: list[Person],
        lines: list[str],
        name: str | None = None,
        direct_key: str | None = None,
    ) -> None:
        ended = self.maker.now - timedelta(minutes=3 + self.random.expovariate(1 / 2500))
        times = self._times(ended, len(lines))
        conversation = {
            "id": self.maker.key(times[0] - timedelta(minutes=1)),
            "type": "group" if direct_key is None else "direct",
            "name": name,
            "direct_key": direct_key,
            "created_by": people[0].id,
            "last_sequence": len(lines),
            "last_message_at": times[-1],
            "created_at": times[0] - timedelta(minutes=1),
            "updated_at": times[-1],
        }
        self.made[Conversation].append(conversation)
        senders = [people[number % len(people)] for number in range(len(lines))]
        if direct_key is None:
            senders = [self.random.choice(people) for _ in lines]
        for number, (sender, line, created) in enumerate(zip(senders, lines, times, strict=True)):
            self.made[Message].append(
                {
                    "id": self.maker.key(created),
                    "conversation_id": conversation["id"],
                    "sender_id": sender.id,
                    "sequence": number + 1,
                    "content": self.maker.text([line], sender),
                    "flags": [],
                    "created_at": created,
                    "updated_at": created,
                }
            )
        for person in people:
            read = len(lines)
            likely = 0.75 if _is_regular(person) else 0.3
            if senders[-1] is not person and self.random.random() < likely:
                read -= self.random.randrange(1, 3)
            self.made[ConversationParticipant].append(
                {
                    "conversation_id": conversation["id"],
                    "user_id": person.id,
                    "last_read_sequence": read,
                    "joined_at": conversation["created_at"],
                }
            )

    def _times(self, ended: datetime, number: int) -> list[datetime]:
        times = [ended]
        while len(times) < number:
            times.append(times[-1] - timedelta(minutes=0.5 + self.random.expovariate(1 / 25)))
        return times[::-1]

    def _report(self, texts: dict[str, str]) -> None:
        """Let somebody write what they should not, and the other one report it."""
        sender, reporter = person_named(texts["sender"]), person_named(texts["reporter"])
        key = direct_key(sender.id, reporter.id)
        if key not in self.pairs:
            self._talk([sender, reporter], [texts["message"], texts["answer"]], direct_key=key)
            message = self.made[Message][-2]
            reported = message["created_at"] + timedelta(minutes=2)
            message["flags"] = [
                {
                    "user_id": reporter.id,
                    "reason": texts["reason"],
                    "created_at": reported.isoformat(),
                }
            ]


def _is_regular(person: Person) -> bool:
    """Return whether a visitor is likely to sign in as somebody."""
    return len(person.organizations) > 1 or bool(person.moderates)
