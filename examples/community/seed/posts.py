"""Profiles, posts, likes and comments that look like real life."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from examples.community.people import person_named
from examples.community.seed.maker import DAYS, Maker, Row, Rows
from orgtenancy.community import Post, PostComment, PostLike, UserProfile

_MAX_DEPTH = 4


class Posts:
    """Makes what people wrote for everybody.

    Args:
        maker: What to draw with.
    """

    def __init__(self, maker: Maker) -> None:
        self.maker = maker
        self.texts = maker.texts
        self.random = maker.random
        self.members = maker.members

    def rows(self) -> Rows:
        """Return the rows to insert, by model."""
        posts, likes, comments = [], [], []
        for created in self.maker.times(self.texts.posts):
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
        joined = self.maker.now - timedelta(days=DAYS + self.random.randrange(900))
        return {
            "user_id": person.id,
            "username": person.username,
            "display_name": name,
            "bio": bio or None,
            "created_at": joined,
        }

    def _post(self, topic: Row, created: datetime) -> Row:
        author = self.maker.somebody()
        content = self.maker.new_text(topic["posts"], author)
        if self.random.random() < 0.15:
            content += " " + self.maker.text(self.texts.tails, author)
        return {
            "id": self.maker.key(created),
            "user_id": author.id,
            "content": content,
            "tags": [topic["tag"]] if topic["tag"] else [],
            "created_at": created,
        }

    def _likes(self, post: Row) -> Iterator[Row]:
        others = [member for member in self.members if member.id != post["user_id"]]
        number = self._uneven(0.9, most=len(others) - 3)
        for member in self.random.sample(others, number):
            liked = self.maker.later(post["created_at"], hours=9)
            yield {"post_id": post["id"], "user_id": member.id, "created_at": liked}

    def _comments(self, post: Row, topic: Row) -> Iterator[Row]:
        number = self._uneven(0.7, most=14)
        written: list[Row] = []
        times = sorted(self.maker.later(post["created_at"], hours=14) for _ in range(number))
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
        author = self.maker.somebody(besides=before)
        if parent is not None and self.random.random() < 0.4 and before != post["user_id"]:
            author = next(member for member in self.members if member.id == post["user_id"])
        choices = self.texts.replies
        if parent is None:
            is_general = self.random.random() < 0.3
            choices = self.texts.comments if is_general else topic["comments"]
        key = self.maker.key(created)
        return {
            "id": key,
            "post_id": post["id"],
            "user_id": author.id,
            "parent_comment_id": parent["id"] if parent else None,
            "depth": parent["depth"] + 1 if parent else 0,
            "path": [*parent["path"], key] if parent else [key],
            "content": self.maker.text(choices, author),
            "created_at": created,
        }

    def _uneven(self, shape: float, *, most: int) -> int:
        """Return a number by a power law: mostly none or a few, at times a lot."""
        while (number := int(self.random.paretovariate(shape) * 1.4) - 1) > most:
            pass
        return number
