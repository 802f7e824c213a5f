"""Each provider's tokens open their organization, and each of its rules refuses."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from orgtenancy import identity
from orgtenancy.errors import Unauthenticated
from orgtenancy.identity import (
    Gate,
    Identity,
    IdentityProvider,
    KeySource,
    RequestInfo,
    StaticKeys,
    entra,
    keycloak,
    logto,
    oidc,
    providers,
    workos,
    zitadel,
)
from orgtenancy.testing import SHAPES, LocalIssuer, Signer, key_set, shape
from tests.identity.presets import CLERK, CLERKS, PROJECT, PROVIDERS, SCOPES, TENANT, UNASKED
from tests.identity.signing import API

if TYPE_CHECKING:
    from orgtenancy.testing.fixtures import SignedToken

OTHER_TENANT = "11111111-2222-4333-8444-555555555555"
ROLES = f"urn:zitadel:iam:org:project:{PROJECT}:roles"

SIGNERS = {algorithm: Signer("key", algorithm) for algorithm in ("ES384", "RS256")}
KEYS = StaticKeys(key_set(*SIGNERS.values()))


def sign(name: str, *, typ: str | None = None, **changes: Any) -> str:
    form = SHAPES[name]
    claims = shape(name, **{"scopes": SCOPES[name], **changes})
    return SIGNERS[form.algorithm].sign(claims, typ=typ or form.token_type)


def identify(provider: IdentityProvider, token: str, keys: KeySource = KEYS) -> Identity:
    request = RequestInfo("GET", "/", {"authorization": [f"Bearer {token}"]})
    return Gate(provider.resolver(keys)).identify(request)


def test_a_provider_is_a_function_although_its_module_has_the_same_name() -> None:
    import_module("orgtenancy.identity.providers.logto")
    assert providers.logto is identity.logto is logto
    assert all(callable(getattr(providers, name)) for name in providers.__all__)


@pytest.mark.parametrize("name", SHAPES)
def test_a_token_gives_organization_actor_and_scopes(name: str) -> None:
    found = identify(PROVIDERS[name], sign(name))
    assert (found.organization_id, found.proven) == (SHAPES[name].organization, True)
    assert found.actor.id == "alice"
    assert found.actor.scopes == {*SCOPES[name], *UNASKED.get(name, ())}


def test_tokens_are_accepted_with_keys_fetched_over_http(
    issuer: LocalIssuer, signed_token: SignedToken
) -> None:
    keys = issuer.keys()
    for name, provider in PROVIDERS.items():
        token = signed_token(name, subject="bob")
        assert identify(provider, token, keys).actor.id == "bob", name
    assert issuer.requests("/oidc/jwks") == 1


@pytest.mark.parametrize("name", SHAPES)
def test_a_token_without_an_organization_is_refused(name: str) -> None:
    with pytest.raises(Unauthenticated):
        identify(PROVIDERS[name], sign(name, organization=None))


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"aud": "https://other.example"},
        {"lifetime": -60},
        {"at_hash": "77QmUPtjPfzWtF2AnpK9RQ"},
        {"sub": None},
        {"typ": "logout+jwt"},
    ],
    ids=["issuer", "audience", "expired", "ID token", "no subject", "type"],
)
def test_what_no_issuer_may_write_is_refused_for_each(name: str, changes: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated):
        identify(PROVIDERS[name], sign(name, **changes))


@pytest.mark.parametrize("name", SHAPES)
def test_an_algorithm_that_the_provider_does_not_use_is_refused(name: str) -> None:
    signer = Signer("key", "PS256", SIGNERS["RS256"].key)
    with pytest.raises(Unauthenticated, match="algorithm"):
        identify(PROVIDERS[name], signer.sign(shape(name), typ=SHAPES[name].token_type))


Changes = dict[str, Any]
REFUSED: Iterable[tuple[str, Changes, str]] = [
    ("logto_api", {"organization": None}, "organization"),
    ("logto_api", {"aud": "urn:logto:organization:globex"}, "more than one"),
    ("logto", {"typ": "JWT"}, "type"),
    ("logto", {"aud": ["urn:logto:organization:a", "urn:logto:organization:b"]}, "more than one"),
    ("auth0", {"iss": "https://tenant.eu.auth0.com"}, "issuer"),
    ("auth0", {"aud": "https://tenant.eu.auth0.com/userinfo"}, "audience"),
    ("auth0", {"org_id": ["org_9ybsU1dN2dKfDkBi"]}, "malformed"),
    ("workos", {"iss": "https://api.workos.com"}, "issuer"),
    ("workos", {"aud": "client_456"}, "audience"),
    ("workos", {"typ": "at+jwt"}, "type"),
    ("clerk_v1", {"azp": None}, "party"),
    ("clerk_v1", {"azp": "https://evil.example"}, "party"),
    ("clerk_v1", {"aud": "hasura"}, "audience"),
    ("clerk_v2", {"azp": None}, "party"),
    ("clerk_v2", {"sts": "pending"}, "sts"),
    ("clerk_v2", {"sts": ["pending"]}, "malformed"),
    ("clerk_v2", {"org_id": "org_other"}, "more than one"),
    ("clerk_v2", {"o": "org_2cXJhGCLzqoJYVjOBMgnbZ0qFyO"}, "malformed"),
    ("keycloak", {"typ_claim": "ID"}, "typ"),
    ("keycloak", {"typ_claim": "Refresh"}, "typ"),
    ("keycloak", {"typ_claim": None}, "typ"),
    ("keycloak", {"organization_claim": {"a": {"id": "1"}, "b": {"id": "2"}}}, "more than one"),
    ("keycloak", {"organization_claim": {"acme": {}}}, "malformed"),
    ("keycloak", {"organization_claim": ["acme"]}, "malformed"),
    ("keycloak", {"aud": "account"}, "audience"),
    ("keycloak_alias", {"organization_claim": ["acme", "globex"]}, "more than one"),
    ("keycloak_alias", {"organization_claim": [7]}, "malformed"),
    ("zitadel", {"nonce": "n-0S6_WzA2Mj"}, "access token"),
    ("zitadel", {"auth_time": 1_700_000_000}, "access token"),
    ("zitadel", {"amr": ["pwd"]}, "access token"),
    ("zitadel", {"aud": ["299385234567800001"]}, "audience"),
    ("entra", {"ver": "1.0"}, "ver"),
    ("entra", {"ver": None}, "ver"),
    ("entra", {"iss": f"https://sts.windows.net/{TENANT}/"}, "issuer"),
    ("entra", {"iss": f"https://login.microsoftonline.com/{OTHER_TENANT}/v2.0"}, "issuer"),
    ("entra", {"tid": OTHER_TENANT}, "issuer"),
    ("entra", {"organization": OTHER_TENANT}, "issuer"),
    ("entra", {"organization": TENANT.upper()}, "issuer"),
    ("entra", {"organization": "common"}, "issuer"),
    ("entra", {"tid": None}, "issuer"),
    ("entra", {"scp": None}, "scp and roles"),
    ("oidc", {"iss": "https://issuer.example.com"}, "issuer"),
]


@pytest.mark.parametrize(("name", "changes", "reason"), REFUSED)
def test_a_rule_of_the_provider_refuses(name: str, changes: Changes, reason: str) -> None:
    # `typ` is a header here, and a claim of Keycloak; `organization` is an argument.
    claims = {key.removesuffix("_claim"): value for key, value in changes.items()}
    if claims == changes:
        token = sign(name, **changes)
    else:
        form = SHAPES[name]
        token = SIGNERS[form.algorithm].sign({**shape(name), **claims}, typ=form.token_type)
    with pytest.raises(Unauthenticated, match=reason):
        identify(PROVIDERS[name], token)


def test_clerks_packed_permissions_are_read_from_the_lowest_bit() -> None:
    # The example of Clerk's page.
    organization = {"id": "org_1", "per": "manage,read", "fpm": "3,2"}
    token = sign("clerk_v2", o=organization, fea="o:dashboard,o:teams", scopes=())
    assert identify(CLERK, token).actor.scopes == set(CLERKS)


@pytest.mark.parametrize(
    ("packed", "features"),
    [
        ({"per": "manage,read", "fpm": "3,2"}, "o:dashboard"),
        ({"per": "manage,read", "fpm": "3,2"}, "u:dashboard,u:teams"),
        ({"per": "manage,read", "fpm": "3,2"}, None),
        ({"per": "manage,read", "fpm": "-1,x"}, "o:dashboard,o:teams"),
        ({"per": "manage,read", "fpm": 3}, "o:dashboard"),
        ({"per": ["manage"], "fpm": "3"}, "o:dashboard"),
        ({"per": "", "fpm": "3"}, "o:dashboard"),
        ({}, "o:dashboard"),
    ],
)
def test_permissions_that_clerk_would_not_write_grant_nothing(
    packed: dict[str, Any], features: object
) -> None:
    token = sign("clerk_v2", o={"id": "org_1", **packed}, fea=features, scopes=())
    assert identify(CLERK, token).actor.scopes == frozenset()


def test_features_of_the_user_do_not_shift_those_of_the_organization() -> None:
    organization = {"id": "org_1", "per": "read", "fpm": "0,1"}
    token = sign("clerk_v2", o=organization, fea="u:avatar,o:billing,uo:teams", scopes=())
    assert identify(CLERK, token).actor.scopes == {"org:teams:read"}


def test_zitadel_roles_of_another_organization_are_no_scopes() -> None:
    mine = SHAPES["zitadel"].organization
    roles = {"viewer": {mine: "acme.example"}, "editor": {"299385234567899999": "globex.example"}}
    forms: list[Any] = [roles, [roles], [{name: held} for name, held in roles.items()]]
    for written in forms:
        token = sign("zitadel", **{ROLES: written})
        assert identify(PROVIDERS["zitadel"], token).actor.scopes == {"viewer"}
    others: list[Any] = ["viewer", ["viewer"], {"viewer": mine}, {"viewer": None}, 7]
    for written in others:
        token = sign("zitadel", **{ROLES: written})
        assert identify(PROVIDERS["zitadel"], token).actor.scopes == frozenset()


def test_zitadel_clients_can_be_named() -> None:
    provider = zitadel("example.zitadel.cloud", PROJECT, authorized_parties="299385234567800001")
    assert identify(provider, sign("zitadel")).proven
    with pytest.raises(Unauthenticated, match="party"):
        identify(provider, sign("zitadel", client_id="299385234567800002"))
    with pytest.raises(Unauthenticated, match="party"):
        identify(provider, sign("zitadel", azp="299385234567800002"))


def test_keycloak_roles_are_scopes_only_where_that_was_said() -> None:
    provider = keycloak(
        "https://sso.example.com", "staff", API, realm_roles=True, client_roles="posts"
    )
    assert identify(provider, sign("keycloak", scopes=())).actor.scopes == {
        "offline_access",
        "editor",
    }
    assert identify(PROVIDERS["keycloak"], sign("keycloak", scopes=())).actor.scopes == frozenset()


def test_a_keycloak_mapping_opens_by_alias() -> None:
    token = SIGNERS["RS256"].sign({**shape("keycloak"), "organization": {"acme": {}}}, typ="JWT")
    assert identify(PROVIDERS["keycloak_alias"], token).organization_id == "acme"


def test_an_entra_actor_can_be_the_directory_object() -> None:
    provider = entra(PROVIDERS["entra"].audiences[0], tenants=TENANT, subject_claim="oid")
    assert identify(provider, sign("entra")).actor.id == "690222be-ff1a-4d56-abd1-7e4f7d38e474"
    with pytest.raises(Unauthenticated, match="required"):
        identify(provider, sign("entra", oid=None))


def test_an_entra_app_without_a_user_has_its_roles() -> None:
    token = sign("entra", scp=None, roles=["Posts.Read.All"])
    assert identify(PROVIDERS["entra"], token).actor.scopes == {"Posts.Read.All"}


def test_every_entra_tenant_is_accepted_only_if_said_and_that_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    provider = entra(PROVIDERS["entra"].audiences[0], tenants=None)
    assert "every Microsoft Entra tenant" in caplog.text
    token = sign("entra", organization=OTHER_TENANT)
    assert identify(provider, token).organization_id == OTHER_TENANT
    with pytest.raises(ValueError, match="GUID"):
        entra("client", tenants=["contoso.onmicrosoft.com"])
    with pytest.raises(ValueError, match="GUID"):
        entra("client", tenants=[])


def test_workos_issuer_and_an_audience_can_be_another() -> None:
    provider = workos("client_123", issuer="https://api.workos.com/", audiences="https://mcp")
    changes = {"iss": "https://api.workos.com/"}
    assert identify(provider, sign("workos", **changes)).proven
    assert identify(provider, sign("workos", **changes, aud="client_123")).proven
    assert identify(provider, sign("workos", **changes, aud="https://mcp")).proven


def test_any_issuer_can_be_described_by_paths_and_scopes() -> None:
    provider = oidc(
        "https://issuer.example.com/",
        [API],
        ("https://example.com/claims", "tenant"),
        scope_claims=("scp", ("access", "scopes")),
    )
    changes: dict[str, Any] = {"https://example.com/claims": {"tenant": "t1"}}
    token = sign("oidc", **changes, access={"scopes": ["a"]}, scp="b")
    found = identify(provider, token)
    assert found.organization_id == "t1"
    assert found.actor.scopes == {"a", "b"}
