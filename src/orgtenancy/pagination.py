"""Keyset pages: stable under inserts, and the thousandth costs what the first does."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from orgtenancy.errors import InvalidCursor

T = TypeVar("T")
U = TypeVar("U")

MAX_PAGE_SIZE = 100
_MAX_CURSOR_LENGTH = 2_000


class PageRequest(BaseModel):
    """Which page is wanted.

    Attributes:
        limit: How many items at the most, 1 to 100.
        cursor: The `next_cursor` of the page before, or None for the first page.
    """

    model_config = ConfigDict(frozen=True)

    limit: int = Field(default=20, ge=1, le=MAX_PAGE_SIZE)
    cursor: str | None = Field(default=None, max_length=_MAX_CURSOR_LENGTH)


class Page(BaseModel, Generic[T]):
    """Some items of a list, and the cursor of what follows.

    Attributes:
        items: The items, in the list's order.
        next_cursor: Asks for the next page; None when this is the last one.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    items: tuple[T, ...]
    next_cursor: str | None = None

    def map(self, function: Callable[[T], U]) -> Page[U]:
        """Return the same page with each item replaced by `function(item)`."""
        return Page(items=tuple(map(function, self.items)), next_cursor=self.next_cursor)


# Each key value travels with its type: a cursor says all that is needed to read it.
_ENCODERS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    bool: ("b", bool),
    int: ("i", int),
    str: ("s", str),
    UUID: ("u", str),
    datetime: ("t", datetime.isoformat),
    date: ("d", date.isoformat),
    Decimal: ("n", str),
}
_DECODERS: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "b": (bool, bool),
    "i": (int, int),
    "s": (str, str),
    "u": (str, UUID),
    "t": (str, datetime.fromisoformat),
    "d": (str, date.fromisoformat),
    "n": (str, Decimal),
}


def encode_cursor(order: str, values: Sequence[Any]) -> str:
    """Return an opaque cursor for the item with these key values.

    Args:
        order: The name of the list and its order, so that a cursor of one list is
            refused by another.
        values: The key of the last item of a page: str, int, bool, UUID, datetime,
            date, Decimal or None.

    Raises:
        TypeError: If a value is of another type.
    """
    parts: list[Any] = [order]
    for value in values:
        if value is None:
            parts.append(None)
        elif (encoder := _ENCODERS.get(type(value))) is None:
            raise TypeError(f"a cursor cannot hold a {type(value).__name__}")
        else:
            parts.append([encoder[0], encoder[1](value)])
    text = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def decode_cursor(
    order: str, cursor: str, length: int, *, types: Sequence[type] | None = None
) -> tuple[Any, ...]:
    """Return the key values that a cursor holds.

    Args:
        order: The name that the cursor was encoded with.
        cursor: What `encode_cursor` returned.
        length: How many values the list's key has.
        types: Their types, where a forged value of another one must not reach PostgreSQL.

    Raises:
        InvalidCursor: If the cursor was not made by this list.
    """
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        name, *parts = json.loads(text)
        if name != order or len(parts) != length:
            raise ValueError("it belongs to another list")
        values = tuple(None if part is None else _decode(part) for part in parts)
        if types is not None and tuple(map(type, values)) != tuple(types):
            raise TypeError("a value of another type than the key's")
        return values
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError, binascii.Error) as e:
        raise InvalidCursor(f"invalid cursor: not one of the list {order!r}") from e


def _decode(part: Any) -> Any:
    if type(part) is not list:
        raise TypeError("a value without its type")
    tag, raw = part
    expected, decode = _DECODERS[tag]
    if type(raw) is not expected:
        raise ValueError("a value of the wrong type")
    value = decode(raw)
    if not _is_storable(value):
        raise ValueError("a value that no column can hold")
    return value


def _is_storable(value: Any) -> bool:
    """Return whether PostgreSQL can compare a key with this value, and not fail instead."""
    if isinstance(value, str):
        return "\0" not in value and value.encode() is not None  # no lone surrogates either
    if isinstance(value, Decimal):
        return value.is_finite()
    return not isinstance(value, int) or -(2**63) <= value < 2**63
