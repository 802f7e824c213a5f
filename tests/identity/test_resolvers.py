"""From a request to an identity."""

from __future__ import annotations

import subprocess
import sys

import pytest

from orgtenancy.context import actor_var, bind
from orgtenancy.errors import (
    AccessDenied,
    ConfigurationError,
    IdentityError,
    InsufficientScope,
    Unauthenticated,
)
from orgtenancy.identity import (
    AllowEveryone,
    ChainResolver,
    DenyUnproven,
    Gate,
    HeaderResolver,
    Identity,
    RequestInfo,
    Resolver,
    bearer_token,
    require_scopes,
)
from orgtenancy.organizations import Actor
from tests.identity.asking import (
    HEADER,
    MEMBER,
    ORGANIZATION,
    SIGNER,
    TOKENS,
    USER,
    Identify,
    request,
)
from tests.identity.signing import Signer, recorded


@pytest.mark.parametrize(
    ("kind", "actor", "scopes"),
    [
        ("machine, organization", "ff8z24hozx8byeexhf1wk", {"manage:members", "read:posts"}),
        ("machine, API of organization", "ff8z24hozx8byeexhf1wk", {"write:posts"}),
        ("user, organization", "afb6zw2tnuqy", {"read:posts"}),
        ("user, API of organization", "afb6zw2tnuqy", {"write:posts"}),
    ],
)
def test_recorded_logto_tokens_open_their_organization(
    kind: str, actor: str, scopes: set[str], identify: Identify
) -> None:
    identity = identify(Gate(TOKENS), request(SIGNER.sign(recorded(kind))))
    assert identity.organization_id == ORGANIZATION
    assert identity.proven
    assert identity.actor.id == actor
    assert identity.actor.scopes == scopes
    assert identity.actor.claims["jti"] == recorded(kind)["jti"]


@pytest.mark.parametrize("kind", ["user, API alone", "management"])
def test_recorded_logto_tokens_without_an_organization_open_none(
    kind: str, identify: Identify
) -> None:
    with pytest.raises(Unauthenticated):
        identify(Gate(TOKENS), request(SIGNER.sign(recorded(kind))))


def test_a_token_without_scopes_has_none(identify: Identify) -> None:
    claims = recorded("user, organization")
    del claims["scope"]
    assert identify(Gate(TOKENS), request(SIGNER.sign(claims))).actor.scopes == frozenset()


def test_a_token_for_two_organizations_opens_none(identify: Identify) -> None:
    claims = recorded("user, API of organization") | {"aud": "urn:logto:organization:globex"}
    with pytest.raises(Unauthenticated, match="more than one"):
        identify(Gate(TOKENS), request(SIGNER.sign(claims)))


def test_an_id_token_is_refused(identify: Identify) -> None:
    token = SIGNER.sign(recorded("user, organization"), typ="JWT")
    with pytest.raises(Unauthenticated, match="type"):
        identify(Gate(TOKENS), request(token))


def test_no_token_is_refused(identify: Identify) -> None:
    with pytest.raises(Unauthenticated):
        identify(Gate(TOKENS), request())


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "bearer a b", "Bearer  "])
def test_a_malformed_authorization_header_is_refused(header: str) -> None:
    with pytest.raises(Unauthenticated):
        bearer_token(RequestInfo("GET", "/", {"authorization": [header]}))


def test_credentials_of_another_scheme_are_none_of_a_token_resolvers_business() -> None:
    assert bearer_token(RequestInfo("GET", "/", {"authorization": ["Basic YTpi"]})) is None
    assert bearer_token(RequestInfo("GET", "/", {"authorization": ["bEARER x"]})) == "x"


@pytest.mark.parametrize("name", ["authorization", "x-organization"])
def test_a_header_sent_twice_is_refused(name: str, identify: Identify) -> None:
    good = request(SIGNER.sign(recorded("user, organization")), ORGANIZATION)
    twice = RequestInfo("GET", "/", {**good.headers, name: [*good.headers[name], "other"]})
    with pytest.raises(Unauthenticated, match="more than once"):
        identify(Gate(HEADER, AllowEveryone()), twice)


def test_a_header_alone_opens_nothing(identify: Identify) -> None:
    with pytest.raises(Unauthenticated):
        identify(Gate(HEADER, AllowEveryone()), request(organization=ORGANIZATION))


