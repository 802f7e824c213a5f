"""The model's posts, likes and comments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orgtenancy.errors import Conflict, Forbidden, Invalid, NotFound
from tests.community.machine.base import Id, Plain, check, finds, newest_first, person, text, url
from tests.community.machine.groups import Groups

MAX_DEPTH = 5


class Posts(Groups):
    def __init__(self, home: int) -> None:
        super().__init__(home)
        self.posts: dict[Id, Plain] = {}
        self.deleted_posts: dict[Id, str] = {}
        self.likes: dict[Id, dict[str, tuple[int, int]]] = {}
        self.comments: dict[Id, Plain] = {}

    def sees(self, post_id: Id, viewer: str) -> bool:
        post = self.posts.get(post_id)
        if post is None or post_id in self.deleted_posts or self.is_deactivated(post["user_id"]):
            return False
        return (
            post["visibility"] == "public"
            or post["user_id"] == viewer
            or self.is_member(post["group_id"], viewer)
        )

    def visible(self, post_id: Id, viewer: str) -> Plain:
        if not self.sees(post_id, viewer):
            raise NotFound("no such post")
        return self.posts[post_id]

    def shown_post(self, post_id: Id) -> Plain:
        post = self.posts[post_id]
        living = [c for c in self.comments.values() if c["post_id"] == post_id and c["content"]]
        return {
            **post,
            "likes_count": len(self.likes[post_id]),
            "comments_count": len(living),
            "author": self.name_of(post["user_id"]),
        }

    def _feed(self, viewer: str, **wanted: Any) -> list[Plain]:
        return [
            self.shown_post(key)
            for key in newest_first(self.posts)
            if self.sees(key, viewer)
            and all(self.posts[key][field] == value for field, value in wanted.items())
        ]

    # --- reading

    def posts_get_visible(self, post_id: Id, viewer: str) -> Plain:
        self.visible(post_id, viewer)
        return self.shown_post(post_id)

    def posts_find_feed(self, user_id: str) -> list[Plain]:
        return self._feed(user_id)

    def posts_find_by_author(self, author_id: str, viewer: str) -> list[Plain]:
        return self._feed(viewer, user_id=author_id)

    def posts_find_by_group(self, group_id: Id, viewer: str) -> list[Plain]:
        self.known(group_id, viewer)
        if not self.is_member(group_id, viewer):
            raise Forbidden("a group's posts are for its active members")
        return self._feed(viewer, group_id=group_id)

    def posts_find_by_tag(self, tag: str, viewer: str) -> list[Plain]:
        wanted = _tag(tag)
        return [post for post in self._feed(viewer) if wanted in post["tags"]]

    def posts_find_pinned(self, viewer: str, group_id: Id | None) -> list[Plain]:
        if group_id is None:
            return self._feed(viewer, pinned=True, group_id=None)
        return [p for p in self.posts_find_by_group(group_id, viewer) if p["pinned"]]

    def posts_search(self, query: str, viewer: str) -> list[Plain]:
        finds(query, "")
        return [post for post in self._feed(viewer) if finds(query, post["content"])]

    # --- writing

    def posts_create(
        self,
        user_id: str,
        content: str,
        visibility: str | None,
        media: list[Plain],
        tags: list[str],
        group_id: Id | None,
    ) -> Plain:
        person(user_id)
        visibility = visibility or ("public" if group_id is None else "group")
        check(visibility in ("public", "group", "private"))
        check((visibility == "group") == (group_id is not None))
        content, media, tags = text(content, 10_000), _media(media), _tags(tags)
        if group_id is not None:
            group = self.known(group_id, user_id)
            if not self.is_member(group_id, user_id):
                raise Forbidden("only active members post in a group")
            if group["archived"]:
                raise Conflict("nothing is posted in an archived group")
        post_id = self.numbers.new("post")
        self.posts[post_id] = {
            "id": post_id,
            "user_id": user_id,
            "group_id": group_id,
            "content": content,
            "visibility": visibility,
            "media": media,
            "tags": tags,
            "version": 1,
            "pinned": False,
            "locked": False,
        }
        self.likes[post_id] = {}
        return self.shown_post(post_id)

    def posts_update(
        self, post_id: Id, actor_id: str, expected_version: int, **changes: Any
    ) -> Plain:
        person(actor_id)
        checks: dict[str, Callable[[Any], Any]] = {
            "content": lambda value: text(value, 10_000),
            "tags": _tags,
            "media": _media,
        }
        values = {field: checks[field](value) for field, value in changes.items()}
        post = self.visible(post_id, actor_id)
        if post["user_id"] != actor_id:
            raise Forbidden("only its author changes a post")
        if post["version"] != expected_version:
            raise Conflict("there is a newer version")
        post.update(values, version=expected_version + 1)
        return self.shown_post(post_id)

    def posts_soft_delete(self, post_id: Id, actor_id: str, moderating: bool) -> None:
        person(actor_id)
        post = self.visible(post_id, actor_id)
        if post["user_id"] != actor_id and not self._moderates(post, actor_id, moderating):
            raise Forbidden("its author, or a moderator")
        self.deleted_posts[post_id] = actor_id

    def posts_pin(self, post_id: Id, actor_id: str, pinned: bool, moderating: bool) -> Plain:
        person(actor_id)
        post = self.visible(post_id, actor_id)
        if not self._moderates(post, actor_id, moderating):
            raise Forbidden("a moderator")
        post["pinned"] = pinned
        return self.shown_post(post_id)

    def posts_lock(self, post_id: Id, actor_id: str, locked: bool, moderating: bool) -> Plain:
        person(actor_id)
        post = self.visible(post_id, actor_id)
        if post["user_id"] != actor_id and not self._moderates(post, actor_id, moderating):
            raise Forbidden("its author, or a moderator")
        post["locked"] = locked
        return self.shown_post(post_id)

    def _moderates(self, post: Plain, actor_id: str, moderating: bool) -> bool:
        return moderating or self.moderates(post["group_id"], actor_id)

    # --- likes

    def likes_like(self, post_id: Id, user_id: str) -> bool:
        person(user_id)
        self.visible(post_id, user_id)
        changed = user_id not in self.likes[post_id]
        self.likes[post_id].setdefault(user_id, self.now)
        return changed

    def likes_unlike(self, post_id: Id, user_id: str) -> bool:
        person(user_id)
        self.visible(post_id, user_id)
        return self.likes[post_id].pop(user_id, None) is not None

    def likes_liked_ids(self, user_id: str, post_ids: list[Id]) -> set[Id]:
        return {key for key in post_ids if user_id in self.likes.get(key, {})}

    def likes_list_likers(self, post_id: Id, viewer: str) -> list[Plain]:
        self.visible(post_id, viewer)
        likes = self.likes[post_id]
        newest = sorted(likes, key=lambda user: (likes[user], user), reverse=True)
        return [
            {"post_id": post_id, "user_id": user, "user": self.name_of(user)} for user in newest
        ]

    def likes_recount(self, post_id: Id) -> int:
        if post_id not in self.posts:
            raise NotFound("no such post")
        return int(self.shown_post(post_id)["likes_count"])

    # --- comments

    def comments_create(
        self, post_id: Id, user_id: str, content: str, parent_comment_id: Id | None
    ) -> Plain:
        person(user_id)
        content = text(content, 5000)
        depth = 0
        if parent_comment_id is not None:
            parent = self._comment(parent_comment_id, user_id)
            if parent["post_id"] != post_id:
                raise NotFound("the comment replied to is of the same post")
            # Told before the post is locked: the thread is looked at first.
            if parent["content"] is None:
                raise Conflict("it is a tombstone")
            if parent["depth"] >= MAX_DEPTH:
                raise Invalid("a reply is not deeper than the limit")
            depth = parent["depth"] + 1
        if self.visible(post_id, user_id)["locked"]:
            raise Forbidden("the post is locked")
        comment_id = self.numbers.new("comment")
        self.comments[comment_id] = {
            "id": comment_id,
            "post_id": post_id,
            "user_id": user_id,
            "parent_comment_id": parent_comment_id,
            "depth": depth,
            "content": content,
            "deleted": False,
            "removed": False,
            "removed_by": None,
        }
        return self.shown_comment(comment_id)

    def comments_update(self, comment_id: Id, actor_id: str, content: str) -> Plain:
        person(actor_id)
        content = text(content, 5000)
        comment = self._comment(comment_id, actor_id)
        if comment["user_id"] != actor_id:
            raise Forbidden("only its author changes a comment")
        if comment["content"] is None:
            raise Conflict("it is a tombstone")
        if self.posts[comment["post_id"]]["locked"]:
            raise Forbidden("the post is locked")
        comment["content"] = content
        return self.shown_comment(comment_id)

    def comments_soft_delete(self, comment_id: Id, actor_id: str) -> bool:
        person(actor_id)
        comment = self._comment(comment_id, actor_id)
        if comment["user_id"] != actor_id:
            raise Forbidden("only its author deletes a comment")
        return _bury(comment, deleted=True)

    def comments_remove(self, comment_id: Id, actor_id: str, moderating: bool) -> bool:
        person(actor_id)
        comment = self._comment(comment_id, actor_id)
        if not self._moderates(self.posts[comment["post_id"]], actor_id, moderating):
            raise Forbidden("a moderator removes one")
        return _bury(comment, removed=True, removed_by=actor_id)

    def comments_list_tree(self, post_id: Id, viewer: str) -> list[Plain]:
        self.visible(post_id, viewer)
        return self._threads(
            key
            for key, comment in self.comments.items()
            if comment["post_id"] == post_id and comment["parent_comment_id"] is None
        )

    def comments_list_replies(self, comment_id: Id, viewer: str) -> list[Plain]:
        self._comment(comment_id, viewer)
        return self._threads(self._replies(comment_id))

    def comments_recount(self, post_id: Id) -> int:
        if post_id not in self.posts:
            raise NotFound("no such post")
        return int(self.shown_post(post_id)["comments_count"])

    def shown_comment(self, comment_id: Id) -> Plain:
        comment = self.comments[comment_id]
        return {**comment, "author": self.name_of(comment["user_id"])}

    def _comment(self, comment_id: Id, viewer: str) -> Plain:
        comment = self.comments.get(comment_id)
        if comment is None or not self.sees(comment["post_id"], viewer):
            raise NotFound("no such comment")
        return comment

    def _replies(self, comment_id: Id) -> list[Id]:
        found = self.comments.items()
        return sorted(key for key, c in found if c["parent_comment_id"] == comment_id)

    def _below(self, comment_id: Id) -> list[Id]:
        return [key for reply in self._replies(comment_id) for key in (reply, *self._below(reply))]

    def _threads(self, heads: Any) -> list[Plain]:
        return [
            {
                "head": self.shown_comment(head),
                "replies": [self.shown_comment(reply) for reply in self._below(head)],
                "has_more": False,
            }
            for head in sorted(heads)
        ]


def _bury(comment: Plain, **marks: Any) -> bool:
    was_there = comment["content"] is not None
    if was_there:
        comment.update(marks, content=None)
    return was_there


def _tag(value: str) -> str:
    return text(text(value, 51).lstrip("# ").lower(), 50)


def _tags(values: list[str]) -> list[str]:
    found = list(dict.fromkeys(map(_tag, values)))
    check(len(found) <= 20)
    return found


def _media(values: list[Plain]) -> list[Plain]:
    check(len(values) <= 10 and all(url(value.get("url")) for value in values))
    return values
