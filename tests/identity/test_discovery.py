"""Keys are found where the issuer's own document says, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from orgtenancy.errors import ConfigurationError, IdentityProviderUnavailable
from orgtenancy.identity import IdentityProvider, IssuerTemplate, OrganizationClaims, oidc
from orgtenancy.identity.discovery import DiscoveredKeySet, discovered_keys
from orgtenancy.testing import LocalIssuer
from tests.identity.signing import API

DOCUMENT, JWKS = "/oidc/.well-known/openid-configuration", "/oidc/jwks"


@pytest.fixture
def issuer() -> Iterator[LocalIssuer]:
    with LocalIssuer() as issuer:
        yield issuer


def test_an_issuer_alone_is_enough(issuer: LocalIssuer) -> None:
    verifier = oidc(issuer.issuer, API, "organization_id").verifier()
    assert verifier.verify(issuer.token("alice", audience=API))["sub"] == "alice"
    assert (issuer.requests(DOCUMENT), issuer.requests(JWKS)) == (1, 1)


def test_the_document_is_read_again_when_it_is_old_or_the_keys_have_moved(
    issuer: LocalIssuer,
) -> None:
    now = [0.0]
    fetch = DiscoveredKeySet(issuer.issuer, max_age=60, clock=lambda: now[0])
    for _ in range(3):
        fetch()
    assert (issuer.requests(DOCUMENT), issuer.requests(JWKS)) == (1, 3)
    now[0] += 61
    fetch()
    assert issuer.requests(DOCUMENT) == 2
    issuer.stop_answering()
    with pytest.raises(OSError, match="closed connection"):
        fetch()
    issuer.answer_again()
    assert fetch()
    assert issuer.requests(DOCUMENT) == 3


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": ["http://127.0.0.1/jwks"]},
    ],
)
def test_a_document_of_another_issuer_or_without_keys_is_not_believed(
    issuer: LocalIssuer, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = issuer._discovery()
    monkeypatch.setattr(issuer, "_discovery", lambda: {**good, **document})
    with pytest.raises(ValueError, match=r"document of another issuer|where the keys are"):
        DiscoveredKeySet(issuer.issuer)()
    with pytest.raises(IdentityProviderUnavailable):
        discovered_keys(issuer.issuer).find("kid", "ES384")
    assert issuer.requests(JWKS) == 0


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/jwks", "/jwks"])
def test_keys_are_fetched_by_http_alone(
    issuer: LocalIssuer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = issuer._discovery()
    monkeypatch.setattr(issuer, "_discovery", lambda: {**good, "jwks_uri": url})
    with pytest.raises(ConfigurationError):
        DiscoveredKeySet(issuer.issuer)()


def test_a_document_under_tls_does_not_lead_away_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = DiscoveredKeySet("https://issuer.example")
    document = {"issuer": "https://issuer.example", "jwks_uri": "http://issuer.example/jwks"}
    monkeypatch.setattr(fetch, "_document", lambda: document)
    with pytest.raises(ValueError, match="TLS"):
        fetch()


def test_an_issuer_with_a_slash_at_its_end_has_its_document_below_it() -> None:
    assert DiscoveredKeySet("https://a.example/").url == (
        "https://a.example/.well-known/openid-configuration"
    )


def test_an_issuer_of_many_tenants_has_no_one_document() -> None:
    provider = IdentityProvider(
        issuer=IssuerTemplate(template="https://issuer.example/{tid}"),
        organization=OrganizationClaims(paths=(("tid",),)),
        audiences=(API,),
    )
    with pytest.raises(ConfigurationError, match="jwks_url"):
        provider.verifier()
