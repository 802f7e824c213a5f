"""Two organizations full of rows, each marked as its own, for those who look for leaks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from orgtenancy import Organization
from orgtenancy.community import (
    ActivityLogRepository,
    ConversationRepository,
    GroupMemberRepository,
    GroupRepository,
    MessageRepository,
    PostCommentRepository,
    PostLikeRepository,
    PostRepository,
    UserProfileRepository,
)

MEMBER, MODERATOR = "ada", "mod"  # the same subjects in both organizations

_uuids = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").findall


@dataclass
class Side:
    """One organization, and what nobody of the other one may ever see.

    Attributes:
        marker: Stands in every text and name of its rows.
        named: A person whom the other side may name in its requests.
        people: Everybody with a profile.
        ids: Rows by kind, to be asked for.
        known: Every id that it ever showed.
    """

    organization: Organization
    marker: str
    named: str = ""
    people: list[str] = field(default_factory=list)
    ids: dict[str, list[str]] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)

    def note(self, text: str) -> None:
        """Remember the ids that an answer shows."""
        self.known.update(_uuids(text))

    def leaks_in(self, text: str) -> set[str]:
        """Return what of this side stands in a text for the other one."""
        found = self.known.intersection(_uuids(text))
        return found | ({self.marker} if self.marker in text else set())


def seed(session: Session, side: Side) -> None:
    """Write rows of every kind, old ids stay known."""
    marker = side.marker
    profiles = UserProfileRepository(session)
    # The other side cannot name these two, unless it sees them.
    friend, quiet = f"{marker}friend", f"{marker}quiet"
    side.people = [MEMBER, MODERATOR, friend, quiet, side.named]
    for user in side.people:
        profiles.upsert_from_claims({"sub": user, "username": user, "name": f"{marker} {user}"})
    ids = {kind: list[str]() for kind in ("group", "post", "comment", "conversation", "message")}
    for privacy in ("public", "private", "secret"):
        group = GroupRepository(session).create(
            creator_id=MEMBER, name=f"{marker} ropes", privacy=privacy, category="crafts"
        )
        ids["group"].append(str(group.id))
        members = GroupMemberRepository(session)
        members.invite(group.id, MEMBER, friend)
        members.accept(group.id, friend)
        members.invite(group.id, MEMBER, MODERATOR)
        if privacy == "private":
            members.request(group.id, quiet)
    posts, comments = PostRepository(session), PostCommentRepository(session)
    for author, group_id in ((MEMBER, None), (MODERATOR, None), (friend, group.id)):
        post = posts.create(
            user_id=author, content=f"{marker} rope", tags=["rope"], group_id=group_id
        )
        ids["post"].append(str(post.id))
        comment = comments.create(post_id=post.id, user_id=MEMBER, content=f"{marker} nice")
        reply = comments.create(
            post_id=post.id, user_id=friend, content=f"{marker} yes", parent_comment_id=comment.id
        )
        ids["comment"] += [str(comment.id), str(reply.id)]
        PostLikeRepository(session).like(post.id, MEMBER)
        ActivityLogRepository(session).record(
            "post.create", user_id=author, entity_type="post", entity_id=post.id
        )
    posts.pin(post.id, MEMBER)
    conversations = ConversationRepository(session)
    for talk in (
        conversations.open_direct(MEMBER, friend),
        conversations.create(creator_id=MODERATOR, participant_ids=[MEMBER], name=f"{marker} crew"),
    ):
        ids["conversation"].append(str(talk.id))
        for sender in (MEMBER, MODERATOR if talk.type == "group" else friend):
            message = MessageRepository(session).send(talk.id, sender, content=f"{marker} ahoy")
            ids["message"].append(str(message.id))
        MessageRepository(session).flag(message.id, MEMBER, f"{marker} rude")
    side.ids = ids
    side.known.update(*ids.values())
