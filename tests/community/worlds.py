"""As many rows of every kind as a test asks for, and some to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.orm import Session

from orgtenancy.community import (
    ActivityLogRepository,
    ConversationRepository,
    GroupMember,
    GroupMemberRepository,
    GroupRepository,
    MessageRepository,
    PostCommentRepository,
    PostLikeRepository,
    PostRepository,
)
from tests.community.seeds import add_person


@dataclass(frozen=True)
class Circles:
    """A public group, a private one where everybody is something, and one that invites `ada`."""

    group: UUID
    private: UUID
    secret: UUID


@dataclass(frozen=True)
class Talks:
    """A conversation of everybody, and messages of `bob`, of `ada`, and a flagged one."""

    talk: UUID
    message: UUID
    own_message: UUID
    flagged: UUID


@dataclass(frozen=True)
class World:
    """So many rows of every kind, all of them around `ada`."""

    people: Sequence[str]
    circles: Circles
    talks: Talks
    post: UUID
    pinned: UUID
    comment: UUID

    @property
    def number(self) -> int:
        """How many rows there are of each kind, at least."""
        return len(self.people)


def build(session: Session, number: int) -> World:
    """Write them."""
    people = [f"p{n:02d}" for n in range(number)]
    for person in ("ada", "bob", "new", *people):
        add_person(session, person)
    circles = _circles(session, people)
    talks = _talks(session, people)
    pinned = _posts(session, people, circles.private)
    post = PostRepository(session).create(user_id="ada", content="A rope").id
    comment = _discuss(session, people, post)
    return World(people, circles, talks, post, pinned, comment)


def _circles(session: Session, people: Sequence[str]) -> Circles:
    groups, members = GroupRepository(session), GroupMemberRepository(session)
    group = groups.create(creator_id="ada", name="Rope").id
    private = groups.create(creator_id="ada", name="Private", privacy="private").id
    for person in people:
        for newcomer in (f"{person}-asks", f"{person}-invited"):
            add_person(session, newcomer)
        session.add(GroupMember(group_id=private, user_id=person, joined_at=datetime.now(UTC)))
        members.request(private, f"{person}-asks")
        members.invite(private, "ada", f"{person}-invited")
        members.ban(private, "ada", f"{person}-banned")
        groups.create(creator_id="ada", name=f"Rope {person}")
        secret = groups.create(creator_id=person, name=f"Secret {person}", privacy="secret").id
        members.invite(secret, person, "ada")
    members.ban(private, "ada", "banned")
    return Circles(group, private, secret)


def _posts(session: Session, people: Sequence[str], group: UUID) -> UUID:
    posts = PostRepository(session)
    for person in people:
        posts.create(user_id="ada", content="A rope")
        outside = posts.create(user_id=person, content="A rope", tags=["a"]).id
        inside = posts.create(user_id=person, content="A rope", group_id=group).id
        for pinned in (outside, inside):
            posts.pin(pinned, "ada", moderating=True)
    return inside


def _discuss(session: Session, people: Sequence[str], post: UUID) -> UUID:
    comments, likes = PostCommentRepository(session), PostLikeRepository(session)
    head = comments.create(post_id=post, user_id="ada", content="Head").id
    for person in people:
        likes.like(post, person)
        comments.create(post_id=post, user_id=person, content="Hello")
        reply = comments.create(
            post_id=post, user_id=person, content="Hello", parent_comment_id=head
        )
        comments.create(post_id=post, user_id=person, content="Hello", parent_comment_id=reply.id)
        ActivityLogRepository(session).record(
            "post.read", user_id="ada", entity_type="post", entity_id=post
        )
    return head


def _talks(session: Session, people: Sequence[str]) -> Talks:
    conversations, messages = ConversationRepository(session), MessageRepository(session)
    for person in people:
        direct = conversations.open_direct("ada", person).id
        messages.send(direct, person, content="Hello")
    talk = conversations.create(creator_id="ada", participant_ids=["bob", *people]).id
    for person in ("bob", *people):
        flagged = messages.send(talk, person, content="Hello").id
        for flagging in {"ada", "bob", *people} - {person}:
            messages.flag(flagged, flagging)
    own = messages.send(talk, "ada", content="Mine").id
    other = messages.send(talk, "bob", content="Not flagged").id
    return Talks(talk, other, own, flagged)
