"""Keys that become UUIDs are the same in PostgreSQL and in Python, whatever the key."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql
from sqlalchemy import Connection
from sqlalchemy.exc import DataError

from orgtenancy import Tenancy
from orgtenancy.operations.adoption import uuid_of
from orgtenancy.operations.adoption.keys import LARGEST, uuid_expression
from orgtenancy.operations.data.tables import fetch

NAMESPACE = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


def in_postgresql(connection: Connection, key: object, *, ordered: bool) -> object:
    expression = uuid_expression(NAMESPACE, "tästing", sql.Literal(key), ordered=ordered)
    ((found,),) = fetch(connection, sql.SQL("SELECT {}").format(expression))
    return found


def test_postgresql_and_python_make_the_same_of_a_key(tenancy: Tenancy) -> None:
    with tenancy._database.admin_engine.connect() as connection:

        @settings(max_examples=100, deadline=None)
        @given(
            st.integers(-(2**63), 2**63 - 1)
            | st.uuids()
            | st.text(st.characters(exclude_characters="\0", codec="utf-8"))
        )
        def check(key: int | UUID | str) -> None:
            made = uuid_of(NAMESPACE, "tästing", key)
            assert made == in_postgresql(connection, key, ordered=False)
            assert made.version == 8
            assert made.variant == "specified in RFC 4122"

        @settings(max_examples=50, deadline=None)
        @given(st.integers(0, LARGEST - 1))
        def check_ordered(key: int) -> None:
            made = uuid_of(NAMESPACE, "tästing", key, ordered=True)
            assert made == in_postgresql(connection, key, ordered=True)
            assert (made.version, made.int >> 80) == (8, key)

        check()
        check_ordered()


def test_ordered_keys_of_two_tables_differ() -> None:
    assert uuid_of(NAMESPACE, "a", 1, ordered=True) != uuid_of(NAMESPACE, "b", 1, ordered=True)


@pytest.mark.parametrize("key", [-1, LARGEST])
def test_a_number_that_cannot_be_ordered_is_an_error_and_never_another_key(
    tenancy: Tenancy, key: int
) -> None:
    with pytest.raises(ValueError, match="not between"):
        uuid_of(NAMESPACE, "a", key, ordered=True)
    with tenancy._database.admin_engine.connect() as connection, pytest.raises(DataError):
        in_postgresql(connection, key, ordered=True)


def test_no_key_stays_none(tenancy: Tenancy) -> None:
    with tenancy._database.admin_engine.connect() as connection:
        assert in_postgresql(connection, None, ordered=False) is None
        assert in_postgresql(connection, None, ordered=True) is None
