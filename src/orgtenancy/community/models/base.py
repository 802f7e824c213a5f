"""What all tables of the community have in common.

No table names a schema: the organization's `search_path` does. User ids are the identity
provider's subjects and refer to no table: somebody can act, or be imported, before the
profile exists, and the content of a person outlives it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

from sqlalchemy import (
    DDL,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    MetaData,
    Text,
    Uuid,
    column,
    event,
    func,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from orgtenancy.community.keys import uuid7
from orgtenancy.modules import PERSON

MAX_USER_ID_LENGTH = 255
MAX_URL_LENGTH = 2_048

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: The text search configuration of an organization: a copy of its language's, under one
#: name, so that statements are the same for all languages.
SEARCH_CONFIGURATION = "community_search"

event.listen(
    metadata,
    "before_create",
    DDL(  # type: ignore[no-untyped-call]
        f"CREATE TEXT SEARCH CONFIGURATION {SEARCH_CONFIGURATION} (COPY = pg_catalog.english)"
    ),
)

#: The id of a person: what an erasure replaces. So are ids in arrays and JSON with this info.
UserId = Annotated[str, mapped_column(info=PERSON)]

Key = Annotated[UUID, mapped_column(primary_key=True, default=uuid7)]


class Base(DeclarativeBase):
    """The declarative base of the community's tables."""

    metadata = metadata
    type_annotation_map = {  # noqa: RUF012 - declared by SQLAlchemy
        str: Text,
        UUID: Uuid,
        datetime: DateTime(timezone=True),
    }
    # What the server fills in comes back with the statement, never by a later query.
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 - declared by SQLAlchemy


class Timestamps:
    """When a row was made, and when a person last changed it; counters are no change."""

    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=90)
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=91)


#: The mapper arguments of a class whose table has a column `search`.
SEARCHED: Final = {"eager_defaults": True, "exclude_properties": ["search"]}


def search(expression: str) -> Column[str]:
    """Return the column that a table is searched by; mapped classes leave it out."""
    return Column("search", TSVECTOR, Computed(expression, persisted=True))


def length(name: str, minimum: int, maximum: int) -> CheckConstraint:
    """Return a check on the number of characters of a column."""
    return CheckConstraint(
        func.char_length(column(name)).between(minimum, maximum), name=f"{name}_length"
    )


def one_of(name: str, values: Iterable[str]) -> CheckConstraint:
    """Return a check that a column holds one of a few words."""
    return CheckConstraint(column(name, Text).in_(list(values)), name=name)


def not_negative(name: str) -> CheckConstraint:
    """Return a check that a counter is 0 or more."""
    return CheckConstraint(column(name) >= 0, name=f"{name}_not_negative")
