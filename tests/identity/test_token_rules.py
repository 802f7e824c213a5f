"""What a token's claims must say, where an issuer signs more than access tokens."""

from __future__ import annotations

from typing import Any

import pytest

from orgtenancy.errors import ConfigurationError, Unauthenticated
from orgtenancy.identity import IssuerTemplate, StaticKeys, TokenRules, TokenVerifier
from tests.identity.signing import API, ISSUER, Signer, claims, key_set

GOOD = Signer("good")
GUID = "8b87af7d-8647-4dc7-8df4-5f69a2011bb5"
OTHER = "11111111-2222-4333-8444-555555555555"


def verify(rules: TokenRules, audiences: tuple[str, ...] = (API,), **changes: Any) -> Any:
    verifier = TokenVerifier(ISSUER, StaticKeys(key_set(GOOD)), audiences=audiences, rules=rules)
    return verifier.verify(GOOD.sign(claims(**changes)))


@pytest.mark.parametrize("name", ["at_hash", "c_hash"])
@pytest.mark.parametrize("value", ["77QmUPtjPfzWtF2AnpK9RQ", "", 0])
def test_an_id_token_is_no_access_token(name: str, value: Any) -> None:
    with pytest.raises(Unauthenticated, match="access token"):
        verify(TokenRules(), **{name: value})
    assert verify(TokenRules(forbidden=()), **{name: value})


def test_a_required_claim_must_have_one_of_its_texts() -> None:
    rules = TokenRules(required={("ext", "use"): frozenset({"api", "job"})})
    assert verify(rules, ext={"use": "job"})
    for ext in ({"use": "app"}, {"use": ["api"]}, {"use": None}, {}, "api", None, ["api"]):
        with pytest.raises(Unauthenticated, match="ext"):
            verify(rules, ext=ext)


def test_a_refused_claim_may_be_absent_and_must_not_be_of_another_type() -> None:
    rules = TokenRules(refused={("sts",): frozenset({"pending"})})
    assert verify(rules)
    assert verify(rules, sts="active")
    for sts in ("pending", ["pending"], {"pending": True}, 1):
        with pytest.raises(Unauthenticated, match="sts"):
            verify(rules, sts=sts)


def test_one_of_several_claims_is_enough_and_none_is_not() -> None:
    rules = TokenRules(require_any=("scp", "roles"))
    assert verify(rules, scp="read")
    assert verify(rules, roles=["Reader"])
    without: list[dict[str, Any]] = [{}, {"scp": ""}, {"roles": []}]
    for empty in without:
        with pytest.raises(Unauthenticated, match="scp and roles"):
            verify(rules, **empty)


@pytest.mark.parametrize(
    "changes", [{"azp": "app"}, {"client_id": "app"}, {"azp": "app", "client_id": "app"}]
)
def test_an_authorized_party_may_use_a_token(changes: dict[str, Any]) -> None:
    assert verify(TokenRules(authorized_parties=frozenset({"app"})), **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"azp": "evil"},
        {"azp": "app", "client_id": "evil"},
        {"azp": "evil", "client_id": "app"},
        {"azp": ["app"]},
        {"azp": ""},
    ],
)
def test_no_other_party_may_use_a_token(changes: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated, match="party"):
        verify(TokenRules(authorized_parties=frozenset({"app"})), **changes)


PARTY = TokenRules(audience_by="authorized_party", authorized_parties=frozenset({"app"}))
OWN_KEYS = TokenRules(audience_by="issuer_keys")


@pytest.mark.parametrize("rules", [PARTY, OWN_KEYS])
def test_an_audience_may_be_absent_where_something_else_says_what_a_token_is_for(
    rules: TokenRules,
) -> None:
    assert verify(rules, aud=None, azp="app")
    assert verify(rules, (), aud=None, azp="app")
    assert verify(rules, aud=API, azp="app")


@pytest.mark.parametrize("rules", [PARTY, OWN_KEYS])
@pytest.mark.parametrize("audience", ["https://other.example", [], "", 7])
def test_an_audience_that_is_there_must_fit_all_the_same(
    rules: TokenRules, audience: object
) -> None:
    for audiences in ((API,), ()):
        with pytest.raises(Unauthenticated, match="audience"):
            verify(rules, audiences, aud=audience, azp="app")


def test_an_audience_that_is_null_is_not_absent() -> None:
    verifier = TokenVerifier(ISSUER, StaticKeys(key_set(GOOD)), rules=OWN_KEYS)
    with pytest.raises(Unauthenticated, match="audience"):
        verifier.verify(GOOD.sign({**claims(), "aud": None}))


def test_the_party_alone_needs_parties() -> None:
    with pytest.raises(ConfigurationError, match="authorized parties"):
        verify(TokenRules(audience_by="authorized_party"))
    with pytest.raises(ConfigurationError, match="audience"):
        verify(TokenRules(authorized_parties=frozenset({"app"})), ())


def test_the_subject_can_be_another_claim() -> None:
    rules = TokenRules(subject_claim="oid")
    assert verify(rules, oid=GUID)["oid"] == GUID
    for oid in (None, "", 7, "alice\0"):
        with pytest.raises(Unauthenticated, match=r"subject|required"):
            verify(rules, oid=oid)


TEMPLATE = IssuerTemplate(template="https://login.example/{tid}/v2.0")
CLAIMS = {"iss": f"https://login.example/{GUID}/v2.0", "tid": GUID}


def test_an_issuer_of_many_tenants_is_the_one_of_the_tenant_it_names() -> None:
    assert TEMPLATE.is_issuer_of(CLAIMS)
    only = IssuerTemplate(template=TEMPLATE.template, allowed=frozenset({GUID.upper()}))
    assert only.is_issuer_of(CLAIMS)
    assert not only.is_issuer_of({"iss": CLAIMS["iss"].replace(GUID, OTHER), "tid": OTHER})


@pytest.mark.parametrize(
    "changes",
    [
        {"tid": OTHER},
        {"tid": None},
        {"tid": [GUID]},
        {"tid": GUID.upper(), "iss": f"https://login.example/{GUID.upper()}/v2.0"},
        {"tid": "common", "iss": "https://login.example/common/v2.0"},
        {"tid": f"{GUID}\n", "iss": f"https://login.example/{GUID}\n/v2.0"},
        {"tid": "a/../b", "iss": "https://login.example/a/../b/v2.0"},
        {"iss": "https://login.example/{tid}/v2.0"},
        {"iss": None},
        {"iss": [CLAIMS["iss"]]},
    ],
)
def test_no_other_issuer_passes_for_a_tenants(changes: dict[str, Any]) -> None:
    assert not TEMPLATE.is_issuer_of({**CLAIMS, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"template": "https://login.example/v2.0"},
        {"template": "https://login.example/{tid}/{tid}"},
        {"claim": "tenant"},
        {"allowed": frozenset()},
        {"allowed": frozenset({"contoso.example"})},
    ],
)
def test_a_template_that_could_accept_anybody_or_nobody_is_refused(changes: Any) -> None:
    with pytest.raises(ValueError, match=r"issuer template|GUID"):
        IssuerTemplate(**{"template": TEMPLATE.template, **changes})
