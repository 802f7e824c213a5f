"""Seed data that looks like real life, made from `texts/` by a seeded generator."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import func, insert, select

from examples.community.people import Texts
from examples.community.seed.deeds import deeds
from examples.community.seed.groups import Groups
from examples.community.seed.maker import Maker, Rows
from examples.community.seed.posts import Posts
from examples.community.seed.talks import Talks
from orgtenancy import Tenancy
from orgtenancy.community import (
    ActivityLog,
    Conversation,
    ConversationParticipant,
    Group,
    GroupMember,
    Message,
    Post,
    PostComment,
    PostLike,
    UserProfile,
    UserProfileRepository,
)

# What others refer to comes first.
_ORDER = (
    UserProfile,
    Group,
    GroupMember,
    Post,
    PostLike,
    PostComment,
    Conversation,
    ConversationParticipant,
    Message,
    ActivityLog,
)


def seed(tenancy: Tenancy, texts: Texts) -> bool:
    """Fill an organization in one transaction, unless it is filled; return whether it was not."""
    with tenancy.session(texts.id) as session:
        # Two processes that share a kept server wait for each other here.
        session.execute(select(func.pg_advisory_xact_lock(func.hashtext(texts.id))))
        if UserProfileRepository(session).count():
            return False
        rows = rows_of(texts, datetime.now(UTC))
        for model in _ORDER:
            session.execute(insert(model), rows[model])
        return True


def rows_of(texts: Texts, now: datetime) -> Rows:
    """Return the rows of an organization by model, the same ones for the same texts and time."""
    maker = Maker(texts, now)
    rows = Posts(maker).rows()
    for made in (Groups(maker).rows(), Talks(maker).rows()):
        for model, more in made.items():
            rows.setdefault(model, []).extend(more)
    rows[ActivityLog] = deeds(maker, rows)
    return rows
