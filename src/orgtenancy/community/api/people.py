"""Profiles over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import Field
from sqlalchemy.orm import Session

from orgtenancy.community.api.common import Body, Text, Url, UserId, View, absent, record
from orgtenancy.community.models import ProfileStatus, UserProfile
from orgtenancy.community.models.profiles import (
    MAX_BIO_LENGTH,
    MAX_DISPLAY_NAME_LENGTH,
    MAX_USERNAME_LENGTH,
)
from orgtenancy.community.profiles import UserProfileRepository
from orgtenancy.endpoints import Caller
from orgtenancy.errors import NotFound
from orgtenancy.pagination import Page, PageRequest

Username = Annotated[Text, Field(min_length=1, max_length=MAX_USERNAME_LENGTH)]


class ProfileView(View):
    """A person, as everyone in the organization sees them."""

    user_id: str
    username: str
    display_name: str | None
    bio: str | None
    avatar_url: str | None
    status: ProfileStatus
    created_at: datetime

    @classmethod
    def of(cls, profile: UserProfile) -> Self:
        """Return the view of a profile."""
        return cls(**_shared(profile))


class OwnProfileView(ProfileView):
    """One's own profile."""

    metadata: dict[str, Any]

    @classmethod
    def of(cls, profile: UserProfile) -> Self:
        """Return the view of a profile."""
        return cls(**_shared(profile), metadata=profile.metadata_)


class ProfileEdit(Body):
    """What of a profile shall change; what is absent stays, and null clears."""

    username: Username = absent
    display_name: Annotated[Text, Field(max_length=MAX_DISPLAY_NAME_LENGTH)] | None = absent
    bio: Annotated[Text, Field(max_length=MAX_BIO_LENGTH)] | None = absent
    avatar_url: Url | None = absent
    metadata: dict[str, Any] = absent


def _shared(profile: UserProfile) -> dict[str, Any]:
    return {name: getattr(profile, name) for name in ProfileView.model_fields}


def list_profiles(session: Session, caller: Caller, *, query: PageRequest) -> Page[ProfileView]:
    """List the people of the organization, in the order of their ids."""
    return UserProfileRepository(session).list(query).map(ProfileView.of)


def read_own_profile(session: Session, caller: Caller) -> OwnProfileView:
    """Return one's own profile; the first time it is made from the token's claims."""
    profile = UserProfileRepository(session).upsert_from_claims(_claims(caller))
    return OwnProfileView.of(profile)


def update_own_profile(session: Session, caller: Caller, *, body: ProfileEdit) -> OwnProfileView:
    """Change one's own profile."""
    profiles = UserProfileRepository(session)
    profiles.upsert_from_claims(_claims(caller))
    profile = profiles.update(caller.id, **body.model_dump(exclude_unset=True))
    record(session, caller, "profile.update", caller.id)
    return OwnProfileView.of(profile)


def read_profile(session: Session, caller: Caller, *, user_id: UserId) -> ProfileView:
    """Return a person's profile."""
    return ProfileView.of(_found(UserProfileRepository(session).get(user_id)))


def read_profile_by_username(session: Session, caller: Caller, *, username: Text) -> ProfileView:
    """Return the profile with a user name, without regard to case."""
    return ProfileView.of(_found(UserProfileRepository(session).get_by_username(username)))


def deactivate_profile(session: Session, caller: Caller, *, user_id: UserId) -> ProfileView:
    """Hide a person's posts, and close their profile; can be undone."""
    profile = UserProfileRepository(session).deactivate(user_id)
    record(session, caller, "profile.deactivate", user_id)
    return ProfileView.of(profile)


def reactivate_profile(session: Session, caller: Caller, *, user_id: UserId) -> ProfileView:
    """Undo a deactivation."""
    profile = UserProfileRepository(session).reactivate(user_id)
    record(session, caller, "profile.reactivate", user_id)
    return ProfileView.of(profile)


def anonymize_profile(session: Session, caller: Caller, *, user_id: UserId) -> ProfileView:
    """Delete a person's data for good; what they wrote stays, without their name."""
    profile = UserProfileRepository(session).anonymize(user_id)
    record(session, caller, "profile.anonymize", user_id)
    return ProfileView.of(profile)


def _claims(caller: Caller) -> dict[str, Any]:
    return {**caller.actor.claims, "sub": caller.id}


def _found(profile: UserProfile | None) -> UserProfile:
    if profile is None:
        raise NotFound("no such person")
    return profile
