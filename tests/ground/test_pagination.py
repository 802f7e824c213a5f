"""Cursors and pages."""

from __future__ import annotations

import base64
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orgtenancy import Page, PageRequest
from orgtenancy.errors import InvalidCursor
from orgtenancy.pagination import decode_cursor, encode_cursor

ORDER = "posts.created_at"

# What PostgreSQL can hold in a key: no NUL, no lone surrogate, 64 bits.
storable_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
values = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | storable_text
    | st.uuids()
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC))
    | st.dates()
    | st.decimals(allow_nan=False, allow_infinity=False)
)
keys = st.lists(values, max_size=4)


def forge(document: Any) -> str:
    """Return a cursor that says what a client wants it to say."""
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


@given(storable_text, keys)
def test_a_cursor_gives_back_the_values_and_their_types(order: str, key: list[Any]) -> None:
    decoded = decode_cursor(order, encode_cursor(order, key), len(key))
    assert decoded == tuple(key)
    assert [type(v) for v in decoded] == [type(v) for v in key]


@given(keys)
def test_a_cursor_needs_no_escaping_in_a_url(key: list[Any]) -> None:
    cursor = encode_cursor(ORDER, key)
    assert cursor.isascii()
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.text() | st.from_regex(r"[A-Za-z0-9_-]*", fullmatch=True))
def test_any_text_that_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor, match="invalid cursor"):
        decode_cursor(ORDER, text, 1)


@given(st.binary())
def test_any_bytes_in_the_coat_of_a_cursor_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidCursor):
        decode_cursor(ORDER, base64.urlsafe_b64encode(content).decode(), 1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


def is_key_value(value: Any) -> bool:
    storable = (bool, str, UUID, datetime, date)
    if isinstance(value, str):
        return "\0" not in value and value.encode() is not None
    if type(value) is int:
        return -(2**63) <= value < 2**63
    if isinstance(value, Decimal):
        return value.is_finite()
    return value is None or isinstance(value, storable)


@pytest.mark.slow
@given(
    st.lists(
        st.none()
        | json_values
        | st.tuples(st.sampled_from("bisutdn") | st.text(max_size=2), json_values)
        | st.tuples(st.sampled_from("utdn"), st.text("0123456789-:.T+Zeinaf"))
    )
)
def test_a_forged_cursor_is_refused_or_holds_what_a_key_can_hold(parts: list[Any]) -> None:
    try:
        decoded = decode_cursor(ORDER, forge([ORDER, *parts]), 1)
    except InvalidCursor:
        return
    assert len(decoded) == 1
    assert is_key_value(decoded[0])


@given(keys.filter(len), st.data())
def test_a_mutated_cursor_is_refused_or_holds_what_a_key_can_hold(
    key: list[Any], data: st.DataObject
) -> None:
    cursor = encode_cursor(ORDER, key)
    position = data.draw(st.integers(0, len(cursor) - 1))
    character = data.draw(st.characters() | st.sampled_from("AZaz09-_="))
    mutations = [
        cursor[:position] + character + cursor[position + 1 :],
        cursor[:position] + character + cursor[position:],
        cursor[:position] + cursor[position + 1 :],
        cursor[:position],
        cursor + character,
        cursor + cursor,
    ]
    for mutation in mutations:
        try:
            decoded = decode_cursor(ORDER, mutation, len(key))
        except InvalidCursor:
            continue
        assert len(decoded) == len(key)
        assert all(map(is_key_value, decoded))


@pytest.mark.parametrize(
    "part",
    [
        ["s", "a\0b"],
        ["s", "\ud800"],
        ["i", 2**63],
        ["i", -(2**63) - 1],
        ["i", True],
        ["b", 1],
        ["s", 1],
        ["n", "NaN"],
        ["n", "-Infinity"],
        ["n", "not a number"],
        ["u", "not a uuid"],
        ["t", "2026-13-01"],
        ["d", "2026-02-30"],
        ["x", "unknown"],
        ["s"],
        ["s", "a", "b"],
        "si",
        1.5,
        {},
        [["s"], "a"],
    ],
    ids=repr,
)
def test_a_value_that_no_key_of_postgresql_can_hold_is_refused(part: Any) -> None:
    with pytest.raises(InvalidCursor):
        decode_cursor(ORDER, forge([ORDER, part]), 1)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "1" * 5_000, '{"a":1}', "null", '""', "[]", "[[]]"]
)
def test_a_document_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        decode_cursor(ORDER, base64.urlsafe_b64encode(text.encode()).decode(), 1)


@given(storable_text, storable_text, keys)
def test_a_cursor_of_another_list_is_refused(made: str, read: str, key: list[Any]) -> None:
    if made == read:
        return
    with pytest.raises(InvalidCursor):
        decode_cursor(read, encode_cursor(made, key), len(key))


@given(keys, st.integers(0, 5))
def test_a_cursor_with_another_number_of_values_is_refused(key: list[Any], length: int) -> None:
    if length == len(key):
        return
    with pytest.raises(InvalidCursor):
        decode_cursor(ORDER, encode_cursor(ORDER, key), length)


@given(keys, keys)
def test_a_cursor_with_values_of_other_types_is_refused_where_the_list_says_its_types(
    key: list[Any], other: list[Any]
) -> None:
    types, cursor = list(map(type, key)), encode_cursor(ORDER, other)
    if types == list(map(type, other)):
        assert decode_cursor(ORDER, cursor, len(key), types=types) == tuple(other)
        return
    with pytest.raises(InvalidCursor):
        decode_cursor(ORDER, cursor, len(key), types=types)


@pytest.mark.parametrize("value", [1.5, b"a", ("a",), ["a"], {"a"}], ids=repr)
def test_a_key_of_another_type_cannot_be_made_a_cursor(value: object) -> None:
    with pytest.raises(TypeError, match=f"a cursor cannot hold a {type(value).__name__}"):
        encode_cursor(ORDER, [value])


@pytest.mark.parametrize("limit", [0, -1, 101, 1.5, "many", None])
def test_a_page_has_one_to_a_hundred_items(limit: object) -> None:
    assert PageRequest(limit=1).limit == 1
    assert PageRequest(limit=100).limit == 100
    with pytest.raises(ValidationError):
        PageRequest.model_validate({"limit": limit})


def test_a_cursor_too_long_to_be_one_is_refused_unread() -> None:
    with pytest.raises(ValidationError):
        PageRequest(cursor="a" * 2_001)


def test_a_page_keeps_its_cursor_when_its_items_are_mapped() -> None:
    page = Page[int](items=(1, 2), next_cursor="x").map(str)
    assert page == Page[str](items=("1", "2"), next_cursor="x")


def test_pages_and_their_requests_are_frozen() -> None:
    page, request = Page[int](items=(1,)), PageRequest()
    with pytest.raises(ValidationError, match="frozen"):
        page.items = ()  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        request.limit = 100  # type: ignore[misc]
