"""What all chapters of the API share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from orgtenancy.community import inputs
from orgtenancy.community.activity import ActivityLogRepository
from orgtenancy.community.models import UserProfile
from orgtenancy.community.models.base import MAX_URL_LENGTH, MAX_USER_ID_LENGTH
from orgtenancy.community.profiles import UserProfileRepository
from orgtenancy.community.settings import CommunitySettings
from orgtenancy.endpoints import Caller


def _storable(value: str) -> str:
    if not inputs.storable(value):
        raise ValueError("must be without NUL and lone surrogates")
    return value


#: A text that PostgreSQL can store.
Text = Annotated[str, AfterValidator(_storable)]
UserId = Annotated[Text, Field(min_length=1, max_length=MAX_USER_ID_LENGTH)]
Url = Annotated[Text, Field(max_length=MAX_URL_LENGTH)]
Query = Annotated[Text, Field(min_length=1, max_length=200, examples=["rope"])]


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


#: The default of a field that may be left out, and has no value then.
absent: Any = Field(default=None, json_schema_extra=_without_default)


class Body(BaseModel):
    """What a request sends; a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class View(BaseModel):
    """What a response shows."""

    model_config = ConfigDict(frozen=True)


class PersonView(View):
    """A person beside what they did; without a name where there is no profile."""

    user_id: str
    username: str | None = None
    display_name: str | None = None
    avatar_url: str | None = None

    @classmethod
    def of(cls, user_id: str, profile: UserProfile | None) -> Self:
        """Return the view of a person."""
        if profile is None:
            return cls(user_id=user_id)
        return cls(
            user_id=user_id,
            username=profile.username,
            display_name=profile.display_name,
            avatar_url=profile.avatar_url,
        )


class People:
    """The people beside a list of rows, loaded in one query.

    Args:
        session: The organization's session.
        user_ids: Who.
    """

    def __init__(self, session: Session, user_ids: Iterable[str]) -> None:
        found = UserProfileRepository(session).get_many(user_ids)
        self._profiles = {profile.user_id: profile for profile in found}

    def __getitem__(self, user_id: str) -> PersonView:
        return PersonView.of(user_id, self._profiles.get(user_id))


def is_moderator(session: Session, caller: Caller) -> bool:
    """Return whether the caller moderates the whole organization."""
    return settings(session).moderator_scope in caller.actor.scopes


def settings(session: Session) -> CommunitySettings:
    """Return the community's settings."""
    return UserProfileRepository(session).session.module_settings(CommunitySettings)


def record(
    session: Session,
    caller: Caller,
    action: str,
    entity_id: str | UUID,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write what the caller does into the activity log, in the same transaction.

    Args:
        session: The organization's session.
        caller: Who, and from where.
        action: What, as `post.create`: the word before the dot is the entity's type.
        entity_id: To which post, group, ...
        metadata: What else belongs to it: ids and words of a fixed set, no content.
    """
    ActivityLogRepository(session).record(
        action,
        user_id=caller.id,
        entity_type=action.partition(".")[0],
        entity_id=entity_id,
        metadata=metadata,
        ip_address=caller.ip_address,
    )
