"""Each attack on a token, sent to an app of each framework: 401, and nothing was reached."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm

from orgtenancy import Organization, Tenancy
from orgtenancy.identity import logto
from orgtenancy.identity.fetching import JsonFetcher
from orgtenancy.testing import LocalIssuer, Signer
from tests.identity.attacked import FRAMEWORKS, Send, reached, sender
from tests.identity.signing import API

Refused = Callable[[str], None]


@pytest.fixture(scope="module")
def issuer() -> Iterator[LocalIssuer]:
    with LocalIssuer("ES384", also=["RS256"]) as issuer:
        yield issuer


@pytest.fixture(params=FRAMEWORKS)
def send(
    request: pytest.FixtureRequest,
    tenancy: Tenancy,
    issuer: LocalIssuer,
    event_loop_runner: asyncio.Runner,
) -> Send:
    """Sends a token to an app, which fetches the issuer's keys over HTTP."""
    reached.clear()
    resolver = logto(issuer.url, audiences=API).resolver()
    return sender(request.param, tenancy, resolver, event_loop_runner)


@pytest.fixture(scope="module")
def home(tenancy: Tenancy) -> Organization:
    """The organization that no attack may reach."""
    return tenancy.schemas.provision(f"t{uuid4().hex[:12]}")


@pytest.fixture
def good(issuer: LocalIssuer, home: Organization) -> dict[str, Any]:
    """The claims of a token that opens it."""
    token = issuer.token("alice", organization=home.id, audience=API)
    return dict(jwt.decode(token, options={"verify_signature": False}))


@pytest.fixture
def kid(issuer: LocalIssuer) -> str:
    return issuer.signer.kid


