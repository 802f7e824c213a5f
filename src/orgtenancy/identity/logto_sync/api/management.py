"""Logto's Management API, as far as it is read: organizations, their members, users.

Nothing is written there. What comes back is checked field by field: an answer that is not
understood counts as none.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from orgtenancy.errors import ConfigurationError, IdentityProviderUnavailable
from orgtenancy.identity.logto_sync.settings import LogtoSettings

if TYPE_CHECKING:
    from orgtenancy.identity.logto_sync.api.requesting import Answer, Requester

# What a request waits for at the most that somebody else waits for.
_BRIEFLY = 5.0

# Nothing with another meaning in a path, or to somebody on the way.
_is_id = re.compile(r"[A-Za-z0-9_-]{1,128}").fullmatch


class LogtoEntry(BaseModel):
    """Something that Logto has, with an id of its own."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="allow",
        alias_generator=to_camel,
        validate_by_name=True,
        hide_input_in_errors=True,
    )

    id: str = Field(min_length=1)


class LogtoOrganization(LogtoEntry):
    """An organization in Logto.

    Attributes:
        id: Its id.
        name: The display name.
        custom_data: What Logto's owner keeps with it.
    """

    name: str
    custom_data: Mapping[str, Any] = Field(default_factory=dict)

    @property
    def data(self) -> dict[str, Any]:
        """All that Logto says of it, under Logto's names, as a webhook has it too."""
        return self.model_dump(by_alias=True)


class LogtoUser(LogtoEntry):
    """A user in Logto.

    Attributes:
        id: The `sub` of the user's tokens.
        username: The user name, if there is one.
        name: The display name.
        avatar: The URL of a picture.
        primary_email: The address.
        is_suspended: Whether the user may not sign in anywhere.
        custom_data: What Logto's owner keeps with the user.
    """

    username: str | None = None
    name: str | None = None
    avatar: str | None = None
    primary_email: str | None = None
    is_suspended: bool = False
    custom_data: Mapping[str, Any] = Field(default_factory=dict, repr=False)

    @property
    def claims(self) -> dict[str, Any]:
        """The same as claims of a token, under the names that OpenID Connect has for them."""
        known = {
            "sub": self.id,
            "username": self.username,
            "name": self.name,
            "picture": self.avatar,
            "email": self.primary_email,
        }
        return {name: value for name, value in known.items() if value is not None}


T = TypeVar("T", bound=LogtoEntry)


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A list, read page by page.

    Attributes:
        items: What was on the pages, by id.
        totals: How many there were, as the first and the last page said.
    """

    items: Mapping[str, T]
    totals: tuple[int, int]

    @property
    def is_whole(self) -> bool:
        """Whether nothing was added, removed or missed meanwhile, as far as numbers tell."""
        first, last = self.totals
        return first == last == len(self.items)


_organization = TypeAdapter(LogtoOrganization)
_organizations = TypeAdapter(list[LogtoOrganization])
_user = TypeAdapter(LogtoUser)
_users = TypeAdapter(list[LogtoUser])


class ManagementApi:
    """Reads Logto's Management API. It opens connections when it is first used; close it.

    Every method may raise `IdentityProviderUnavailable` if Logto gives no answer that can be
    used, after up to six attempts, and `IdentityProviderRefused` if it does not let us ask.
    They block; threads share one.

    Args:
        settings: Where Logto is, and as whom to ask.
        clock: Seconds that only ever grow.
        sleep: Waits.

    Attributes:
        settings: As given.

    Raises:
        ConfigurationError: If httpx is not there, the address is neither https nor this
            machine, or the credentials are missing.
    """

    def __init__(
        self,
        settings: LogtoSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = settings
        self._requester = _requester(settings, clock, sleep)

    def organizations(self) -> Listing[LogtoOrganization]:
        """Read all organizations once; the pages may shift meanwhile."""
        return self._list("organizations", _organizations)

    def organization(self, organization_id: str) -> LogtoOrganization | None:
        """Return an organization, or None if Logto itself says that it has none."""
        if not _is_id(organization_id):
            return None
        return self._find(f"organizations/{organization_id}", organization_id, _organization)

    def members(self, organization_id: str) -> Listing[LogtoUser]:
        """Read all members of an organization once; there are none if there is no such one."""
        path = f"organizations/{quote(organization_id, safe='')}/users"
        return self._list(path, _users)

    def user(self, user_id: str) -> LogtoUser | None:
        """Return a user, or None if Logto itself says that it has none."""
        return self._find(f"users/{user_id}", user_id, _user) if _is_id(user_id) else None

    def is_member(self, organization_id: str, user_id: str, *, patience: float = _BRIEFLY) -> bool:
        """Return whether a user is a member of an organization.

        Args:
            organization_id: Which organization.
            user_id: Which user.
            patience: Seconds to wait between attempts, all in all.
        """
        if not (_is_id(organization_id) and _is_id(user_id)):
            return False
        # There is no question for it; this one is answered for members only, from one row.
        path = f"organizations/{organization_id}/users/{user_id}/roles"
        answer = self._requester.get(path, {"page": 1, "page_size": 1}, patience=patience)
        if answer.status == 422 and answer.code == "organization.require_membership":
            return False
        self._expect_success(answer, path)
        return True

    def close(self) -> None:
        """Close the connections."""
        self._requester.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _list(self, path: str, adapter: TypeAdapter[list[T]]) -> Listing[T]:
        found: dict[str, T] = {}
        read, number = 0, 1
        first: int | None = None
        while True:
            parameters = {"page": number, "page_size": self.settings.page_size}
            answer = self._requester.get(path, parameters, patience=math.inf)
            self._expect_success(answer, path)
            page, total = _parse(adapter, answer.body, path), _total(answer, path)
            found.update((entry.id, entry) for entry in page)
            first = total if first is None else first
            read += len(page)
            if not page or read >= total:
                return Listing(found, (first, total))
            number += 1

    def _find(self, path: str, key: str, adapter: TypeAdapter[T]) -> T | None:
        answer = self._requester.get(path, patience=math.inf)
        # A proxy's 404 is no answer of Logto's: it names what it does not have.
        if answer.status == 404 and answer.code.startswith("entity."):
            return None
        self._expect_success(answer, path)
        found: T = _parse(adapter, answer.body, path)
        if found.id != key:
            raise IdentityProviderUnavailable(f"Logto's answer to {path} is about another one")
        return found

    def _expect_success(self, answer: Answer, path: str) -> None:
        if answer.status != 200:
            from orgtenancy.identity.logto_sync.api.requesting import refused

            raise refused(answer, f"does not let us read {path}")


def _requester(
    settings: LogtoSettings, clock: Callable[[], float], sleep: Callable[[float], None]
) -> Requester:
    try:
        from orgtenancy.identity.logto_sync.api.requesting import Requester
    except ModuleNotFoundError as error:
        if error.name != "httpx":
            raise
        raise ConfigurationError(
            "the Management API is asked with httpx: python3 -m pip install 'orgtenancy[logto]'"
        ) from error
    return Requester(settings, clock=clock, sleep=sleep)


def _parse(adapter: TypeAdapter[Any], body: Any, path: str) -> Any:
    try:
        return adapter.validate_python(body)
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_url=False)[0]["loc"]))
        raise IdentityProviderUnavailable(
            f"Logto's answer to {path} is not understood, at {where or 'its top'}"
        ) from None


def _total(answer: Answer, path: str) -> int:
    text = answer.headers.get("Total-Number", "")
    if not (text.isascii() and text.isdigit()):
        raise IdentityProviderUnavailable(f"Logto's answer to {path} has no Total-Number")
    return int(text)
