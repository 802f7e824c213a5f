"""The test issuer is one: a host's app verifies its tokens as those of a real provider."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

import jwt
import pytest

from orgtenancy.errors import IdentityProviderUnavailable, Unauthenticated
from orgtenancy.identity import Gate, RequestInfo, logto, oidc
from orgtenancy.testing import LocalIssuer, Signer, shape

API = "https://api.example.com"


@pytest.fixture
def issuer() -> Iterator[LocalIssuer]:
    with LocalIssuer() as issuer:
        issuer.add_client("robot", "secret: 1&2", ["read:posts", "write:posts"])
        yield issuer


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as response:
        return json.load(response)


def exchange(issuer: LocalIssuer, *, basic: str | None = None, **form: str) -> dict[str, Any]:
    return post(issuer, urlencode(form), f"Basic {basic}" if basic else "")


def post(issuer: LocalIssuer, form: str, authorization: str = "") -> dict[str, Any]:
    url, headers = f"{issuer.issuer}/token", {"Authorization": authorization}
    request = urllib.request.Request(url, form.encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return {"status": 200, **json.load(response)}
    except HTTPError as error:
        with error:
            return {"status": error.code, **json.load(error)}


CREDENTIALS = {
    "grant_type": "client_credentials",
    "client_id": "robot",
    "client_secret": "secret: 1&2",
}


def identify(issuer: LocalIssuer, token: str) -> tuple[str, str, set[str]]:
    request = RequestInfo("GET", "/", {"authorization": [f"Bearer {token}"]})
    identity = Gate(logto(issuer.url, audiences=API).resolver()).identify(request)
    return identity.organization_id, identity.actor.id, set(identity.actor.scopes)


def test_discovery_and_key_set_are_served(issuer: LocalIssuer) -> None:
    document = get(f"{issuer.issuer}/.well-known/openid-configuration")
    assert (document["issuer"], document["jwks_uri"]) == (issuer.issuer, issuer.jwks_url)
    (key,) = get(document["jwks_uri"])["keys"]
    assert (key["kid"], key["alg"]) == (issuer.signer.kid, "ES384")
    assert "d" not in key


def test_a_token_opens_its_organization(issuer: LocalIssuer) -> None:
    for audience in (None, API):
        token = issuer.token("alice", organization="acme", audience=audience, scopes=["a", "b"])
        assert identify(issuer, token) == ("acme", "alice", {"a", "b"})


def test_a_token_must_be_for_something(issuer: LocalIssuer) -> None:
    with pytest.raises(ValueError, match="organization"):
        issuer.token("alice")


def test_a_claim_can_be_changed_and_left_out(issuer: LocalIssuer) -> None:
    token = issuer.token("alice", organization="acme", lifetime=-100, jti=None, extra=1)
    claims = jwt.decode(token, options={"verify_signature": False})
    assert "jti" not in claims
    assert claims["extra"] == 1
    with pytest.raises(Unauthenticated, match="expired"):
        identify(issuer, token)


def test_a_rotation_keeps_the_key_before_or_withdraws_it(issuer: LocalIssuer) -> None:
    before = issuer.token("alice", organization="acme")
    issuer.rotate("RS256")
    assert identify(issuer, before)
    assert identify(issuer, issuer.token("alice", organization="acme"))
    issuer.rotate(keep=False, kid="third")
    assert issuer.signer.kid == "third"
    with pytest.raises(Unauthenticated, match="unknown key"):
        identify(issuer, before)


def test_an_outage_ends_when_it_is_said(issuer: LocalIssuer) -> None:
    token = issuer.token("alice", organization="acme")
    issuer.stop_answering()
    with pytest.raises(IdentityProviderUnavailable):
        identify(issuer, token)
    issuer.answer_again()
    assert identify(issuer, token)
    assert issuer.requests("/oidc/jwks") == 2


@pytest.mark.parametrize("resource", [None, API])
def test_a_machine_gets_a_token_for_an_organization(
    issuer: LocalIssuer, resource: str | None
) -> None:
    form = {**CREDENTIALS, "organization_id": "acme", "scope": "read:posts delete:all"}
    answer = exchange(issuer, **form, **({"resource": resource} if resource else {}))
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 3600)
    assert answer["scope"] == "read:posts"
    assert identify(issuer, answer["access_token"]) == ("acme", "robot", {"read:posts"})


def test_a_machine_gets_a_token_for_an_api_alone(issuer: LocalIssuer) -> None:
    basic = base64.b64encode(b"robot:secret%3A+1%262").decode()
    answer = exchange(issuer, basic=basic, grant_type="client_credentials", resource=API)
    assert "scope" not in answer
    verifier = oidc(issuer.issuer, API, "organization_id").verifier()
    claims = verifier.verify(answer["access_token"])
    assert (claims["sub"], claims["client_id"]) == ("robot", "robot")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"organization_id": "globex"}, 400, "access_denied"),
        ({"organization_id": None}, 400, "invalid_target"),
    ],
)
def test_a_machine_is_refused(
    issuer: LocalIssuer, changes: dict[str, str | None], status: int, code: str
) -> None:
    issuer.add_client("robot", "secret: 1&2", organizations=["acme"])
    form = {**CREDENTIALS, "organization_id": "acme", **changes}
    answer = exchange(issuer, **{name: value for name, value in form.items() if value is not None})
    assert (answer["status"], answer["error"]) == (status, code)


def test_what_is_no_form_and_no_path_is_refused(issuer: LocalIssuer) -> None:
    for form in ("grant_type=a&grant_type=b", "grant_type", "&&"):
        assert post(issuer, form)["error"] == "invalid_request"
    with pytest.raises(HTTPError) as missing:
        get(f"{issuer.url}/nowhere")
    missing.value.close()
    assert missing.value.code == 404


def test_nobody_answers_after_the_block() -> None:
    with LocalIssuer() as issuer:
        token = issuer.token("alice", organization="acme")
    with pytest.raises(IdentityProviderUnavailable):
        identify(issuer, token)


def test_a_shape_can_be_changed_and_lived_through() -> None:
    claims = shape("auth0", organization="org_1", subject="bob", lifetime=10, aud=None, x=1)
    assert claims["exp"] - claims["iat"] == 10
    assert (claims["org_id"], claims["sub"], claims["x"]) == ("org_1", "bob", 1)
    assert "aud" not in claims


def test_no_key_can_be_made_for_an_algorithm_without_one() -> None:
    for algorithm in ("HS256", "none", "ES512"):
        with pytest.raises(ValueError, match="no key"):
            Signer("k", algorithm)
