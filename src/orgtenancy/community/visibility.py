"""Who sees what: conditions that every list and every change decides by, in SQL."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Text, and_, literal_column, or_, select
from sqlalchemy.orm import Session

from orgtenancy.community.models import (
    ConversationParticipant,
    Group,
    GroupMember,
    Post,
    Role,
    UserProfile,
)
from orgtenancy.errors import NotFound

# Constants, not parameters: partial indexes serve prepared statements only then.
ACTIVE: Final = literal_column("'active'", Text)
DEACTIVATED: Final = literal_column("'deactivated'", Text)
INVITED: Final = literal_column("'invited'", Text)
OWNER: Final = literal_column("'owner'", Text)
PUBLIC: Final = literal_column("'public'", Text)
SECRET: Final = literal_column("'secret'", Text)

MODERATING_ROLES: Final[tuple[Role, ...]] = ("owner", "admin", "moderator")


def groups_of(user_id: str) -> Select[UUID]:
    """Select the groups that a person is an active member of."""
    return select(GroupMember.group_id).where(
        GroupMember.user_id == user_id, GroupMember.status == ACTIVE
    )


def visible_to(viewer: str, *, author: str | None = None) -> ColumnElement[bool]:
    """Return the condition under which a person sees a post.

    Public to the organization, their own, or of a group where they are an active member;
    never deleted, and never by an author who was deactivated.

    Args:
        viewer: The person.
        author: Whose posts are asked for, where they all have the same author: they are
            looked up once then. For each row, PostgreSQL would expect one row to be left,
            and read and sort all the author's posts.
    """
    hidden_author = select(UserProfile.user_id).where(
        UserProfile.user_id == (Post.user_id if author is None else author),
        UserProfile.status == DEACTIVATED,
    )
    return and_(
        Post.deleted_at.is_(None),
        or_(
            Post.visibility == PUBLIC,
            Post.user_id == viewer,
            Post.group_id.in_(groups_of(viewer)),
        ),
        ~hidden_author.exists(),
    )


def moderated_by(user_id: str) -> ColumnElement[bool]:
    """Return the condition under which a person moderates the group of a post."""
    return Post.group_id.in_(
        groups_of(user_id).where(GroupMember.role.in_(MODERATING_ROLES)),
    )


def group_visible_to(viewer: str) -> ColumnElement[bool]:
    """Return the condition under which a person knows of a group.

    A secret one is known to its active members and to those who are invited.
    """
    invited = select(GroupMember.group_id).where(
        GroupMember.user_id == viewer, GroupMember.status == INVITED
    )
    # Two conditions, since each has a partial index of its own.
    return or_(Group.privacy != SECRET, Group.id.in_(groups_of(viewer)), Group.id.in_(invited))


def takes_part(user_id: str, conversation_id: ColumnElement[UUID]) -> ColumnElement[bool]:
    """Return the condition under which a person takes part in a conversation now."""
    return (
        select(ConversationParticipant.user_id)
        .where(
            ConversationParticipant.conversation_id == conversation_id,
            ConversationParticipant.user_id == user_id,
            ConversationParticipant.left_at.is_(None),
        )
        .exists()
    )


def require_people(session: Session, user_ids: Iterable[str]) -> None:
    """Make sure that people can be written to or invited: each has an active profile.

    Raises:
        NotFound: If one of them has none.
    """
    wanted = set(user_ids)
    found = select(UserProfile.user_id).where(
        UserProfile.user_id.in_(wanted), UserProfile.status == ACTIVE
    )
    if len(set(session.scalars(found))) < len(wanted):
        raise NotFound("no such person")
