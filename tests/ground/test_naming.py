"""Ids, and the schemas and roles that are named after them."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orgtenancy import OrgTenancyError, Tenancy
from orgtenancy.errors import InvalidOrganizationId
from orgtenancy.naming import (
    MAX_ID_LENGTH,
    control_role_name,
    new_role_name,
    role_prefix,
    schema_name,
    validate_organization_id,
)
from tests.schemas.databases import FreshDatabase

STARTS = string.ascii_letters + string.digits
ALPHABET = STARTS + "_-"

valid_ids = st.builds(
    lambda first, rest: first + rest,
    st.sampled_from(STARTS),
    st.text(ALPHABET, max_size=MAX_ID_LENGTH - 1),
)

LONGEST = "a" * MAX_ID_LENGTH
NASTY_BUT_VALID = [
    "A",
    "a",
    "a-b",
    "a_b",
    "A_b",
    "a-",
    "a_",
    "a--b",
    "0",
    "7eleven",
    "pg_x",
    "pg_catalog",
    "public",
    "org_a",
    "orgtenancy",
    "select",
    "DROP-TABLE",
    "information_schema",
    LONGEST,
    LONGEST[:-1] + "b",
    LONGEST[:-1] + "A",
]

REFUSED = {
    "": "must not be empty",
    "a" * 60: "60 characters, the limit is 59",
    "a" * 5000: "5000 characters, the limit is 59",
    "é" * 40: "must start with",
    "-a": "must start with",
    "_a": "must start with",
    " a": "must start with",
    "'; DROP SCHEMA public; --": "must start with",
    'a"b': "are allowed, not '\"'",
    "a'b": 'are allowed, not "\'"',
    "a;b": "are allowed, not ';'",
    "a b": "are allowed, not ' '",
    "a.b": "are allowed, not '.'",
    "a%b": "are allowed, not '%'",
    "a/../b": "are allowed, not '/'",
    "a\0": "are allowed, not '\\x00'",
    "a\n": "are allowed, not '\\n'",
    "acme\r\n": "are allowed, not '\\r'",
    "\0": "must start with",
    "аcme": "must start with one of A-Z, a-z, 0-9, not '\\u0430'",  # noqa: RUF001 - Cyrillic a
    "acmе": "not '\\u0435'",  # noqa: RUF001 - Cyrillic e
    "ａcme": "must start with",  # noqa: RUF001 - full-width a
    "a\u200bb": "not '\\u200b'",
    "a٣": "not '\\u0663'",  # a digit to str.isdigit
    "aﬀ": "not '\\ufb00'",
    "aß": "not '\\xdf'",
    "İ": "must start with",
    "a\ud800": "not '\\ud800'",
}


@given(valid_ids)
def test_an_id_of_the_alphabet_is_its_schema_name_with_a_prefix(organization_id: str) -> None:
    assert validate_organization_id(organization_id) == organization_id
    name = schema_name(organization_id)
    assert name == "org_" + organization_id
    assert len(name.encode()) <= 63  # PostgreSQL would cut it without a word


@given(st.text() | st.text(ALPHABET) | st.text(ALPHABET + "é\0\n'\";. "))
def test_any_text_is_either_taken_as_it_is_or_refused_with_the_rule(text: str) -> None:
    follows = 1 <= len(text) <= 59 and set(text) <= set(ALPHABET) and text[0] in STARTS
    if follows:
        assert schema_name(text) == "org_" + text
        return
    with pytest.raises(InvalidOrganizationId, match=r"^invalid organization id: ") as caught:
        schema_name(text)
    str(caught.value).encode()  # can be logged and sent, whatever the id had


@given(st.lists(valid_ids, unique=True))
def test_no_two_ids_meet_in_one_schema(ids: list[str]) -> None:
    # As PostgreSQL keeps them: quoted, so case is kept, and 63 bytes long at the most.
    assert len({schema_name(i).encode()[:63] for i in ids}) == len(ids)


@pytest.mark.parametrize(("organization_id", "rule"), REFUSED.items(), ids=range(len(REFUSED)))
def test_a_refused_id_names_the_rule_it_breaks(organization_id: str, rule: str) -> None:
    with pytest.raises(InvalidOrganizationId) as caught:
        validate_organization_id(organization_id)
    assert rule in str(caught.value)
    assert isinstance(caught.value, OrgTenancyError)
    assert isinstance(caught.value, ValueError)
    assert caught.value.code == "invalid_organization_id"


@pytest.mark.parametrize("given", [None, 1, b"acme", ["a"], {"acme"}], ids=repr)
def test_what_is_no_text_is_refused_with_its_type(given: object) -> None:
    with pytest.raises(InvalidOrganizationId, match=f"must be a str, not {type(given).__name__}"):
        validate_organization_id(given)  # type: ignore[arg-type]


def test_the_nasty_ids_that_are_valid_become_schemas_of_their_own(
    bare_database: FreshDatabase,
) -> None:
    with bare_database.tenancy() as tenancy:
        tenancy.install()
        made = [tenancy.schemas.provision(i) for i in NASTY_BUT_VALID]
        assert [o.id for o in made] == NASTY_BUT_VALID
        assert bare_database.schemas() == {"org_" + i for i in NASTY_BUT_VALID}
        assert bare_database.roles() == {o.role_name for o in made}
        assert len({o.role_name for o in made}) == len(made)
        for organization in made:
            with tenancy.session(organization.id) as session:
                found = session.connection().exec_driver_sql("SELECT current_schema()").scalar()
                assert found == "org_" + organization.id


@pytest.mark.parametrize("organization_id", REFUSED, ids=range(len(REFUSED)))
def test_an_invalid_id_is_refused_before_the_server_is_asked(organization_id: str) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    with Tenancy(nowhere, admin_url=nowhere) as tenancy:
        with pytest.raises(InvalidOrganizationId):
            tenancy.schemas.provision(organization_id)
        with pytest.raises(InvalidOrganizationId):
            tenancy.schemas.get(organization_id)
        with pytest.raises(InvalidOrganizationId):
            tenancy.schemas.drop(organization_id, confirm=organization_id)
        with pytest.raises(InvalidOrganizationId):
            tenancy.session(organization_id).__enter__()
        with pytest.raises(InvalidOrganizationId):
            tenancy.organization(organization_id).__enter__()


@given(st.text(min_size=1, max_size=63), st.text(min_size=1, max_size=63))
def test_two_databases_of_one_server_never_share_a_role_name(first: str, second: str) -> None:
    names = {new_role_name(first), new_role_name(first), control_role_name(first)}
    assert len(names) == 3
    assert all(n.startswith(role_prefix(first)) and len(n.encode()) <= 63 for n in names)
    if first != second:
        assert names.isdisjoint({new_role_name(second), control_role_name(second)})
        assert not any(n.startswith(role_prefix(second)) for n in names)


def test_the_control_role_of_a_database_is_always_the_same() -> None:
    # A database that is in use has this role: the name must not change with a release.
    assert control_role_name("app") == "orgtenancy_442ade4290_control"
