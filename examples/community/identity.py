"""Stands in for an identity provider: signs tokens, and says how the app checks them.

A host has Logto, Auth0, Keycloak or the like here. Only signing in without a password and
the private key in the app's own process belong to the demo; what verifies the tokens is
what a host uses.
"""

from __future__ import annotations

import time
from http.cookies import SimpleCookie

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from starlette.responses import Response

from examples.community.people import Person
from orgtenancy.community import CommunitySettings
from orgtenancy.errors import AccessDenied
from orgtenancy.identity import (
    ChainResolver,
    HeaderResolver,
    OrganizationClaims,
    RequestInfo,
    Resolver,
    StaticKeys,
    TokenActor,
    TokenResolver,
    TokenVerifier,
    bearer_token,
)

ISSUER = "https://identity.demo.invalid"
AUDIENCE = "urn:orgtenancy:demo"
COOKIE = "orgtenancy_demo"
LIFETIME = 8 * 3600  # seconds


class IdentityProvider:
    """Issues tokens for one person in one organization, by a key that lives as long as it."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    def token(self, person: Person, organization_id: str) -> str:
        """Return a token of a member.

        Raises:
            AccessDenied: If the person is not a member of the organization.
        """
        if organization_id not in person.organizations:
            raise AccessDenied(f"{person.name} is not a member of this organization")
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": person.id,
            "name": person.name,
            "preferred_username": person.username,
            "org_id": organization_id,
            "scope": scope_of(person, organization_id),
            "iat": now,
            "exp": now + LIFETIME,
        }
        return jwt.encode(claims, self._key, "EdDSA", {"kid": "demo", "typ": "at+jwt"})

    def verifier(self) -> TokenVerifier:
        """Return what checks its tokens; a host gives it `RemoteKeys` of its provider."""
        public = OKPAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        key = {"kty": public["kty"], "crv": public["crv"], "x": public["x"], "kid": "demo"}
        return TokenVerifier(ISSUER, StaticKeys({"keys": [key]}), audiences=[AUDIENCE])


def scope_of(person: Person, organization_id: str) -> str:
    """Return what a person may do in an organization beyond being there."""
    moderates = organization_id in person.moderates
    return CommunitySettings().moderator_scope if moderates else ""


def resolver(provider: IdentityProvider) -> Resolver:
    """Return what finds actor and organization: in the token, which `X-Organization` must match."""
    actors = TokenActor(provider.verifier(), token=bearer_or_cookie)
    claims = OrganizationClaims(paths=(("org_id",),))
    return ChainResolver(TokenResolver(actors, claims), HeaderResolver(actors, organization=claims))


def bearer_or_cookie(request: RequestInfo) -> str | None:
    """Return the token of a program's header, or of a browser's cookie."""
    bearer = bearer_token(request)
    if bearer is not None:
        return bearer
    cookies = SimpleCookie(request.header("cookie") or "")
    return cookies[COOKIE].value if COOKIE in cookies else None


def remember(response: Response, token: str) -> None:
    """Keep a token in the browser, out of reach of scripts and of forms of other sites."""
    response.set_cookie(COOKIE, token, max_age=LIFETIME, httponly=True, samesite="lax")
