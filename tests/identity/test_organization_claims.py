"""Which organization a token is for; two answers are none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orgtenancy.errors import Unauthenticated
from orgtenancy.identity import OrganizationClaims

PREFIX = "urn:logto:organization:"
LOGTO = OrganizationClaims(paths=(("organization_id",),), audience_prefixes=(PREFIX,))
CLERK = OrganizationClaims(paths=(("o", "id"), ("org_id",)))
KEYCLOAK = OrganizationClaims(mappings=(("organization",),))
KEYCLOAK_ALIAS = OrganizationClaims(mappings=(("organization",),), mapping_id=None)
ZITADEL = OrganizationClaims(paths=(("urn:zitadel:iam:user:resourceowner:id",),))


@pytest.mark.parametrize(
    ("places", "claims", "expected"),
    [
        (LOGTO, {"organization_id": "acme", "aud": "https://api"}, "acme"),
        (LOGTO, {"aud": f"{PREFIX}acme"}, "acme"),
        (LOGTO, {"aud": ["https://api", f"{PREFIX}acme"]}, "acme"),
        (LOGTO, {"organization_id": "acme", "aud": f"{PREFIX}acme"}, "acme"),
        (LOGTO, {"aud": "https://api"}, None),
        (LOGTO, {"organization_id": None, "aud": "https://api"}, None),
        (LOGTO, {}, None),
        (CLERK, {"o": {"id": "org_2", "rol": "admin"}}, "org_2"),
        (CLERK, {"org_id": "org_1"}, "org_1"),
        (CLERK, {"o": None}, None),
        (KEYCLOAK, {"organization": {"acme": {"id": "1f0c"}}}, "1f0c"),
        (KEYCLOAK_ALIAS, {"organization": {"acme": {}}}, "acme"),
        (KEYCLOAK_ALIAS, {"organization": ["acme"]}, "acme"),
        (KEYCLOAK_ALIAS, {"organization": []}, None),
        (KEYCLOAK, {"organization": {}}, None),
        (ZITADEL, {"urn:zitadel:iam:user:resourceowner:id": "42"}, "42"),
    ],
)
def test_the_organization_is_found(
    places: OrganizationClaims, claims: dict[str, Any], expected: str | None
) -> None:
    assert places.find(claims) == expected


@pytest.mark.parametrize(
    ("places", "claims"),
    [
        (LOGTO, {"organization_id": "acme", "aud": f"{PREFIX}globex"}),
        (LOGTO, {"aud": [f"{PREFIX}acme", f"{PREFIX}globex"]}),
        (CLERK, {"o": {"id": "org_2"}, "org_id": "org_1"}),
        (KEYCLOAK, {"organization": {"acme": {"id": "1"}, "globex": {"id": "2"}}}),
        (KEYCLOAK_ALIAS, {"organization": {"acme": {}, "globex": {}}}),
        (KEYCLOAK_ALIAS, {"organization": ["acme", "globex"]}),
    ],
)
def test_several_organizations_are_refused(
    places: OrganizationClaims, claims: dict[str, Any]
) -> None:
    with pytest.raises(Unauthenticated, match="more than one"):
        places.find(claims)


@pytest.mark.parametrize(
    ("places", "claims"),
    [
        (LOGTO, {"organization_id": ["acme"]}),
        (LOGTO, {"organization_id": 7}),
        (LOGTO, {"organization_id": ""}),
        (LOGTO, {"aud": PREFIX}),
        (CLERK, {"o": "acme"}),
        (KEYCLOAK, {"organization": ["acme"]}),
        (KEYCLOAK_ALIAS, {"organization": "acme"}),
        (KEYCLOAK_ALIAS, {"organization": [{"acme": {}}]}),
        (KEYCLOAK, {"organization": {"acme": {}}}),
        (KEYCLOAK, {"organization": {"acme": None}}),
    ],
)
def test_what_is_no_id_is_refused(places: OrganizationClaims, claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated, match="malformed"):
        places.find(claims)


ids = st.text(min_size=1, max_size=20)


@given(st.none() | ids, st.lists(ids, max_size=3))
def test_what_is_found_is_all_that_the_token_names(claim: str | None, audiences: list[str]) -> None:
    claims = {"organization_id": claim, "aud": [PREFIX + one for one in audiences]}
    named = {*audiences, *([claim] if claim is not None else [])}
    if len(named) > 1:
        with pytest.raises(Unauthenticated):
            LOGTO.find(claims)
    else:
        assert LOGTO.find(claims) == (named.pop() if named else None)
