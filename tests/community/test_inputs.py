"""What is accepted can be stored, and what is refused is refused by a typed error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orgtenancy.community import inputs
from orgtenancy.errors import Invalid

# All characters, those that PostgreSQL cannot store among them.
any_text = st.text(st.characters(exclude_categories=()), max_size=80)
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=10,
)


@given(any_text)
def test_an_accepted_text_is_stripped_storable_and_within_its_length(value: str) -> None:
    try:
        accepted = inputs.text("content", value, 60)
    except Invalid:
        assert not value.strip() or len(value.strip()) > 60 or not inputs.storable(value)
    else:
        assert accepted == accepted.strip()
        assert 1 <= len(accepted) <= 60
        assert b"\0" not in accepted.encode()


@given(st.dictionaries(any_text, any_json, max_size=4))
def test_an_accepted_json_object_is_plain_and_storable(value: dict[str, Any]) -> None:
    try:
        accepted = inputs.json_object("metadata", value)
    except Invalid:
        return
    encoded = json.dumps(accepted, allow_nan=False, ensure_ascii=False)
    assert "\0" not in json.loads(f"[{encoded}]")
    assert json.loads(encoded) == accepted
    encoded.encode()


@given(st.lists(any_text, max_size=25))
def test_accepted_tags_are_few_lower_case_and_distinct(values: list[str]) -> None:
    try:
        accepted = inputs.tags(values)
    except Invalid:
        return
    assert len(accepted) == len(set(accepted)) <= 20
    assert all(tag == tag.lower() for tag in accepted)


def test_tags_come_without_their_sign_and_each_once() -> None:
    assert inputs.tags(["#Python", "python", " sql "]) == ["python", "sql"]


@pytest.mark.parametrize("value", ["", "a" * 256, "a\0b", "\ud800", 7, None])
def test_a_bad_user_id_is_refused(value: Any) -> None:
    with pytest.raises(Invalid, match="user id"):
        inputs.user_id(value)


@pytest.mark.parametrize("value", ["", "a" * 41, "-a", "a b", "jürgen", "a\n", "раul", 7, None])  # noqa: RUF001
def test_a_bad_username_is_refused(value: Any) -> None:
    with pytest.raises(Invalid, match="username"):
        inputs.username(value)


@pytest.mark.parametrize("value", ["javascript:alert(1)", "//x/y", "http://", "http://[", "x"])
def test_a_url_is_http_or_https(value: str) -> None:
    with pytest.raises(Invalid, match="http or https"):
        inputs.url("avatar_url", value)


@pytest.mark.parametrize(
    "value", [[{}], [{"url": "x"}], ["x"], [{"url": 7}], [{"url": "https://x", "a": float("nan")}]]
)
def test_media_are_objects_with_a_url(value: Any) -> None:
    with pytest.raises(Invalid):
        inputs.media(value)


@given(any_text)
@example("##x")
@example("# #x")
@example("\u0130" * 30)  # two characters each in lower case
def test_a_tag_stays_what_it_is_when_it_is_read_again(value: str) -> None:
    try:
        accepted = inputs.tag(value)
    except Invalid:
        return
    assert inputs.tag(accepted) == accepted
    assert inputs.tag(f"#{accepted}") == accepted


@given(any_text)
def test_who_reads_has_a_storable_id_or_is_nobody(value: str) -> None:
    assert inputs.reader(value) == (value if inputs.storable(value) else "")


@pytest.mark.parametrize("value", ["", "x", "10.0.0.0/8", "fe80::1%eth0", "1.2.3.4\n", 7, b"abcd"])
def test_an_ip_address_is_one_address(value: Any) -> None:
    with pytest.raises(Invalid, match="ip_address"):
        inputs.ip_address(value)


def test_an_ip_address_is_of_either_version_or_none() -> None:
    assert str(inputs.ip_address("127.0.0.1")) == "127.0.0.1"
    assert str(inputs.ip_address("0:0::1")) == "::1"
    assert inputs.ip_address(None) is None
