"""An organization in the host, or in the path: which one is meant, and that it proves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from flask import Flask
from flask import request as flask_request
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, Router

from orgtenancy.adapters import flask, starlette
from orgtenancy.errors import AccessDenied, ConfigurationError, Unauthenticated
from orgtenancy.identity import (
    AllowEveryone,
    ChainResolver,
    Gate,
    PathResolver,
    RequestInfo,
    SubdomainResolver,
)
from orgtenancy.naming import validate_organization_id
from tests.adapters import asgi, wsgi
from tests.identity.asking import (
    HEADER,
    KEYS,
    LOGTO,
    MEMBER,
    ORGANIZATION,
    TOKENS,
    USER,
    Identify,
    request,
)

ACTORS = LOGTO.actors(KEYS)
SUBDOMAIN = LOGTO.subdomain_resolver("example.com", keys=KEYS)
PATH = LOGTO.path_resolver(keys=KEYS)


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("acme.example.com", "acme"),
        ("acme.example.com.", "acme"),
        ("7zp7flxblujn.example.com", "7zp7flxblujn"),
        ("a_b-c.example.com", "a_b-c"),
        ("xn--acme.example.com", "xn--acme"),
        ("example.com", None),
        (".example.com", None),
        ("www.example.com", None),
        ("api.example.com", None),
        ("a.acme.example.com", None),
        ("acme.www.example.com", None),
        ("acme..example.com", None),
        ("acme.example.org", None),
        ("acme.example.com.evil.org", None),
        ("acmeexample.com", None),
        ("acme-example.com", None),
        ("acme.example.com..", None),
        ("127.0.0.1", None),
        ("::1", None),
        ("", None),
    ],
)
def test_exactly_one_label_before_the_base_domain_is_an_organization(
    host: str, named: str | None
) -> None:
    assert SUBDOMAIN.named_organization(request(host=host)) == named


def test_a_port_and_capital_letters_in_the_host_mean_nothing() -> None:
    for sent in ("acme.example.com:8000", "ACME.Example.com"):
        scope = asgi.http_scope("GET", "/", {"host": sent})
        assert SUBDOMAIN.named_organization(starlette.request_info(scope)) == "acme"


def test_two_hosts_name_no_organization() -> None:
    scope = asgi.http_scope("GET", "/", {"host": "acme.example.com"})
    scope["headers"].append((b"host", b"globex.example.com"))
    assert SUBDOMAIN.named_organization(starlette.request_info(scope)) is None


def test_reserved_labels_are_the_hosts_choice() -> None:
    resolver = SubdomainResolver(ACTORS, "Example.com", reserved=["Admin"])
    assert resolver.named_organization(request(host="admin.example.com")) is None
    assert resolver.named_organization(request(host="www.example.com")) == "www"


def test_the_base_domain_may_be_one_label_or_several() -> None:
    for base in ("localhost", "eu.app.example.com"):
        resolver = SubdomainResolver(ACTORS, base)
        assert resolver.named_organization(request(host=f"acme.{base}")) == "acme"
        assert resolver.named_organization(request(host=base)) is None


@pytest.mark.parametrize(
    "base",
    ["", ".", ".example.com", "example.com.", "*.example.com", "example.com:80", "https://x.org"],
)
def test_a_base_domain_that_is_none_is_a_mistake(base: str) -> None:
    with pytest.raises(ConfigurationError, match="base domain"):
        SubdomainResolver(ACTORS, base)


def test_a_lone_reserved_text_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match="several"):
        SubdomainResolver(ACTORS, "example.com", reserved="www")


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/o/acme", "acme"),
        ("/o/acme/", "acme"),
        ("/o/acme/posts/1", "acme"),
        ("/o/Acme/posts", "Acme"),
        ("/o/acme//posts", "acme"),
        ("/o/acme/../globex", "acme"),
        ("/o/acme\n/posts\n", "acme\n"),
        ("/o/../posts", ".."),
        ("/o/%61cme/posts", "%61cme"),
        ("/o", None),
        ("/o/", None),
        ("/o//posts", None),
        ("//o/acme", None),
        ("/O/acme", None),
        ("/x/o/acme", None),
        ("/organizations/acme", None),
        ("", None),
    ],
)
def test_one_segment_of_the_path_is_an_organization(path: str, named: str | None) -> None:
    assert PATH.named_organization(request(path=path)) == named


@pytest.mark.parametrize(
    ("template", "path", "named"),
    [
        ("/{organization}/*", "/acme/posts", "acme"),
        ("/{organization}/*", "/acme", "acme"),
        ("/{organization}/*", "/", None),
        ("/o/{organization}", "/o/acme", "acme"),
        ("/o/{organization}", "/o/acme/", None),
        ("/o/{organization}", "/o/acme/posts", None),
        ("/api/v1.0/{organization}/posts", "/api/v1.0/acme/posts", "acme"),
        ("/api/v1.0/{organization}/posts", "/api/v1x0/acme/posts", None),
        ("/api/{organization}/posts/*", "/api/acme/posts/1", "acme"),
        ("/api/{organization}/posts/*", "/api/acme/postscript", None),
    ],
)
def test_the_template_is_the_hosts_choice(template: str, path: str, named: str | None) -> None:
    assert PathResolver(ACTORS, template).named_organization(request(path=path)) == named


@pytest.mark.parametrize(
    "template",
    [
        "",
        "/",
        "/*",
        "/o/*",
        "o/{organization}/*",
        "/o/{org}/*",
        "/o-{organization}/*",
        "/o/{organization}*",
        "/*/{organization}",
        "/o/{organization}/{organization}",
        "/o/{organization}/{post}",
    ],
)
def test_a_template_that_would_not_do_what_it_seems_to_is_a_mistake(template: str) -> None:
    with pytest.raises(ConfigurationError, match="template"):
        PathResolver(ACTORS, template)


def starlette_sees(path: str) -> tuple[str | None, str]:
    """Return what the resolver reads, and what the app's own route has."""

    def answer(asked: Request) -> PlainTextResponse:
        return PlainTextResponse(asked.path_params["organization"])

    routes = [Route("/o/{organization}", answer), Route("/o/{organization}/{rest:path}", answer)]
    answered = asyncio.run(asgi.request(Router(routes), "GET", path))
    named = PATH.named_organization(starlette.request_info(asgi.http_scope("GET", path)))
    return named, answered.text if answered.status == 200 else ""


