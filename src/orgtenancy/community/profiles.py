"""Profiles: the people of an organization."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, TypedDict, Unpack

from sqlalchemy import Select, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from orgtenancy.community import inputs
from orgtenancy.community.models import UserProfile
from orgtenancy.community.models.base import MAX_URL_LENGTH
from orgtenancy.community.models.profiles import (
    MAX_BIO_LENGTH,
    MAX_DISPLAY_NAME_LENGTH,
    MAX_USERNAME_LENGTH,
    USERNAME_INDEX,
)
from orgtenancy.community.rows import FRESH, WRITES, violated_constraint
from orgtenancy.errors import Conflict, Invalid, NotFound
from orgtenancy.repository import (
    AsyncOrganizationAwareRepository,
    OrganizationAwareRepository,
    awaitable,
)

_NAME_CLAIMS = ("preferred_username", "username", "nickname", "name")
_not_in_usernames = re.compile(r"[^A-Za-z0-9._-]+").sub


class ProfileChanges(TypedDict, total=False):
    """What of a profile shall change; what is absent stays, and None clears."""

    username: str
    display_name: str | None
    bio: str | None
    avatar_url: str | None
    metadata: Mapping[str, Any]


def profile_by_username(username: str) -> Select[UserProfile]:
    """Select the profile with a user name, without regard to case."""
    return select(UserProfile).where(func.lower(UserProfile.username) == username.lower())


class UserProfileRepository(OrganizationAwareRepository[UserProfile]):
    """The people of the current organization."""

    def get_by_username(self, username: str) -> UserProfile | None:
        """Return the profile with this user name, without regard to case, or None."""
        if not inputs.is_username(username):
            return None
        statement = profile_by_username(username)
        return self.session.scalar(statement, execution_options=FRESH)

    def upsert_from_claims(self, claims: Mapping[str, Any]) -> UserProfile:
        """Return the profile of a token's subject, made from its claims at first sight.

        Later on the claims fill in what is empty; what a person has set stays. A user
        name that is taken gets a suffix.

        Args:
            claims: The claims of a verified token; `sub` is the key.

        Raises:
            Invalid: If `sub` is no user id.
        """
        user_id = inputs.user_id(claims.get("sub", ""))
        details = _details(claims)
        profile = self._fresh(user_id)
        if profile is None:
            profile = self._insert(user_id, claims, details)
        missing = {k: v for k, v in details.items() if getattr(profile, k) is None}
        # An anonymized profile stays empty.
        return self._fill(user_id, missing) if missing and profile.status == "active" else profile

    def update(self, user_id: str, **changes: Unpack[ProfileChanges]) -> UserProfile:
        """Change a profile and return it.

        Args:
            user_id: Whose profile.
            **changes: `username`, `display_name`, `bio`, `avatar_url`, `metadata`.

        Raises:
            NotFound: If there is no such profile.
            Conflict: If the user name is taken; the transaction goes on.
            Invalid: If a value breaks a rule.
        """
        values = _checked(changes)
        statement = (
            update(UserProfile)
            .where(UserProfile.user_id == user_id)
            .values({**values, UserProfile.updated_at: func.now()})
            .returning(UserProfile)
        )
        if UserProfile.username not in values:
            profile = self.session.scalar(statement, execution_options=WRITES)
        else:
            try:
                with self.session.begin_nested():
                    profile = self.session.scalar(statement, execution_options=WRITES)
            except IntegrityError as e:
                if violated_constraint(e) != USERNAME_INDEX:
                    raise
                raise Conflict("the username is taken") from e
        if profile is None:
            raise NotFound("no such profile")
        return profile

    def _fresh(self, user_id: str) -> UserProfile | None:
        return self.session.get(UserProfile, user_id, populate_existing=True)

    def _insert(
        self, user_id: str, claims: Mapping[str, Any], details: Mapping[str, str]
    ) -> UserProfile:
        for username in _usernames(user_id, claims):
            # DO NOTHING waits for a concurrent insert of the same person or name, and
            # keeps the transaction usable.
            statement = (
                insert(UserProfile)
                .values(user_id=user_id, username=username, metadata_={}, **details)
                .on_conflict_do_nothing()
                .returning(UserProfile)
            )
            profile = self.session.scalar(statement, execution_options=WRITES)
            if profile is None:
                profile = self._fresh(user_id)
            if profile is not None:
                return profile
        raise Conflict("no free username was found")

    def _fill(self, user_id: str, missing: Mapping[str, str]) -> UserProfile:
        columns = UserProfile.__table__.c
        statement = (
            update(UserProfile)
            .where(UserProfile.user_id == user_id)
            .values({name: func.coalesce(columns[name], value) for name, value in missing.items()})
            .returning(UserProfile)
        )
        return self.session.scalars(statement, execution_options=WRITES).one()


class AsyncUserProfileRepository(
    AsyncOrganizationAwareRepository[UserProfile], sync=UserProfileRepository
):
    """The async twin of `UserProfileRepository`."""

    get_by_username = awaitable(UserProfileRepository.get_by_username)
    upsert_from_claims = awaitable(UserProfileRepository.upsert_from_claims)
    update = awaitable(UserProfileRepository.update)


def _checked(changes: ProfileChanges) -> dict[Any, Any]:
    values: dict[Any, Any] = {}
    for name, value in changes.items():
        match name, value:
            case "username", str():
                values[UserProfile.username] = inputs.username(value)
            case "display_name", str() | None:
                values[UserProfile.display_name] = inputs.optional_text(
                    name, value, MAX_DISPLAY_NAME_LENGTH
                )
            case "bio", str() | None:
                values[UserProfile.bio] = inputs.optional_text(name, value, MAX_BIO_LENGTH)
            case "avatar_url", str() | None:
                values[UserProfile.avatar_url] = inputs.url(name, value)
            case "metadata", Mapping():
                values[UserProfile.metadata_] = inputs.json_object(name, value)
            case _:
                raise Invalid(f"a profile has no such {name}")
    return values


def _details(claims: Mapping[str, Any]) -> dict[str, str]:
    """Return what claims say of a person, without what no profile could hold."""
    details: dict[str, str] = {}
    name, picture = claims.get("name"), claims.get("picture")
    if isinstance(name, str) and inputs.storable(name) and name.strip():
        details["display_name"] = name.strip()[:MAX_DISPLAY_NAME_LENGTH].strip()
    if (
        isinstance(picture, str)
        and inputs.storable(picture)
        and len(picture) <= MAX_URL_LENGTH
        and inputs.is_url(picture)
    ):
        details["avatar_url"] = picture
    return details


def _usernames(user_id: str, claims: Mapping[str, Any]) -> Iterator[str]:
    """Yield user names to try: the claimed one, then with ever longer suffixes."""
    claimed = next((c for c in map(claims.get, _NAME_CLAIMS) if c and isinstance(c, str)), "")
    ascii_only = unicodedata.normalize("NFKD", claimed.partition("@")[0]).encode("ascii", "ignore")
    base = _not_in_usernames("-", ascii_only.decode()).strip("._-") or "user"
    yield base[:MAX_USERNAME_LENGTH]
    digest = hashlib.blake2b(user_id.encode(), digest_size=3).hexdigest()
    for suffix in (digest, secrets.token_hex(4), secrets.token_hex(8)):
        yield f"{base[: MAX_USERNAME_LENGTH - 1 - len(suffix)]}-{suffix}"
