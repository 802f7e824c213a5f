"""People, as the organization knows them."""

from __future__ import annotations

from typing import Any, Literal, get_args

from sqlalchemy import Index, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from orgtenancy.community.models.base import (
    MAX_URL_LENGTH,
    MAX_USER_ID_LENGTH,
    SEARCHED,
    Base,
    Timestamps,
    UserId,
    length,
    one_of,
    search,
)
from orgtenancy.modules import PERSON

ProfileStatus = Literal["active", "deactivated", "anonymized"]

MAX_USERNAME_LENGTH = 40
MAX_DISPLAY_NAME_LENGTH = 120
MAX_BIO_LENGTH = 2_000

#: Unique without regard to case.
USERNAME_INDEX = "uq_user_profiles_username"


class UserProfile(Timestamps, Base):
    """A person; the key is the subject of the identity provider's tokens."""

    __tablename__ = "user_profiles"
    __table_args__ = (
        search(
            "to_tsvector('simple'::regconfig, "
            "translate(username || ' ' || COALESCE(display_name, ''), "
            "'._-@/+~<&', '         '))"
        ),
        length("user_id", 1, MAX_USER_ID_LENGTH),
        length("username", 1, MAX_USERNAME_LENGTH),
        length("display_name", 1, MAX_DISPLAY_NAME_LENGTH),
        length("bio", 1, MAX_BIO_LENGTH),
        length("avatar_url", 1, MAX_URL_LENGTH),
        one_of("status", get_args(ProfileStatus)),
        Index(USERNAME_INDEX, func.lower(text("username")), unique=True),
        # Few rows: each list of content asks whether an author is among them.
        Index(
            "ix_user_profiles_deactivated",
            "user_id",
            postgresql_where=text("status = 'deactivated'"),
        ),
        Index("ix_user_profiles_name", "username"),
        Index("ix_user_profiles_search", "search", postgresql_using="gin"),
    )
    __mapper_args__ = SEARCHED

    user_id: Mapped[UserId] = mapped_column(primary_key=True)
    username: Mapped[str]
    display_name: Mapped[str | None]
    bio: Mapped[str | None]
    avatar_url: Mapped[str | None]
    metadata_: Mapped[dict[str, Any]] = mapped_column(
        "metadata", JSONB, default=dict, server_default=text("'{}'"), info=PERSON
    )
    status: Mapped[ProfileStatus] = mapped_column(
        Text, default="active", server_default=text("'active'")
    )
