"""Tokens recorded from a running Logto 1.37, signed again and verified over HTTP.

The recordings hold headers and claims. The signatures, and the keys that made them, are
gone with that server: a key of the recorded id and algorithm stands in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest

from orgtenancy.errors import Unauthenticated
from orgtenancy.identity import Gate, Identity, RequestInfo, TokenResolver, logto
from orgtenancy.testing import LocalIssuer
from tests.identity.signing import API, recorded, recording

ENDPOINT = "http://127.0.0.1:33001"  # of the Logto that was recorded
ORGANIZATION = "7zp7flxblujn"
USER, MACHINE = "afb6zw2tnuqy", "ff8z24hozx8byeexhf1wk"

Identify = Callable[[TokenResolver, str], Identity]


@pytest.fixture(scope="module")
def issuer() -> Iterator[LocalIssuer]:
    """Signs with the recorded key id, and RS256 after Logto's rotation."""
    with LocalIssuer("ES384", also=["RS256"]) as issuer:
        issuer.rotate(kid=recording("user, organization")["header"]["kid"], keep=False)
        yield issuer


@pytest.fixture(scope="module")
def resolver(issuer: LocalIssuer) -> TokenResolver:
    return logto(ENDPOINT, audiences=API).resolver(issuer.keys())


@pytest.fixture(params=["sync", "async"])
def identify(request: pytest.FixtureRequest) -> Identify:
    def info(token: str) -> RequestInfo:
        return RequestInfo("GET", "/", {"authorization": [f"Bearer {token}"]})

    if request.param == "sync":
        return lambda resolver, token: Gate(resolver).identify(info(token))
    return lambda resolver, token: asyncio.run(Gate(resolver).identify_async(info(token)))


@pytest.mark.parametrize(
    ("kind", "actor", "scopes"),
    [
        ("machine, organization", MACHINE, {"manage:members", "read:posts"}),
        ("machine, API of organization", MACHINE, {"write:posts"}),
        ("user, organization", USER, {"read:posts"}),
        ("user, API of organization", USER, {"write:posts"}),
    ],
)
def test_a_recorded_token_gives_organization_actor_and_scopes(
    kind: str,
    actor: str,
    scopes: set[str],
    issuer: LocalIssuer,
    resolver: TokenResolver,
    identify: Identify,
) -> None:
    token = issuer.sign(recorded(kind), **_header(kind))
    assert jwt.get_unverified_header(token) == recording(kind)["header"]
    identity = identify(resolver, token)
    assert (identity.organization_id, identity.proven) == (ORGANIZATION, True)
    assert identity.actor.id == actor
    assert identity.actor.scopes == scopes


def test_a_token_for_the_api_without_an_organization_is_refused(
    issuer: LocalIssuer, resolver: TokenResolver, identify: Identify
) -> None:
    kind = "user, API alone"
    with pytest.raises(Unauthenticated, match="organization"):
        identify(resolver, issuer.sign(recorded(kind), **_header(kind)))


def test_a_token_for_the_management_api_is_refused(
    issuer: LocalIssuer, resolver: TokenResolver, identify: Identify
) -> None:
    claims = recorded("management")
    with pytest.raises(Unauthenticated, match="issuer"):
        identify(resolver, issuer.sign(claims))
    with pytest.raises(Unauthenticated, match="audience"):
        identify(resolver, issuer.sign(claims | {"iss": f"{ENDPOINT}/oidc"}))


def test_a_recorded_token_is_refused_once_it_has_expired(
    issuer: LocalIssuer, resolver: TokenResolver, identify: Identify
) -> None:
    claims = recorded("user, organization")
    gone = claims | {"iat": claims["iat"] - 7200, "exp": claims["exp"] - 7200}
    with pytest.raises(Unauthenticated, match="expired"):
        identify(resolver, issuer.sign(gone))


def test_tokens_by_the_rsa_key_of_a_rotation_are_accepted(
    issuer: LocalIssuer, resolver: TokenResolver, identify: Identify
) -> None:
    token = issuer.sign(recorded("user, organization"), algorithm="RS256")
    assert identify(resolver, token).organization_id == ORGANIZATION


def test_the_local_issuer_writes_what_logto_writes(issuer: LocalIssuer) -> None:
    made = {
        "user, organization": issuer.token(USER, organization=ORGANIZATION, scopes=["a"]),
        "user, API of organization": issuer.token(
            USER, organization=ORGANIZATION, audience=API, scopes=["a"]
        ),
        "user, API alone": issuer.token(USER, audience=API, scopes=["a"]),
    }
    for kind, token in made.items():
        claims = jwt.decode(token, options={"verify_signature": False})
        assert sorted(claims) == sorted(recorded(kind)), kind
        assert claims["aud"] == recorded(kind)["aud"]
        assert jwt.get_unverified_header(token).keys() == recording(kind)["header"].keys()


def _header(kind: str) -> dict[str, Any]:
    header = dict(recording(kind)["header"])
    del header["alg"]
    return header