def test_a_header_needs_a_membership_check_and_the_default_denies(identify: Identify) -> None:
    asked = request(USER, ORGANIZATION)
    for gate in (Gate(HEADER), Gate(HEADER, DenyUnproven())):
        with pytest.raises(AccessDenied):
            identify(gate, asked)
    identity = identify(Gate(HEADER, AllowEveryone()), asked)
    assert (identity.organization_id, identity.proven) == (ORGANIZATION, False)


def test_a_header_that_the_token_proves_needs_no_policy(identify: Identify) -> None:
    assert identify(Gate(HEADER), request(MEMBER, ORGANIZATION)).proven


def test_a_token_of_one_organization_does_not_serve_another(identify: Identify) -> None:
    with pytest.raises(AccessDenied):
        identify(Gate(HEADER, AllowEveryone()), request(MEMBER, "globex"))


CHAIN = ChainResolver(TOKENS, HEADER)


def test_a_chain_takes_the_first_that_finds_something(identify: Identify) -> None:
    gate = Gate(CHAIN, AllowEveryone())
    assert identify(gate, request(MEMBER)).proven
    assert not identify(gate, request(USER, "globex")).proven
    with pytest.raises(Unauthenticated):
        identify(gate, request(USER))


def test_a_chain_gives_a_bad_token_no_second_try(identify: Identify) -> None:
    forged = Signer(SIGNER.kid).sign(recorded("user, organization"))
    with pytest.raises(Unauthenticated, match="signature"):
        identify(Gate(CHAIN, AllowEveryone()), request(forged, "globex"))


def test_a_chain_refuses_a_request_that_names_two_organizations(identify: Identify) -> None:
    with pytest.raises(AccessDenied):
        identify(Gate(CHAIN, AllowEveryone()), request(MEMBER, "globex"))
    assert identify(Gate(CHAIN), request(MEMBER, ORGANIZATION)).proven


def test_an_empty_chain_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError):
        ChainResolver()


class Gateway(Resolver):
    """A host's own resolver: one method."""

    def resolve(self, request: RequestInfo) -> Identity | None:
        user = request.header("x-user")
        actor = Actor(id=user) if user else None
        if actor is None:
            return None
        return Identity(organization_id="acme", actor=actor, proven=False)


def test_a_host_writes_one_method_for_a_resolver(identify: Identify) -> None:
    gate = Gate(Gateway(), AllowEveryone())
    assert identify(gate, RequestInfo("GET", "/", {"x-user": ["alice"]})).actor.id == "alice"
    with pytest.raises(Unauthenticated):
        identify(gate, RequestInfo("GET", "/"))


def test_scopes_are_required_of_the_contexts_actor() -> None:
    with pytest.raises(Unauthenticated):
        require_scopes("a")
    with bind(actor_var, Actor(id="alice", scopes=frozenset({"a", "b"}))):
        assert require_scopes("a", "b").id == "alice"
        assert require_scopes().id == "alice"
        with pytest.raises(InsufficientScope, match="missing scope: c d") as missing:
            require_scopes("a", "d", "c")
    assert missing.value.scopes == {"a", "c", "d"}
    with pytest.raises(IdentityError):
        require_scopes("a", actor=Actor(id="bob"))


def test_the_host_source_of_actors_can_be_anything(identify: Identify) -> None:
    class SignedIn:
        def find(self, request: RequestInfo) -> Actor | None:
            return Actor(id="alice")

        async def find_async(self, request: RequestInfo) -> Actor | None:
            return Actor(id="alice")

    gate = Gate(HeaderResolver(SignedIn(), header="X-Tenant"), AllowEveryone())
    asked = RequestInfo("GET", "/", {"x-tenant": ["acme"]})
    assert identify(gate, asked).organization_id == "acme"


@pytest.mark.slow
def test_identity_and_its_framework_free_parts_load_without_jwt_and_frameworks() -> None:
    code = (
        "import sys, orgtenancy, orgtenancy.identity, orgtenancy.identity.gate, "
        "orgtenancy.adapters; from orgtenancy.identity import HeaderResolver, AllowEveryone; "
        "bad = {'jwt', 'fastapi', 'starlette', 'flask', 'cryptography'} & set(sys.modules); "
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_every_public_name_loads() -> None:
    import orgtenancy.identity as identity

    for name in identity.__all__:
        assert getattr(identity, name)
    with pytest.raises(AttributeError):
        identity.__getattr__("nothing")
