"""Rules of the input: what PostgreSQL would refuse is refused here, by name of the field."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeVar
from urllib.parse import urlsplit

from orgtenancy.community.models.base import MAX_URL_LENGTH, MAX_USER_ID_LENGTH
from orgtenancy.community.models.posts import MAX_MEDIA, MAX_TAGS
from orgtenancy.community.models.profiles import MAX_USERNAME_LENGTH
from orgtenancy.errors import Invalid

Word = TypeVar("Word", bound=str)

MAX_TAG_LENGTH = 50
MAX_JSON_LENGTH = 20_000
MAX_POSITION = 2**63 - 1

_without_signs = re.compile(r"^[#\s]+").sub
_is_username = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*").fullmatch


def storable(value: object) -> bool:
    """Return whether PostgreSQL can hold a text: it knows no NUL and no lone surrogate."""
    if not isinstance(value, str) or "\0" in value:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def text(field: str, value: str, maximum: int) -> str:
    """Return a text without the blanks around it.

    Raises:
        Invalid: If nothing is left of it, it is longer than `maximum` characters, or
            PostgreSQL could not store it.
    """
    if not storable(value):
        raise Invalid(f"{field} must be a text without NUL and lone surrogates")
    value = value.strip()
    if not value:
        raise Invalid(f"{field} must not be empty")
    if len(value) > maximum:
        raise Invalid(f"{field} has {len(value)} characters, the limit is {maximum}")
    return value


def optional_text(field: str, value: str | None, maximum: int) -> str | None:
    """Return a text as `text` does, or None for None and for blanks.

    Raises:
        Invalid: As `text` does.
    """
    if value is None or (storable(value) and not value.strip()):
        return None
    return text(field, value, maximum)


def user_id(value: str) -> str:
    """Return the identity provider's subject unchanged.

    Raises:
        Invalid: If it is empty, too long, or cannot be stored.
    """
    if not storable(value) or not 1 <= len(value) <= MAX_USER_ID_LENGTH:
        raise Invalid(f"a user id is a text of 1 to {MAX_USER_ID_LENGTH} characters")
    return value


def user_ids(field: str, values: Iterable[str]) -> list[str]:
    """Return user ids unchanged, each once, in the order given.

    Raises:
        Invalid: If one of them is no user id, or `values` is one text.
    """
    if isinstance(values, str):
        raise Invalid(f"{field} must be a list of user ids, not one text")
    return list(dict.fromkeys(map(user_id, values)))


def position(value: int) -> int:
    """Return the nearest sequence number: 0 or more, and no more than a column can hold."""
    return max(0, min(value, MAX_POSITION))


def username(value: str) -> str:
    """Return a user name unchanged.

    ASCII only, so that no two names look alike and no locale decides which are equal.

    Raises:
        Invalid: If it breaks a rule.
    """
    if not is_username(value):
        raise Invalid(
            f"a username is 1 to {MAX_USERNAME_LENGTH} of A-Z, a-z, 0-9, '.', '_' and '-', "
            "starting with a letter or digit"
        )
    return value


def is_username(value: object) -> bool:
    """Return whether somebody could have this user name."""
    return (
        isinstance(value, str)
        and len(value) <= MAX_USERNAME_LENGTH
        and _is_username(value) is not None
    )


def url(field: str, value: str | None) -> str | None:
    """Return an `http` or `https` URL, or None for None and for blanks.

    Raises:
        Invalid: If it is anything else, for instance a `javascript:` URL.
    """
    value = optional_text(field, value, MAX_URL_LENGTH)
    if value is not None and not is_url(value):
        raise Invalid(f"{field} must be an http or https URL")
    return value


def is_url(value: str) -> bool:
    """Return whether a text is an `http` or `https` URL."""
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def word(field: str, value: str, allowed: Collection[Word]) -> Word:
    """Return a word of a fixed set.

    Raises:
        Invalid: If it is none of them.
    """
    for candidate in allowed:
        if candidate == value:
            return candidate
    raise Invalid(f"{field} must be one of {', '.join(allowed)}")


def tags(values: Iterable[str]) -> list[str]:
    """Return tags in lower case, without `#`, each once, in the order given.

    Raises:
        Invalid: If there are too many, or one is empty or too long.
    """
    if isinstance(values, str):
        raise Invalid("tags must be a list of texts, not one text")
    found = dict.fromkeys(map(tag, values))
    if len(found) > MAX_TAGS:
        raise Invalid(f"{len(found)} tags, the limit is {MAX_TAGS}")
    return list(found)


def tag(value: str) -> str:
    """Return a tag in lower case, without `#`.

    Raises:
        Invalid: If it is empty or too long, or PostgreSQL could not store it.
    """
    bare = _without_signs("", text("a tag", value, MAX_TAG_LENGTH + 1))
    return text("a tag", bare.lower(), MAX_TAG_LENGTH)


def media(values: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return media as JSON objects, each with an http or https `url`.

    Raises:
        Invalid: If there are too many, or one is no such object.
    """
    if len(values) > MAX_MEDIA:
        raise Invalid(f"{len(values)} media, the limit is {MAX_MEDIA}")
    objects = [json_object("media", value) for value in values]
    for item in objects:
        if url("the url of a medium", item.get("url")) is None:
            raise Invalid("each medium needs a url")
    return objects


def json_object(field: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object that PostgreSQL can store.

    Raises:
        Invalid: If it is no such object, or too large.
    """
    given: object = value  # what a caller without type checks may pass
    if not isinstance(given, Mapping):
        raise Invalid(f"{field} must be a JSON object")
    try:
        encoded = json.dumps(dict(given), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as e:
        raise Invalid(f"{field} must be a JSON object") from e
    if len(encoded) > MAX_JSON_LENGTH:
        raise Invalid(f"{field} has {len(encoded)} characters, the limit is {MAX_JSON_LENGTH}")
    # What was encoded is read again: only plain values and text keys are left.
    plain: dict[str, Any] = json.loads(encoded)
    if not all(storable(part) for part in _texts(plain)):
        raise Invalid(f"{field} must be without NUL and lone surrogates")
    return plain


def ip_address(value: str | None) -> IPv4Address | IPv6Address | None:
    """Return an IP address, or None for None.

    Raises:
        Invalid: If it is none, or names an interface of the machine it was seen on.
    """
    if value is None:
        return None
    given: object = value  # what a caller without type checks may pass
    try:
        address = ipaddress.ip_address(value) if isinstance(given, str) else None
    except ValueError:
        address = None
    if address is None or getattr(address, "scope_id", None) is not None:
        raise Invalid("ip_address must be an IPv4 or IPv6 address")
    return address


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def reader(value: str) -> str:
    """Return the user id that something is read for; one that cannot be stored is nobody's."""
    return value if storable(value) else ""