@pytest.fixture
def refused(send: Send, issuer: LocalIssuer, good: dict[str, Any], home: Organization) -> Refused:
    """Asserts that a token is refused, by an app that the good one opens."""
    assert send(issuer.sign(good)).status == 200
    assert reached == [home.id]
    reached.clear()

    def check(token: str) -> None:
        answer = send(token)
        assert (answer.status, answer.json["code"]) == (401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert reached == []

    return check


def segment(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_no_signature_alg_none(refused: Refused, good: dict[str, Any], kid: str) -> None:
    for algorithm in ("none", "None", "nOnE"):
        header = {"alg": algorithm, "typ": "at+jwt", "kid": kid}
        refused(f"{segment(header)}.{segment(good)}.")


def test_an_hmac_with_the_public_key_as_its_secret(
    refused: Refused, good: dict[str, Any], issuer: LocalIssuer, kid: str
) -> None:
    keys = JsonFetcher(issuer.jwks_url)()["keys"]
    (published,) = (key for key in keys if key["kid"] == kid)
    public = ECAlgorithm(ECAlgorithm.SHA384).from_jwk(published)
    assert isinstance(public, EllipticCurvePublicKey)
    content = f"{segment({'alg': 'HS256', 'typ': 'at+jwt', 'kid': kid})}.{segment(good)}"
    for secret in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(published).encode(),
    ):
        signature = hmac.new(secret, content.encode(), hashlib.sha256).digest()
        refused(f"{content}.{segment(signature)}")


def test_a_foreign_key_with_a_known_kid(refused: Refused, good: dict[str, Any], kid: str) -> None:
    refused(Signer(kid).sign(good))


def test_a_foreign_key_without_a_kid(refused: Refused, good: dict[str, Any]) -> None:
    refused(Signer("x").sign(good, kid=None))


def test_a_kid_that_is_a_path_or_a_query(refused: Refused, good: dict[str, Any], kid: str) -> None:
    foreign = Signer("x")
    for injected in ("../../../dev/null", "x' UNION SELECT 'k", f"{kid}\0", f"{kid}\r\nX: y", ""):
        refused(foreign.sign(good, kid=injected))


def test_a_kid_without_end(refused: Refused, good: dict[str, Any]) -> None:
    refused(Signer("k" * 4_000).sign(good))


def test_a_kid_that_is_no_text(refused: Refused, good: dict[str, Any]) -> None:
    for injected in (7, ["k"], {"k": 1}, True):
        refused(f"{segment({'alg': 'ES384', 'typ': 'at+jwt', 'kid': injected})}.{segment(good)}.AA")


def test_a_key_that_the_token_brings_itself(refused: Refused, good: dict[str, Any]) -> None:
    foreign = Signer("mine")
    refused(foreign.sign(good, jwk=foreign.jwk()))
    refused(foreign.sign(good, jku="http://127.0.0.1:9/jwks"))
    refused(foreign.sign(good, x5u="http://127.0.0.1:9/cert", x5c=["MIIB"]))


def test_another_issuer(refused: Refused, good: dict[str, Any], issuer: LocalIssuer) -> None:
    for other in ("https://evil.example/oidc", f"{issuer.issuer}/", issuer.issuer.upper()):
        refused(issuer.sign({**good, "iss": other}))


def test_another_audience(refused: Refused, good: dict[str, Any], issuer: LocalIssuer) -> None:
    others: list[Any] = ["https://other.example", f"{API}.evil.example", [], {API: True}, None]
    for other in others:
        refused(issuer.sign({**good, "aud": other}))


def test_an_expired_token(refused: Refused, good: dict[str, Any], issuer: LocalIssuer) -> None:
    refused(issuer.sign({**good, "exp": int(time.time()) - 60}))


def test_a_token_without_an_end(
    refused: Refused, good: dict[str, Any], issuer: LocalIssuer
) -> None:
    del good["exp"]
    refused(issuer.sign(good))


def test_a_token_that_is_not_valid_yet(
    refused: Refused, good: dict[str, Any], issuer: LocalIssuer
) -> None:
    refused(issuer.sign({**good, "nbf": int(time.time()) + 600}))
    refused(issuer.sign({**good, "iat": int(time.time()) + 600}))


def test_times_that_are_no_numbers(
    refused: Refused, good: dict[str, Any], issuer: LocalIssuer
) -> None:
    for name in ("exp", "iat", "nbf"):
        for value in ("9999999999", None, [9999999999], True):
            refused(issuer.sign({**good, name: value}))


def test_an_oversized_token(refused: Refused, good: dict[str, Any], issuer: LocalIssuer) -> None:
    refused(issuer.sign({**good, "padding": "x" * 20_000}))


def test_a_claim_twice(refused: Refused, good: dict[str, Any], issuer: LocalIssuer) -> None:
    header, payload = _header(issuer), json.dumps(good)
    organization = good["organization_id"]
    twice = (
        payload.replace("{", '{"organization_id":"globex",', 1),
        payload.replace("{", f'{{"organization_id":"{organization}",', 1),
        payload.replace("{", '{"sub":"root",', 1),
    )
    for text in twice:
        refused(_signed(issuer, header, text))


def test_a_header_twice(refused: Refused, good: dict[str, Any], issuer: LocalIssuer) -> None:
    header, payload = _header(issuer), json.dumps(good)
    for more in ('"kid":"other"', '"alg":"none"', '"typ":"at+jwt"'):
        refused(_signed(issuer, header.replace("{", f"{{{more},", 1), payload))


def test_two_organizations_in_one_token(
    refused: Refused, good: dict[str, Any], issuer: LocalIssuer
) -> None:
    refused(issuer.sign({**good, "aud": [API, "urn:logto:organization:globex"]}))
    refused(issuer.sign({**good, "aud": "urn:logto:organization:globex"}))


def test_an_organization_that_is_no_text(
    refused: Refused, good: dict[str, Any], issuer: LocalIssuer
) -> None:
    for value in (["acme"], {"id": "acme"}, 7, "", True):
        refused(issuer.sign({**good, "organization_id": value}))


def test_no_organization(refused: Refused, issuer: LocalIssuer) -> None:
    refused(issuer.token("alice", audience=API))


def test_an_id_token(refused: Refused, good: dict[str, Any], issuer: LocalIssuer) -> None:
    refused(issuer.sign({**good, "at_hash": "77QmUPtjPfzWtF2AnpK9RQ"}))
    refused(issuer.sign(good, typ="JWT"))


def test_a_token_of_another_type(
    refused: Refused, good: dict[str, Any], issuer: LocalIssuer
) -> None:
    for kind in ("logout+jwt", "secevent+jwt", "dpop+jwt"):
        refused(issuer.sign(good, typ=kind))


def test_an_extension_that_must_be_understood(
    refused: Refused, good: dict[str, Any], issuer: LocalIssuer
) -> None:
    refused(issuer.sign(good, crit=["exp"], exp=1))


def test_a_changed_payload(refused: Refused, good: dict[str, Any], issuer: LocalIssuer) -> None:
    header, _, signature = issuer.sign(good).split(".")
    refused(f"{header}.{segment({**good, 'sub': 'root'})}.{signature}")


def test_a_signature_of_another_form(
    refused: Refused, good: dict[str, Any], issuer: LocalIssuer
) -> None:
    content, _, signature = issuer.sign(good).rpartition(".")
    spelled = f"!!!!{signature}"  # Python's decoder skips what is no base64
    for other in ("", "AA", segment(bytes(96)), signature[:-4], f"{signature}AAAA", spelled):
        refused(f"{content}.{other}")


def test_an_encrypted_token(refused: Refused, good: dict[str, Any], issuer: LocalIssuer) -> None:
    refused(f"{issuer.sign(good)}.AA.AA")


def test_no_subject(refused: Refused, good: dict[str, Any], issuer: LocalIssuer) -> None:
    for subject in ("", None, 7, "alice\0", "a" * 256):
        refused(issuer.sign({**good, "sub": subject}))


def test_the_token_of_a_suspended_organization(
    send: Send, issuer: LocalIssuer, organization: Organization, tenancy: Tenancy
) -> None:
    token = issuer.token("alice", organization=organization.id)
    assert send(token).status == 200
    reached.clear()
    tenancy.organizations.suspend(organization.id)
    answer = send(token)
    assert (answer.status, answer.json["code"]) == (403, "organization_unavailable")
    assert reached == []


def test_the_token_of_a_deleted_organization(
    send: Send, issuer: LocalIssuer, organization: Organization, tenancy: Tenancy
) -> None:
    token = issuer.token("alice", organization=organization.id)
    assert send(token).status == 200
    reached.clear()
    tenancy.schemas.drop(organization.id, confirm=organization.id, force=True)
    answer = send(token)
    assert (answer.status, answer.json["code"]) == (404, "organization_not_found")
    assert reached == []


def test_what_is_signed_by_hand_is_accepted_when_it_is_good(
    send: Send, issuer: LocalIssuer, good: dict[str, Any]
) -> None:
    assert send(_signed(issuer, _header(issuer), json.dumps(good))).status == 200


def _header(issuer: LocalIssuer) -> str:
    return json.dumps({"alg": "ES384", "typ": "at+jwt", "kid": issuer.signer.kid})


def _signed(issuer: LocalIssuer, header: str, payload: str) -> str:
    """Return a token with a genuine signature over any text."""
    key = issuer.signer.key
    assert isinstance(key, EllipticCurvePrivateKey)
    content = f"{segment(header.encode())}.{segment(payload.encode())}"
    signature = ECAlgorithm(ECAlgorithm.SHA384).sign(content.encode(), key)
    return f"{content}.{segment(signature)}"
