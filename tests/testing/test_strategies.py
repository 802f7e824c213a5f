"""What the strategies draw is what they say."""

from __future__ import annotations

import time
from collections.abc import Iterator

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orgtenancy.errors import InvalidOrganizationId
from orgtenancy.naming import validate_organization_id
from orgtenancy.testing import SHAPES, LocalIssuer
from orgtenancy.testing.strategies import (
    DrawnRequest,
    InvalidId,
    invalid_organization_ids,
    organization_ids,
    requests,
    schedules,
)

few = settings(max_examples=60, deadline=None, database=None, derandomize=True)


@pytest.fixture(scope="module")
def signer() -> Iterator[LocalIssuer]:
    with LocalIssuer("ES384", also=["RS256"]) as issuer:
        yield issuer


@few
@given(organization_ids())
def test_ids_follow_the_rules(drawn: str) -> None:
    assert validate_organization_id(drawn) == drawn


@few
@given(invalid_organization_ids())
def test_what_is_no_id_breaks_the_rule_that_it_names(drawn: InvalidId) -> None:
    with pytest.raises(InvalidOrganizationId) as caught:
        validate_organization_id(drawn.value)
    assert drawn.rule in str(caught.value)


def test_every_rule_is_broken_by_some() -> None:
    rules: set[str] = set()

    @few
    @given(invalid_organization_ids())
    def look(drawn: InvalidId) -> None:
        rules.add(drawn.rule)

    look()
    assert len(rules) == 5


def test_requests_carry_tokens_of_every_shape(signer: LocalIssuer) -> None:
    seen: set[str | None] = set()

    @few
    @given(requests(sign=signer.sign, organizations=st.sampled_from(["acme", "globex"])))
    def look(drawn: DrawnRequest) -> None:
        seen.add(drawn.provider)
        token = drawn.info.header("authorization")
        assert (token is None) == (drawn.provider is None)
        if token is None or drawn.provider is None:
            return
        claims = jwt.decode(token.removeprefix("Bearer "), options={"verify_signature": False})
        assert claims["sub"] == drawn.subject
        assert claims["exp"] > time.time()
        assert (drawn.organization or "acme") in ("acme", "globex")
        if drawn.organization is not None:
            assert drawn.organization in str(claims)

    look()
    assert None in seen
    assert len(seen) > len(SHAPES) / 2


@few
@given(requests())
def test_requests_without_a_signer_have_no_token(drawn: DrawnRequest) -> None:
    assert drawn.info.path.startswith("/")
    assert (drawn.provider, drawn.organization, drawn.subject) == (None, None, None)
    assert "authorization" not in drawn.info.headers


@few
@given(schedules("ab", "cde", ""))
def test_each_client_takes_its_steps_in_their_order(schedule: list[tuple[int, str]]) -> None:
    assert [[step for client, step in schedule if client == n] for n in range(3)] == [
        ["a", "b"],
        ["c", "d", "e"],
        [],
    ]


def test_steps_of_clients_come_in_between_each_other() -> None:
    orders: set[str] = set()

    @few
    @given(schedules("ab", "cd"))
    def look(schedule: list[tuple[int, str]]) -> None:
        orders.add("".join(step for _, step in schedule))

    look()
    assert orders == {"abcd", "acbd", "acdb", "cabd", "cadb", "cdab"}
