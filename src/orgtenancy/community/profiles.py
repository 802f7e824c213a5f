"""Profiles: the people of an organization."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack

from sqlalchemy import Select, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from orgtenancy.community import inputs
from orgtenancy.community.claims import details, usernames
from orgtenancy.community.clauses import now_if
from orgtenancy.community.models import ActivityLog, UserProfile
from orgtenancy.community.models.profiles import (
    MAX_BIO_LENGTH,
    MAX_DISPLAY_NAME_LENGTH,
    USERNAME_INDEX,
)
from orgtenancy.community.rows import FRESH, WRITES, violated_constraint
from orgtenancy.community.search import begins
from orgtenancy.community.visibility import ACTIVE
from orgtenancy.errors import Conflict, Forbidden, Invalid, NotFound
from orgtenancy.pagination import Page, PageRequest
from orgtenancy.repository import (
    FIRST_PAGE,
    AsyncOrganizationAwareRepository,
    OrganizationAwareRepository,
    awaitable,
)

# The table, as the class leaves out the column that is searched.
_profiles: Any = UserProfile.__table__


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

    def get(self, key: str) -> UserProfile | None:
        """Return the profile of a person, or None."""
        return super().get(inputs.reader(key))

    def get_many(self, keys: Iterable[str]) -> Sequence[UserProfile]:
        """Return the profiles of some people, in the order asked, absent ones left out."""
        return super().get_many(map(inputs.reader, keys))

    def exists(self, key: str) -> bool:
        """Return whether a person has a profile."""
        return super().exists(inputs.reader(key))

    def get_by_username(self, username: str) -> UserProfile | None:
        """Return the profile with this user name, without regard to case, or None."""
        if not inputs.is_username(username):
            return None
        statement = profile_by_username(username)
        return self.session.scalar(statement, execution_options=FRESH)

    def search(self, query: str, page: PageRequest = FIRST_PAGE) -> Page[UserProfile]:
        """Return a page of active people whom a query names, in the order of user names.

        Args:
            query: What was typed, 1 to 200 characters. Each word of it must begin a word of
                the user name or the display name.
            page: Which page.

        Raises:
            Invalid: If the query has no word or is too long.
            InvalidCursor: If the cursor is not one of this list.
        """
        statement = (
            select(UserProfile)
            .where(UserProfile.status == ACTIVE, begins(_profiles.c.search, query))
            .execution_options(**FRESH)
        )
        return self.select_page(statement, (UserProfile.username,), page, order="people")

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
        known = details(claims)
        profile = self._fresh(user_id)
        if profile is None:
            profile = self._insert(user_id, claims, known)
        missing = {k: v for k, v in known.items() if getattr(profile, k) is None}
        # An anonymized profile stays empty.
        return self._fill(user_id, missing) if missing and profile.status == "active" else profile

    def update(self, user_id: str, **changes: Unpack[ProfileChanges]) -> UserProfile:
        """Change a profile and return it.

        Args:
            user_id: Whose profile.
            **changes: `username`, `display_name`, `bio`, `avatar_url`, `metadata`.

        Raises:
            NotFound: If there is no such profile.
            Forbidden: If it is deactivated or anonymized.
            Conflict: If the user name is taken; the transaction goes on.
            Invalid: If a value breaks a rule.
        """
        user_id, values = inputs.user_id(user_id), _checked(changes)
        statement = (
            update(UserProfile)
            .where(UserProfile.user_id == user_id, UserProfile.status == ACTIVE)
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
            raise Forbidden(f"the profile is {self._known(user_id).status}")
        return profile

    def deactivate(self, user_id: str) -> UserProfile:
        """Hide a person and what they wrote until `reactivate`, and return the profile.

        Raises:
            NotFound: If there is no such profile.
            Conflict: If it is anonymized.
            Invalid: If the user id breaks a rule.
        """
        return self._set_status(user_id, "deactivated")

    def reactivate(self, user_id: str) -> UserProfile:
        """Take back a `deactivate`, and return the profile.

        Raises:
            NotFound: If there is no such profile.
            Conflict: If it is anonymized, which nothing takes back.
            Invalid: If the user id breaks a rule.
        """
        return self._set_status(user_id, "active")

    def anonymize(self, user_id: str) -> UserProfile:
        """Forget who a person is, for good, and return what is left of the profile.

        Names, picture, biography and metadata are gone, and of what the activity log holds of
        the person the addresses and metadata; what they wrote stays, under the user id and a
        random user name. Doing it again empties what was recorded since.

        Raises:
            NotFound: If there is no such profile.
            Invalid: If the user id breaks a rule.
        """
        user_id = inputs.user_id(user_id)
        statement = (
            update(UserProfile)
            .where(UserProfile.user_id == user_id, UserProfile.status != "anonymized")
            .values(
                {
                    UserProfile.username: f"former-{secrets.token_hex(16)}",
                    UserProfile.display_name: None,
                    UserProfile.bio: None,
                    UserProfile.avatar_url: None,
                    UserProfile.metadata_: {},
                    UserProfile.status: "anonymized",
                    UserProfile.updated_at: func.now(),
                }
            )
            .returning(UserProfile)
        )
        profile = self.session.scalar(statement, execution_options=WRITES)
        if profile is None:
            profile = self._known(user_id)
        self.session.execute(
            update(ActivityLog)
            .where(ActivityLog.user_id == user_id)
            .values({ActivityLog.ip_address: None, ActivityLog.metadata_: {}})
        )
        return profile

    def _set_status(self, user_id: str, status: Literal["active", "deactivated"]) -> UserProfile:
        user_id = inputs.user_id(user_id)
        is_so = UserProfile.status == status
        statement = (
            update(UserProfile)
            .where(UserProfile.user_id == user_id, UserProfile.status != "anonymized")
            .values(
                {
                    UserProfile.status: status,
                    UserProfile.updated_at: func.greatest(UserProfile.updated_at, now_if(~is_so)),
                }
            )
            .returning(UserProfile)
        )
        profile = self.session.scalar(statement, execution_options=WRITES)
        if profile is None:
            raise Conflict(f"the profile is {self._known(user_id).status}")
        return profile

    def _known(self, user_id: str) -> UserProfile:
        profile = self._fresh(user_id)
        if profile is None:
            raise NotFound("no such profile")
        return profile

    def _fresh(self, user_id: str) -> UserProfile | None:
        return self.session.get(UserProfile, user_id, populate_existing=True)

    def _insert(
        self, user_id: str, claims: Mapping[str, Any], known: Mapping[str, str]
    ) -> UserProfile:
        for username in usernames(user_id, claims):
            # DO NOTHING waits for a concurrent insert of the same person or name, and
            # keeps the transaction usable.
            statement = (
                insert(UserProfile)
                .values(user_id=user_id, username=username, metadata_={}, **known)
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
        statement = (
            update(UserProfile)
            .where(UserProfile.user_id == user_id, UserProfile.status == ACTIVE)
            .values({k: func.coalesce(_profiles.c[k], value) for k, value in missing.items()})
            .returning(UserProfile)
        )
        profile = self.session.scalar(statement, execution_options=WRITES)
        # Without one it was anonymized or deactivated just now.
        return profile if profile is not None else self._known(user_id)


class AsyncUserProfileRepository(
    AsyncOrganizationAwareRepository[UserProfile], sync=UserProfileRepository
):
    """The async twin of `UserProfileRepository`."""

    get = awaitable(UserProfileRepository.get)
    get_many = awaitable(UserProfileRepository.get_many)
    exists = awaitable(UserProfileRepository.exists)
    get_by_username = awaitable(UserProfileRepository.get_by_username)
    search = awaitable(UserProfileRepository.search)
    upsert_from_claims = awaitable(UserProfileRepository.upsert_from_claims)
    update = awaitable(UserProfileRepository.update)
    deactivate = awaitable(UserProfileRepository.deactivate)
    reactivate = awaitable(UserProfileRepository.reactivate)
    anonymize = awaitable(UserProfileRepository.anonymize)


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