def flask_sees(path: str) -> tuple[str | None, str]:
    """Return what the resolver reads, and what the app's own route has."""
    app = Flask(__name__)
    seen: list[str | None] = []

    @app.before_request
    def note() -> None:
        seen.append(PATH.named_organization(flask.request_info(flask_request.environ)))

    @app.get("/o/<organization>")
    @app.get("/o/<organization>/<path:rest>")
    def answer(organization: str, rest: str = "") -> str:
        return organization

    answered = wsgi.request(app, "GET", path)
    return seen[0], answered.text if answered.status == 200 else ""


@pytest.mark.parametrize("sees", [starlette_sees, flask_sees])
@pytest.mark.parametrize(
    "path",
    [
        "/o/acme",
        "/o/acme/posts",
        "/o/%61cme/posts",
        "/o/%2561cme/posts",
        "/o/acme%2Fglobex/posts",
        "/o/acme/../globex/posts",
        "/o/acme/%2e%2e/globex/posts",
        "/o/acme%3Fx/posts",
        "/o/acme;x/posts",
        "/o/%C3%A4cme/posts",
    ],
)
def test_the_resolver_reads_the_organization_that_the_apps_route_has(
    path: str, sees: Callable[[str], tuple[str | None, str]]
) -> None:
    named, routed = sees(path)
    assert routed
    assert named == routed


NAMED: list[tuple[SubdomainResolver | PathResolver, Callable[[str], RequestInfo]]] = [
    (SUBDOMAIN, lambda token: request(token, host=f"{ORGANIZATION}.example.com")),
    (PATH, lambda token: request(token, path=f"/o/{ORGANIZATION}/posts")),
]
OTHER = [
    (SUBDOMAIN, request(MEMBER, host="globex.example.com")),
    (PATH, request(MEMBER, path="/o/globex/posts")),
]


@pytest.mark.parametrize(("resolver", "asked"), NAMED, ids=["subdomain", "path"])
def test_a_name_proves_nothing(
    resolver: SubdomainResolver | PathResolver,
    asked: Callable[[str], RequestInfo],
    identify: Identify,
) -> None:
    with pytest.raises(AccessDenied):
        identify(Gate(resolver), asked(USER))
    identity = identify(Gate(resolver, AllowEveryone()), asked(USER))
    assert (identity.organization_id, identity.proven) == (ORGANIZATION, False)
    identity = identify(Gate(resolver), asked(MEMBER))
    assert (identity.organization_id, identity.proven) == (ORGANIZATION, True)


@pytest.mark.parametrize(("resolver", "asked"), OTHER, ids=["subdomain", "path"])
def test_a_token_of_one_organization_does_not_open_another(
    resolver: SubdomainResolver | PathResolver, asked: RequestInfo, identify: Identify
) -> None:
    for tried in (resolver, ChainResolver(TOKENS, resolver), ChainResolver(resolver, TOKENS)):
        with pytest.raises(AccessDenied):
            identify(Gate(tried, AllowEveryone()), asked)


def test_a_request_that_names_nothing_is_left_to_the_next_of_a_chain(identify: Identify) -> None:
    for resolver in (SUBDOMAIN, PATH):
        with pytest.raises(Unauthenticated):
            identify(Gate(resolver, AllowEveryone()), request(MEMBER, host="example.com"))
        assert identify(Gate(ChainResolver(resolver, TOKENS)), request(MEMBER)).proven


def test_the_host_and_a_header_must_name_the_same_organization(identify: Identify) -> None:
    gate = Gate(ChainResolver(SUBDOMAIN, HEADER), AllowEveryone())
    identity = identify(gate, request(USER, "acme", host="acme.example.com"))
    assert identity.organization_id == "acme"
    with pytest.raises(AccessDenied):
        identify(gate, request(USER, "globex", host="acme.example.com"))


IDS = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,58}", fullmatch=True)


@given(IDS)
def test_every_id_without_capitals_comes_by_host_and_every_id_by_path(organization: str) -> None:
    assert PATH.named_organization(request(path=f"/o/{organization}/x")) == organization
    if organization not in ("www", "api"):
        host = f"{organization}.example.com"
        assert SUBDOMAIN.named_organization(request(host=host)) == organization


@given(st.text())
def test_what_a_path_or_host_names_is_one_segment_of_it(text: str) -> None:
    named = PATH.named_organization(request(path=f"/o/{text}"))
    assert named is None or (named and "/" not in named and text.startswith(named))
    label = SUBDOMAIN.named_organization(request(host=f"{text}.example.com"))
    assert label is None or (label == text and "." not in label)


def test_capitals_do_not_reach_another_organization_by_its_host() -> None:
    # `Acme` and `acme` are two organizations, and a host cannot tell them apart.
    scope = asgi.http_scope("GET", "/", {"host": "Acme.example.com"})
    named = SUBDOMAIN.named_organization(starlette.request_info(scope))
    assert named == validate_organization_id("acme")
