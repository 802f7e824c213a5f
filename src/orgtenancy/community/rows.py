"""What a session already holds, kept in step with statements that go past it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import Select, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.util import identity_key

from orgtenancy.community.models import Base, Post, PostComment, UserProfile
from orgtenancy.errors import NotFound

#: For statements that read: a row says what the database says now, even if the session
#: had loaded it before.
FRESH: Final = {"populate_existing": True}

#: For statements that write: what they return replaces what the session held.
WRITES: Final = {"populate_existing": True, "synchronize_session": False}


def remember(session: Session, model: type[Base], key: UUID, **values: Any) -> None:
    """Set columns of a row that the session may hold, after a statement changed them."""
    row = session.identity_map.get(identity_key(model, key))
    if row is not None:
        for name, value in values.items():
            set_committed_value(row, name, value)


def load_authors(session: Session, rows: Iterable[Post | PostComment]) -> None:
    """Give rows that a writing statement returned their author, which it cannot join."""
    for row in rows:
        set_committed_value(row, "author", session.get(UserProfile, row.user_id))


def recount(
    session: Session,
    post_id: UUID,
    counter: Literal["likes_count", "comments_count"],
    number: Select[int],
) -> int:
    """Set a post's counter to what a query counts, and return it.

    Raises:
        NotFound: If there is no such post.
    """
    # All that counts holds this lock until its end. It is a statement of its own, as what a
    # statement sees is decided before it waits for a lock.
    lock = select(Post.id).where(Post.id == post_id).with_for_update(key_share=True)
    if session.scalar(lock) is None:
        raise NotFound("no such post")
    posts: Any = Post.__table__
    column = posts.c[counter]
    statement = (
        update(posts)
        .where(posts.c.id == post_id)
        .values({column: number.scalar_subquery()})
        .returning(column)
    )
    counted: int = session.execute(statement).scalar_one()
    remember(session, Post, post_id, **{counter: counted})
    return counted


def violated_constraint(error: IntegrityError) -> str | None:
    """Return the name of the constraint that refused a statement."""
    name: str | None = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
    if name is None:
        return None
    # A worker of Citus appends the number of the shard.
    head, _, tail = name.rpartition("_")
    return head if head and tail.isdecimal() else name
