"""Groups with their members, requests and invitations, and what is written there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from examples.community.people import Person, person_named
from examples.community.seed.maker import DAYS, Maker, Row, Rows
from orgtenancy.community import Group, GroupMember, Post, PostLike


class Groups:
    """Makes the groups of an organization.

    Args:
        maker: What to draw with.
    """

    def __init__(self, maker: Maker) -> None:
        self.maker = maker
        self.random = maker.random

    def rows(self) -> Rows:
        """Return the rows to insert, by model."""
        made: Rows = {Group: [], GroupMember: [], Post: [], PostLike: []}
        for texts in self.maker.texts.groups:
            people = self.random.sample(self.maker.members, texts["size"])
            if "owner" in texts:
                owner = person_named(texts["owner"])
                people = [owner, *(person for person in people if person != owner)]
            created = self.maker.now - timedelta(days=DAYS + self.random.randrange(400))
            group = {
                "id": self.maker.key(created),
                "name": texts["name"],
                "slug": texts["slug"],
                "description": texts["description"],
                "privacy": texts["privacy"],
                "category": texts["category"] or None,
                "rules": texts.get("rules"),
                "member_count": len(people),
                "owner_id": people[0].id,
                "archived_at": self.maker.now - timedelta(days=20)
                if texts.get("archived")
                else None,
                "created_at": created,
            }
            made[Group].append(group)
            made[GroupMember] += self._members(group, people)
            for post, likes in self._posts(group, people, texts["posts"]):
                made[Post].append(post)
                made[PostLike] += likes
        return made

    def _members(self, group: Row, people: list[Person]) -> Iterator[Row]:
        roles = ["owner", "admin", "moderator"] + ["member"] * len(people)
        for person, role in zip(people, roles, strict=False):
            joined = group["created_at"] + timedelta(days=self.random.randrange(DAYS))
            yield self._member(group, person, "active", role=role, joined_at=joined)
        strangers = [person for person in self.maker.members if person not in people]
        if group["archived_at"] is not None:
            return
        if group["privacy"] == "private":
            for person in self.random.sample(strangers, 3):
                yield self._member(group, person, "requested")
        if group["privacy"] != "public":
            # Those who are in both organizations come first: somebody will be one of them.
            known = sorted(strangers, key=lambda person: -len(person.organizations))
            for person in [*known[:2], self.random.choice(known[2:])]:
                if group["privacy"] == "secret":
                    yield self._member(group, person, "invited", invited_by=people[0].id)

    def _member(self, group: Row, person: Person, status: str, **values: object) -> Row:
        return {
            "group_id": group["id"],
            "user_id": person.id,
            "status": status,
            "role": values.get("role", "member"),
            "joined_at": values.get("joined_at"),
            "invited_by": values.get("invited_by"),
            "created_at": values.get("joined_at")
            or self.maker.now - timedelta(hours=self.random.randrange(2, 90)),
        }

    def _posts(
        self, group: Row, people: list[Person], texts: list[str]
    ) -> Iterator[tuple[Row, list[Row]]]:
        for number, text in enumerate(texts):
            author = self.random.choice(people)
            created = self.maker.now - timedelta(
                days=number * 6 + self.random.randrange(1, 5), minutes=self.random.randrange(900)
            )
            others = [person for person in people if person is not author]
            fans = self.random.sample(others, self.random.randrange(min(len(others), 6)))
            post = {
                "id": self.maker.key(created),
                "user_id": author.id,
                "group_id": group["id"],
                "visibility": "group",
                "content": self.maker.text([text], author),
                "likes_count": len(fans),
                "comments_count": 0,
                "tags": [],
                "pinned_at": created if number == len(texts) - 1 else None,
                "created_at": created,
            }
            yield (
                post,
                [
                    {
                        "post_id": post["id"],
                        "user_id": fan.id,
                        "created_at": self.maker.later(created, hours=9),
                    }
                    for fan in fans
                ],
            )
